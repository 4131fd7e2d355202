"""A job's ledger as a file and its story as a table; getting them is left to `cli.client` and `api`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cli import formats, output
from cli.client import Client
from cli.downloads import api
from cli.downloads.status import unix_seconds, when
from cli.errors import CommandError


def write_ledger(client: Client, job_id: str, path: str, *, only_failed: bool) -> None:
    """Write one JSON line for each object; the file appears when it is whole.

    Raises CommandError, ServerError, NoAnswer.
    """
    query = {"only_failed": "true"} if only_failed else {}
    count = 0
    with client.stream(f"/v1/download/{job_id}/ledger", query=query) as response, _opened(path) as file:
        for chunk in response.iter_bytes():
            count += chunk.count(b"\n")
            file.write(chunk)
    output.note(f"{formats.count(count, 'object')} in the ledger" + ("" if path == "-" else f": {path}"))


def show_story(client: Client, job_id: str, *, as_json: bool) -> None:
    """Show what was decided while a job ran."""
    story = api.story(client, job_id)
    if as_json:
        output.show_json(story)
        return
    rows = [
        (
            when(unix_seconds(line["time"])),
            formats.name(str(line["target"])),
            formats.name(str(line["origin"])),
            f"{line['connections_before']} -> {line['connections']}" if line["origin"] else "",
            formats.name(str(line["reason"])),
        )
        for line in story["decisions"]
    ]
    if rows:
        output.show_table(("TIME", "TARGET", "HOST", "CONNECTIONS", "WHY"), rows)
    else:
        output.note("Nothing had to be decided yet.")
    for target in story.get("stale_targets", ()):
        output.note(f"Target {formats.name(str(target))} does not answer; its part of the story is missing.")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
