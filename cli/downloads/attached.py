"""A source that the destination is attached to: AIStore reads a name there as what names begin with, and so is it here.

What sources mean otherwise is told by `cli.downloads.sources`.
"""

from __future__ import annotations

from cli import bucketprops, formats, output, uris
from cli.client import Client
from cli.downloads import sources
from cli.downloads.sources import InBucket, Selection
from cli.endpoints import find_endpoints
from cli.errors import CommandError
from haul.places import bucket_from_wire


def widened(source: str, destination: str, selection: Selection, endpoint: str | None) -> str:
    """The source with a `*` behind it, if it is a name in the bucket that the destination has as its `backend_bck`.

    As it is where there is no such bucket, or a name is given for the object. Raises UsageError.
    """
    found, where = sources.parse(source), uris.parse(destination)
    is_name = isinstance(found, InBucket) and not found.url and not found.names_a_prefix and not found.has_ranges
    if not is_name or selection.is_given or where.name or where.is_outside:
        return source
    try:
        with Client(find_endpoints(endpoint)) as client:
            backend = bucketprops.read(client, where).get(bucketprops.BACKEND) or {}
    except CommandError:
        return source  # what is wrong is told when the job is posted; a bucket that is missing is made
    if not isinstance(found, InBucket) or not backend.get("name") or bucket_from_wire(backend) != found.bucket:
        return source
    output.note(
        f"{where.bucket.cname} is attached to {found.bucket.cname}: all that begins with {formats.name(found.name)}"
    )
    return f"{source}*"
