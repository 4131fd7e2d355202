"""`haul put`, `get`, `object cat`, `rmo` and `show object`: single objects, and whole directories into a bucket.

Moving the bytes is left to `cli.transfer`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from cli import clusterjobs, formats, output, transfer, uris
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.errors import CommandError, UsageError
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, UnitsOption
from cli.selection import ListOption, PrefixOption, TemplateOption, selected
from cli.transfer import Range
from cli.uris import Location
from common.errors import RequestError
from common.units import parse_size
from haul.objects import ObjectInfo

_STANDARD = "-"
_UPLOADS_AT_ONCE = 8
_PROPS = "name,size,checksum,version,atime,location,custom"
OffsetOption = Annotated[str, typer.Option("--offset", metavar="SIZE", help="Begin there, e.g. 4096 or 10MiB.")]
LengthOption = Annotated[str, typer.Option("--length", metavar="SIZE", help="Only so many bytes.")]
ObjectArgument = Annotated[str, typer.Argument(metavar="ais://BUCKET/NAME", show_default=False, help="The object.")]


def put(
    source: Annotated[
        str, typer.Argument(metavar="FILE|DIRECTORY|-", show_default=False, help="What to store; - is standard input.")
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="ais://BUCKET[/NAME]",
            show_default=False,
            help="A name; or a bucket, or a directory with a slash at its end, to keep the file's own name.",
        ),
    ],
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Store a file, a directory, or standard input."""
    where = uris.parse(destination)
    with Client(find_endpoints(endpoint)) as client:
        if source == _STANDARD:
            target = uris.parse_object(destination)
            stored = [(target, transfer.store_stream(client, sys.stdin.buffer, target))]
        elif (path := Path(source)).is_dir():
            stored = _put_all(client, _files_below(path, where))
        else:
            target = _named_after(where, path.name)
            stored = [(target, transfer.store_file(client, path, target))]
    _report_stored(stored, units, as_json=as_json)


def _named_after(where: Location, name: str) -> Location:
    full = where.name + name if not where.name or where.name.endswith("/") else where.name
    return uris.checked(Location(where.bucket, full))


def _files_below(directory: Path, where: Location) -> list[tuple[Path, Location]]:
    prefix = where.name.rstrip("/") + "/" if where.name.rstrip("/") else ""
    found = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                relative = path.relative_to(directory).as_posix()
                found.append((path, uris.checked(Location(where.bucket, prefix + relative))))
    if not found:
        raise CommandError(f"there are no files in {formats.name(str(directory))}")
    return sorted(found)


def _put_all(client: Client, files: Sequence[tuple[Path, Location]]) -> list[tuple[Location, int]]:
    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
        sizes = pool.map(lambda pair: transfer.store_file(client, *pair), files)
        try:
            return [(target, size_bytes) for (_, target), size_bytes in zip(files, sizes, strict=True)]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _report_stored(stored: Sequence[tuple[Location, int]], units: Units, *, as_json: bool) -> None:
    if as_json:
        output.show_json([{"uri": target.uri, "size": size_bytes} for target, size_bytes in stored])
    elif len(stored) == 1:
        target, size_bytes = stored[0]
        output.say(f"Stored {formats.name(target.uri)} ({formats.size(size_bytes, units)})")
    else:
        total_bytes = sum(size_bytes for _, size_bytes in stored)
        objects, bucket = formats.count(len(stored), "object"), stored[0][0].bucket.cname
        output.say(f"Stored {objects} in {bucket} ({formats.size(total_bytes, units)})")


