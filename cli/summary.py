"""`haul bucket summary` and `haul ls --summary`: how many objects buckets have, and how large they are together.

Counting is the cluster's job, in the background; here it is asked until it has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from cli import formats, output, uris
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, UnitsOption
from cli.uris import Location
from common.names import Bucket
from haul.places import bucket_from_wire

_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.05, 1.0
_ACCEPTED, _PARTIAL = 202, 206


def summarize(
    locations: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ais://BUCKET[/PREFIX]", show_default=False, help="Buckets, or what begins so; all without."
        ),
    ] = None,
    cached: Annotated[bool, typer.Option("--cached", help="Only what is in the cluster.")] = False,
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Show how many objects buckets have, and how large they are."""
    given = [uris.parse_bucket_or_object(text) for text in locations or ()]
    with Client(find_endpoints(endpoint)) as client:
        wanted = given or [Location(bucket) for bucket in known_buckets(client)]
        found = [fields for where in wanted for fields in read(client, where, cached=cached)]
        _show(found, units, as_json=as_json)


def show(client: Client, where: Location, units: Units, *, as_json: bool) -> None:
    """Show the figures of one bucket, or of what in it begins so."""
    _show(read(client, where), units, as_json=as_json)


def show_all(client: Client, buckets: Iterable[Bucket], units: Units, *, as_json: bool) -> None:
    """Show the figures of several buckets."""
    _show([fields for bucket in buckets for fields in read(client, Location(bucket))], units, as_json=as_json)


def known_buckets(client: Client) -> list[Bucket]:
    """All buckets that the cluster knows."""
    answer = client.call("GET", "/v1/buckets", body={"action": "list"}) or []
    return [bucket_from_wire(fields) for fields in answer]


def read(
    client: Client, where: Location, *, cached: bool = False, sleep: Callable[[float], None] = time.sleep
) -> list[dict[str, Any]]:
    """The figures of a bucket as the dialect writes them, and the prefix, if one was given.

    Raises ServerError, NoAnswer.
    """
    value: dict[str, Any] = {"prefix": where.name.rstrip("*"), "cached": cached, "present": False}
    pause, job_id = _FIRST_POLL_SECONDS, ""
    while True:
        body = {"action": "summary-bck", "value": {**value, "uuid": job_id}}
        response = client.ask("GET", where.bucket_path, query=where.query, body=body)
        if response.status_code == _ACCEPTED and not job_id:
            job_id = response.text.strip().strip('"')
            continue
        if response.status_code not in (_ACCEPTED, _PARTIAL):
            found: list[dict[str, Any]] = response.json() or []
            return [fields | {"prefix": value["prefix"]} for fields in found] if where.name else found
        sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL_SECONDS)


def _show(found: Sequence[Mapping[str, Any]], units: Units, *, as_json: bool) -> None:
    if as_json:
        output.show_json(found)
        return
    has_remote = any(int(_part(fields, "ObjCount", "obj_count_remote")) for fields in found)
    header = (
        "BUCKET",
        "OBJECTS",
        "SIZE",
        "SMALLEST",
        "AVERAGE",
        "LARGEST",
        "USED",
        *(["ELSEWHERE"] if has_remote else ()),
    )
    rows = [tuple(_cells(fields, units, has_remote=has_remote)) for fields in found]
    if rows:
        output.show_table(header, rows, right=tuple(range(1, len(header))))
    else:
        output.note("No buckets. Create one:  haul create ais://NAME")


def _cells(fields: Mapping[str, Any], units: Units, *, has_remote: bool) -> Iterator[str]:
    yield formats.name(Location(bucket_from_wire(fields), fields.get("prefix", "")).uri)
    yield formats.count(int(_part(fields, "ObjCount", "obj_count_present")))
    yield formats.size(int(_part(fields, "TotalSize", "size_all_present_objs")), units)
    for name in ("obj_min_size", "obj_avg_size", "obj_max_size"):
        yield formats.size(int(_part(fields, "ObjSize", name)), units)
    yield f"{int(fields.get('used_pct') or 0)}%"
    if has_remote:
        yield formats.count(int(_part(fields, "ObjCount", "obj_count_remote")))


def _part(fields: Mapping[str, Any], part: str, name: str) -> Any:
    return (fields.get(part) or {}).get(name) or 0
