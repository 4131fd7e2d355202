"""A job's ledger as a file, its story as a table, a dry run in words; getting them is left to `api` and `cli.client`.

Nothing is decided here.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from cli import formats, output
from cli.client import Client
from cli.downloads import api
from cli.downloads.status import when
from cli.errors import CommandError
from cli.formats import Units
from haul.states import moment


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
            when(moment(line["time"])),
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


def show_dry_run(found: Mapping[str, Any], units: Units, *, as_json: bool) -> None:
    """Show what a job would do."""
    if as_json or "dry_run" not in found:
        output.show_json(found)
        return
    objects, checked = int(found["objects"]), int(found["checked"])
    output.say(
        formats.count(objects, "object") + ("" if checked == objects else f", {formats.count(checked)} looked at")
    )
    there = formats.size(int(found["present_bytes"]), units)
    output.say(f"  there already:  {formats.count(int(found['present']), 'object')}, {there}")
    known, to_fetch = int(found["bytes_known"]), int(found["to_fetch"])
    size = formats.size(int(found["bytes"]), units)
    if to_fetch and known < to_fetch:
        size += f" in the {formats.count(known)} of known size"
    output.say(f"  to be fetched:  {formats.count(to_fetch, 'object')}" + (f", {size}" if to_fetch else ""))
    if to_remove := int(found.get("to_remove", 0)):
        output.say(f"  to be removed:  {formats.count(to_remove, 'object')}, gone at the source")
        allowed = int(found.get("max_delete", to_remove))
        if to_remove > allowed:
            output.say(f"  which is more than the {formats.count(allowed)} allowed: none would be (--max-delete)")
    if "bytes_estimate" in found:
        output.say(f"  about {formats.size(int(found['bytes_estimate']), units)} in all, by a sample")
    if found["error_cnt"]:
        output.say(
            f"  {formats.count(int(found['error_cnt']))} of {formats.count(int(found['asked']))} asked cannot be had:"
        )
        for error in found.get("errors", ()):
            output.say(f"    {formats.name(str(error['name']))}: {formats.name(str(error['error']))}")


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
