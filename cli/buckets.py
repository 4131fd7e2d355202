"""`haul create`, `haul ls` and `haul rmb`: buckets, and the objects that are in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli import bucketprops, formats, output, uris
from cli.client import Client, find_endpoints
from cli.errors import CommandError, ServerError, UsageError
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, UnitsOption
from cli.uris import Location

_PAGE_ENTRIES = 10_000
_SIZE_CELLS = 10
_CACHED = 64
"""The flag of an entry whose object is in the cluster."""
BucketArguments = Annotated[list[str], typer.Argument(metavar="ais://BUCKET", show_default=False, help="Buckets.")]


def create(
    buckets: BucketArguments,
    exist_ok: Annotated[bool, typer.Option("--exist-ok", help="Be content when the bucket exists already.")] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Create buckets."""
    locations = [uris.parse_bucket(text) for text in buckets]
    with Client(find_endpoints(endpoint)) as client, output.results(as_json=as_json) as tell:
        for location in locations:
            try:
                client.call("POST", location.bucket_path, query=location.query, body={"action": "create-bck"})
            except ServerError as error:
                if not (exist_ok and error.status == 409):
                    raise
                tell(f"{location.uri} exists already", {"uri": location.uri, "created": False})
            else:
                tell(f"Created {location.uri}", {"uri": location.uri, "created": True})


def remove_bucket(
    buckets: BucketArguments,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, even when the bucket has objects.")] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Remove buckets; asks first when one is not empty."""
    locations = [uris.parse_bucket(text) for text in buckets]
    for location in locations:
        uris.check_own(location)
    with Client(find_endpoints(endpoint)) as client, output.results(as_json=as_json) as tell:
        for location in locations:
            if not yes and not _may_be_removed(client, location):
                output.note(f"{location.uri} stays.")
                raise typer.Exit(1)
            client.call("DELETE", location.bucket_path, query=location.query, body={"action": "destroy-bck"})
            tell(f"Removed {location.uri}", {"uri": location.uri})


def _may_be_removed(client: Client, location: Location) -> bool:
    first = next(_entries(client, location, props="name", limit=1), None)
    if first is None:
        return True
    if not sys.stdin.isatty():
        raise CommandError(f"{location.uri} is not empty; add --yes to remove it with all its objects")
    return typer.confirm(f"{location.uri} is not empty. Remove it with all its objects?", err=True)


def list_(
    location: Annotated[
        str,
        typer.Argument(
            metavar="ais://BUCKET/PREFIX",
            show_default=False,
            help="List its objects; all buckets without it. Of a bucket elsewhere (s3://, gs://, az://, "
            "ais://@CLUSTER/), or one with a backend_bck, what is there, and whether it is in the cluster, too.",
        ),
    ] = "",
    long: Annotated[bool, typer.Option("--long", "-l", help="With version, checksum and place.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="At most N objects; 0 for all.")] = 0,
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """List buckets, or the objects in one."""
    if not location and (long or limit):
        raise UsageError("--long and --limit are for objects:  haul ls ais://BUCKET")
    where = uris.parse(location) if location not in {"", "ais://"} else None
    with Client(find_endpoints(endpoint)) as client:
        if where is None:
            _list_buckets(client, as_json=as_json)
            return
        has_backend = where.is_outside or _has_backend(client, where)
        props = "name,size,version,checksum,location" if long or as_json else "name,size"
        props += ",cached" if has_backend else ""
        entries = _entries(client, where, props=props, limit=limit)
        if as_json:
            _entries_as_json(entries, has_backend=has_backend)
        else:
            _entries_as_text(entries, where, units, long=long, has_backend=has_backend)


def _has_backend(client: Client, where: Location) -> bool:
    """Whether a bucket of the cluster has what another one has that is kept elsewhere."""
    try:
        backend = bucketprops.read(client, where).get(bucketprops.BACKEND) or {}
    except ServerError:
        return False  # listing it tells what is wrong
    return bool(backend.get("name"))


def _list_buckets(client: Client, *, as_json: bool) -> None:
    answer = client.call("GET", "/v1/buckets", body={"action": "list"}) or []
    buckets = [uris.from_wire(fields) for fields in answer]
    if as_json:
        output.show_json([{"uri": bucket.cname, **bucket.to_wire()} for bucket in buckets])
    elif buckets:
        output.lines(bucket.cname for bucket in buckets)
    else:
        output.note("No buckets. Create one:  haul create ais://NAME")


def _entries(client: Client, where: Location, *, props: str, limit: int) -> Iterator[dict[str, Any]]:
    """The objects page by page, at most `limit` (0 for all)."""
    message: dict[str, Any] = {"props": props, "prefix": where.name.removesuffix("*"), "pagesize": _PAGE_ENTRIES}
    left = limit
    while True:
        message["pagesize"] = min(_PAGE_ENTRIES, left) if limit else _PAGE_ENTRIES
        body = {"action": "list", "value": message}
        page = client.call("GET", where.bucket_path, query=where.query, body=body) or {}
        entries = page.get("entries") or []
        yield from entries[:left] if limit else entries
        left -= len(entries)
        token = page.get("continuation_token", "")
        if not token or (limit and left <= 0):
            return
        message |= {"uuid": page.get("uuid", ""), "continuation_token": token}


def _entries_as_json(entries: Iterator[dict[str, Any]], *, has_backend: bool) -> None:
    """One array, written as it arrives: a bucket may hold more than fits into memory."""
    separator = "[\n  "
    for entry in entries:
        plain = {
            "name": entry["name"],
            "size": int(entry.get("size") or 0),
            "version": entry.get("version", ""),
            "checksum": entry.get("checksum", ""),
            "location": entry.get("location", ""),
        }
        if has_backend:
            plain["cached"] = _is_cached(entry)
        sys.stdout.write(separator + json.dumps(plain))
        separator = ",\n  "
    sys.stdout.write("[]\n" if separator.startswith("[") else "\n]\n")


def _is_cached(entry: dict[str, Any]) -> bool:
    return bool(int(entry.get("flags") or 0) & _CACHED)


def _entries_as_text(
    entries: Iterator[dict[str, Any]], where: Location, units: Units, *, long: bool, has_backend: bool
) -> None:
    number, total_bytes = 0, 0
    for entry in entries:
        if not number:
            cached, details = "CACHED  " if has_backend else "", "VERSION  CHECKSUM          " if long else ""
            output.say(f"{'SIZE':>{_SIZE_CELLS}}  {cached}{details}NAME", style="bold")
        size_bytes = int(entry.get("size") or 0)
        number += 1
        total_bytes += size_bytes
        cached = f"{'yes' if _is_cached(entry) else 'no':6}  " if has_backend else ""
        details = f"{entry.get('version', ''):>7}  {entry.get('checksum', ''):16}  " if long else ""
        place = f"  ({formats.name(entry.get('location', ''))})" if long and entry.get("location") else ""
        name = formats.name(entry["name"])
        sys.stdout.write(f"{formats.size(size_bytes, units):>{_SIZE_CELLS}}  {cached}{details}{name}{place}\n")
    if number:
        output.say(f"{formats.count(number, 'object')}, {formats.size(total_bytes, units)}", style="dim")
    else:
        behind = f" whose names begin with {formats.name(where.name)}" if where.name else ""
        output.note(f"No objects in {where.bucket.cname}{behind}.")
