"""A manifest given on the command line: links and objects are passed on, a file is an object while the job is posted.

Reading it is left to the cluster.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from cli import output, transfer, uris
from cli.client import Client
from cli.errors import CommandError, ServerError

_BUCKET = "haul-manifests"


@contextlib.contextmanager
def placed(client: Client, given: str) -> Iterator[str]:
    """Where the cluster finds the manifest, as long as the context is open; raises CommandError."""
    if given.startswith(("http://", "https://", "ais://")):
        yield given
        return
    path = Path(given)
    location = uris.parse_object(f"ais://{_BUCKET}/{secrets.token_hex(8)}/{path.name}")
    try:
        client.call("POST", location.bucket_path, query=location.query, body={"action": "create-bck"})
    except ServerError as error:
        if error.status != 409:
            raise
    transfer.store_file(client, path, location)
    try:
        yield location.uri
    finally:
        try:
            client.delete(location.object_path, query=location.query)
        except CommandError as error:
            output.note(f"{location.uri} could not be removed: {error}")
