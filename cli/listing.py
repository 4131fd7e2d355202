"""`haul ls`: the buckets, or the objects in one, in the forms that people want them.

Asking for the objects is left to `cli.entries`, figures of whole buckets to `cli.summary`.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli import bucketprops, entries, formats, output, summary, uris
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.entries import Wanted, entries_of, is_cached, size_of
from cli.errors import ServerError, UsageError
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, UnitsOption
from cli.uris import Location
from common.names import Bucket, normalize_provider, printable
from haul.places import bucket_from_wire

_ALL_PROPS = "name,size,version,checksum,location"
_SHOWN_PROPS = {"checksum": 16, "version": 7, "atime": 21, "copies": 6, "custom": 24, "location": 24}
"""What may be asked for by --props, and how wide it is shown."""
_LONG = ("version", "checksum")
_SIZE_CELLS = 10
_PROVIDER_ONLY = re.compile(r"([A-Za-z0-9]+):(?://)?\Z")


@dataclass(frozen=True, slots=True)
class _Look:
    """How objects are shown: the properties between size and name, and which lines stand around them."""

    shown: tuple[str, ...]
    long: bool
    only_names: bool
    has_cached: bool
    has_header: bool
    has_footer: bool
    units: Units


def list_(  # noqa: PLR0913 - a command's options are its parameters
    *,
    location: Annotated[
        str,
        typer.Argument(
            metavar="ais://BUCKET/PREFIX",
            show_default=False,
            help="List its objects, those that begin so, or the one that is called so; all buckets without it, those "
            "of one provider with s3:// and the like. Of a bucket elsewhere (s3://, gs://, az://, "
            "ais://@CLUSTER/), or one with a backend_bck, what is there, and whether it is in the cluster, too.",
        ),
    ] = "",
    long: Annotated[bool, typer.Option("--long", "-l", help="With version, checksum and place.")] = False,
    props: Annotated[
        str,
        typer.Option(
            "--props", metavar="NAMES", help=f"Show these as well: {','.join(_SHOWN_PROPS)}, or all; with commas."
        ),
    ] = "",
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Only objects that begin so.")] = "",
    regex: Annotated[str, typer.Option("--regex", metavar="REGEX", help="Only what matches this expression.")] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="At most N objects; 0 for all.")] = 0,
    page_size: Annotated[
        int, typer.Option("--page-size", metavar="N", min=0, max=10_000, help="Ask for N objects at once.")
    ] = 0,
    max_pages: Annotated[int, typer.Option("--max-pages", metavar="N", min=0, help="At most N pages.")] = 0,
    paged: Annotated[
        bool, typer.Option("--paged", help="Show each page when it comes, which is done anyway; for AIStore's scripts.")
    ] = False,
    start_after: Annotated[
        str, typer.Option("--start-after", metavar="NAME", help="Only objects behind this name.")
    ] = "",
    show_summary: Annotated[
        bool, typer.Option("--summary", help="How many objects each bucket has, and how large they are together.")
    ] = False,
    cached: Annotated[bool, typer.Option("--cached", help="Only what is in the cluster.")] = False,
    not_cached: Annotated[bool, typer.Option("--not-cached", help="Only what is not in the cluster yet.")] = False,
    archive: Annotated[bool, typer.Option("--archive", help="Also what is inside of tar and zip files.")] = False,
    not_recursive: Annotated[
        bool, typer.Option("--nr", "--non-recursive", help="Directories in place of what is in them.")
    ] = False,
    no_directories: Annotated[bool, typer.Option("--no-dirs", help="With --nr: no directories.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that is known, which is shown anyway; for AIStore's scripts.")
    ] = False,
    only_names: Annotated[bool, typer.Option("--name-only", help="Names, one a line, and nothing else.")] = False,
    count_only: Annotated[bool, typer.Option("--count-only", help="Only how many there are, and their size.")] = False,
    no_headers: Annotated[
        bool, typer.Option("--no-headers", "-H", help="One line for each object, no others.")
    ] = False,
    no_footers: Annotated[bool, typer.Option("--no-footers", help="No line with the sum.")] = False,
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """List buckets, or the objects in one."""
    provider = _PROVIDER_ONLY.match(location)
    pattern = _compiled(regex)
    if not location or provider:
        given = (long, props, prefix, limit, page_size, max_pages, start_after, archive, count_only, not_recursive)
        if any(given):
            raise UsageError("--long, --limit and the like are for objects:  haul ls ais://BUCKET")
        with Client(find_endpoints(endpoint)) as client:
            found = [bucket for bucket in _buckets(client, provider[1] if provider else "") if pattern(bucket.cname)]
            if show_summary:
                summary.show_all(client, found, units, as_json=as_json)
            else:
                _show_buckets(found, as_json=as_json)
        return
    where = uris.parse(location)
    if prefix and where.name and not where.name.endswith(("/", "*")):
        raise UsageError("name the objects once: behind the bucket, or by --prefix")
    where = Location(where.bucket, where.name.rstrip("*") + prefix) if prefix else where
    with Client(find_endpoints(endpoint)) as client:
        if show_summary:
            summary.show(client, where, units, as_json=as_json)
            return
        has_backend = where.is_outside or _has_backend(client, where)
        shown = _wanted_props(props)
        wanted = Wanted(
            props=_asked_props(shown, long=long or as_json, has_backend=has_backend),
            limit=0 if regex else limit,
            page_size=page_size,
            max_pages=max_pages,
            start_after=start_after,
            flags=entries.ONLY_CACHED * cached
            | entries.NOT_CACHED * not_cached
            | entries.WITH_ARCHIVES * archive
            | entries.NOT_RECURSIVE * not_recursive
            | entries.NO_DIRECTORIES * no_directories,
        )
        found_entries = entries_of(client, where, wanted)
        if where.name and not prefix and not archive:
            found_entries = _only_itself(found_entries, where.name)
        if regex:
            matching = (entry for entry in found_entries if pattern(entry["name"]))
            found_entries = itertools.islice(matching, limit) if limit else matching
        has_cached = has_backend and not cached and not not_cached
        look = _Look(
            shown,
            long,
            only_names,
            has_cached,
            not no_headers and not only_names,
            not (no_headers or no_footers),
            units,
        )
        if as_json:
            _show_as_json(found_entries, shown, has_cached=has_backend)
        elif count_only:
            _show_count(found_entries, units)
        else:
            _show_as_text(found_entries, where, look)


def _compiled(regex: str) -> Any:
    try:
        return re.compile(regex).search
    except re.error as error:
        raise UsageError(f'--regex: "{printable(regex)}" is no regular expression: {error}') from None


def _wanted_props(props: str) -> tuple[str, ...]:
    """The properties to show beside name and size; raises UsageError for others."""
    names = [name.strip().lower() for name in props.split(",") if name.strip()]
    if "all" in names:
        return tuple(_SHOWN_PROPS)
    unknown = [name for name in names if name not in {*_SHOWN_PROPS, "name", "size", "cached", "status"}]
    if unknown:
        raise UsageError(
            f'--props: there is no "{printable(unknown[0])}"; there are name, size, {", ".join(_SHOWN_PROPS)} and all'
        )
    return tuple(name for name in names if name in _SHOWN_PROPS)


def _asked_props(shown: Iterable[str], *, long: bool, has_backend: bool) -> str:
    wanted = _ALL_PROPS if long else "name,size"
    more = [name for name in shown if name not in wanted] + (["cached"] if has_backend else [])
    return ",".join([wanted, *more])


def _only_itself(found: Iterator[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    """The object that has exactly this name, which is listed first, or all that begin so."""
    first = next(found, None)
    if first is None:
        return
    yield first
    if first["name"] != name or name.endswith(("/", "*")):
        yield from found


def _has_backend(client: Client, where: Location) -> bool:
    """Whether a bucket of the cluster has what another one has that is kept elsewhere."""
    try:
        backend = bucketprops.read(client, where).get(bucketprops.BACKEND) or {}
    except ServerError:
        return False  # listing it tells what is wrong
    return bool(backend.get("name"))


def _buckets(client: Client, scheme: str) -> list[Bucket]:
    """All buckets that the cluster knows, or those of a provider."""
    provider = normalize_provider(uris.parse(f"{scheme}://x").bucket.provider) if scheme else ""
    answer = client.call("GET", "/v1/buckets", body={"action": "list"}) or []
    found = [bucket_from_wire(fields) for fields in answer]
    return [bucket for bucket in found if not provider or provider == bucket.provider or scheme == "ais"]


def _show_buckets(buckets: list[Bucket], *, as_json: bool) -> None:
    if as_json:
        output.show_json([{"uri": bucket.cname, **bucket.to_wire()} for bucket in buckets])
    elif buckets:
        output.lines(bucket.cname for bucket in buckets)
    else:
        output.note("No buckets. Create one:  haul create ais://NAME")


def _show_as_json(found: Iterator[dict[str, Any]], shown: Iterable[str], *, has_cached: bool) -> None:
    """One array, written as it arrives: a bucket may hold more than fits into memory."""
    separator = "[\n  "
    for entry in found:
        plain: dict[str, Any] = {"name": entry["name"], "size": size_of(entry)}
        for name in ("version", "checksum", "location", *shown):
            plain[name] = _property(entry, name)
        if has_cached:
            plain["cached"] = is_cached(entry)
        sys.stdout.write(separator + json.dumps(plain))
        separator = ",\n  "
    sys.stdout.write("[]\n" if separator.startswith("[") else "\n]\n")


def _property(entry: Mapping[str, Any], name: str) -> Any:
    return entry.get("custom-md" if name == "custom" else name, "")


def _show_count(found: Iterator[dict[str, Any]], units: Units) -> None:
    number, total_bytes = 0, 0
    for entry in found:
        number += 1
        total_bytes += size_of(entry)
    output.say(f"{formats.count(number, 'object')}, {formats.size(total_bytes, units)}")


def _show_as_text(found: Iterator[dict[str, Any]], where: Location, look: _Look) -> None:
    number, total_bytes = 0, 0
    for entry in found:
        if not number and look.has_header:
            output.say(_header(look), style="bold")
        number += 1
        total_bytes += size_of(entry)
        name = formats.name(entry["name"])
        sys.stdout.write(f"{name}\n" if look.only_names else _line(entry, name, look))
    if number and look.has_footer and not look.only_names:
        output.say(f"{formats.count(number, 'object')}, {formats.size(total_bytes, look.units)}", style="dim")
    elif not number:
        behind = f" whose names begin with {formats.name(where.name)}" if where.name else ""
        output.note(f"No objects in {where.bucket.cname}{behind}.")


def _columns(look: _Look) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*(_LONG if look.long else ()), *look.shown)))


def _header(look: _Look) -> str:
    cached = "CACHED  " if look.has_cached else ""
    details = "".join(f"{name.upper():{_SHOWN_PROPS[name]}}  " for name in _columns(look))
    return f"{'SIZE':>{_SIZE_CELLS}}  {cached}{details}NAME"


def _line(entry: dict[str, Any], name: str, look: _Look) -> str:
    cached = f"{'yes' if is_cached(entry) else 'no':6}  " if look.has_cached else ""
    details = ""
    for column in _columns(look):
        side = ">" if column == "version" else "<"
        details += f"{formats.name(str(_property(entry, column))):{side}{_SHOWN_PROPS[column]}}  "
    is_directory = int(entry.get("flags") or 0) & entries.IS_DIRECTORY
    size = "" if is_directory else formats.size(size_of(entry), look.units)
    place = entry.get("location") if look.long and "location" not in look.shown else ""
    return f"{size:>{_SIZE_CELLS}}  {cached}{details}{name}" + (f"  ({formats.name(place)})" if place else "") + "\n"