def get(
    source: ObjectArgument,
    destination: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DIRECTORY|-",
            show_default=False,
            help="Where to; - is standard output. The object's own name, here, when left out.",
        ),
    ] = "",
    offset: OffsetOption = "",
    length: LengthOption = "",
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Read an object into a file, verified by its checksum."""
    what = uris.parse_object(source)
    part = Range(_size(offset, "--offset"), _size(length, "--length"))
    if length and not part.length:
        raise UsageError("--length must be more than 0")
    if as_json and destination == _STANDARD:
        raise UsageError("--json and the object cannot both go to standard output; name a file")
    with Client(find_endpoints(endpoint)) as client:
        if destination == _STANDARD:
            transfer.fetch(client, what, part, transfer.standard_output())
            return
        path = _local_path(what, destination)
        with transfer.whole_file(path) as file:
            size_bytes = transfer.fetch(client, what, part, file)
    if as_json:
        output.show_json({"uri": what.uri, "file": str(path), "size": size_bytes})
    else:
        size = formats.size(size_bytes, units)
        output.say(f"{formats.name(what.uri)} -> {formats.name(str(path))} ({size})")


def cat(
    source: ObjectArgument,
    offset: OffsetOption = "",
    length: LengthOption = "",
    endpoint: EndpointOption = None,
) -> None:
    """Write an object to standard output; verified by its checksum when all of it was read."""
    get(source, _STANDARD, offset=offset, length=length, endpoint=endpoint)


def _local_path(what: Location, destination: str) -> Path:
    own_name = what.name.rpartition("/")[2]
    if not destination:
        return Path(own_name)
    path = Path(destination)
    return path / own_name if path.is_dir() else path


def _size(text: str, option: str) -> int:
    try:
        return parse_size(text) if text else 0
    except RequestError as error:
        raise UsageError(f"{option}: {error}") from None


def remove_objects(
    objects: Annotated[
        list[str],
        typer.Argument(
            metavar="ais://BUCKET/NAME",
            show_default=False,
            help="Objects; or a bucket, with --prefix, --template or --list.",
        ),
    ],
    prefix: PrefixOption = "",
    template: TemplateOption = "",
    list_: ListOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; for AIStore's scripts, nothing asks.")] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Remove objects; many of a bucket in a job of the cluster."""
    if template and "{" not in template:
        # On the wire it would be a prefix, and remove more than the one object that was probably meant.
        raise UsageError(f"--template: {formats.name(template)} has no {{…}}; for all that begins so use --prefix")
    if prefix or template or list_:
        for bucket in map(uris.parse_bucket, objects):
            uris.check_own(bucket)
            value = selected(bucket, prefix, template, list_)
            with Client(find_endpoints(endpoint)) as client:
                body = {"action": "delete-listrange", "value": value}
                job_id = client.text("DELETE", bucket.bucket_path, query=bucket.query, body=body).strip()
                clusterjobs.told_done(client, job_id, f"Removed from {bucket.uri}", as_json=as_json)
        return
    locations = [uris.parse_object(text) for text in objects]
    for location in locations:
        uris.check_own(location)
    with Client(find_endpoints(endpoint)) as client, output.results(as_json=as_json) as tell:
        for location in locations:
            client.delete(location.object_path, query=location.query)
            tell(f"Removed {formats.name(location.uri)}", {"uri": location.uri})


def show_object(
    source: ObjectArgument,
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Show what is known of an object: size, checksum, version, where it lies."""
    what = uris.parse_object(source)
    with Client(find_endpoints(endpoint)) as client:
        headers = client.headers(what.object_path, query=what.query | {"props": _PROPS})
    info = ObjectInfo.from_headers(headers, int(headers.get("Content-Length", 0)))
    if as_json:
        output.show_json(
            {
                "uri": what.uri,
                "size": info.size_bytes,
                "checksum_type": info.checksum_type,
                "checksum": info.checksum,
                "version": info.version,
                "location": info.location,
                "custom": info.custom,
            }
        )
        return
    rows = [
        ("object", formats.name(what.uri)),
        ("size", f"{formats.size(info.size_bytes, units)}"),
        ("checksum", f"{info.checksum_type}[{info.checksum}]"),
        ("version", info.version),
        ("location", info.location),
        *info.custom.items(),
    ]
    output.lines(f"{name + ':':14} {formats.name(value)}" for name, value in rows if value)
