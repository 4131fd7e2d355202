"""`haul bucket props set` and `haul bucket props show`: what is configured for one bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from cli import formats, output, uris
from cli.client import Client, find_endpoints
from cli.errors import CommandError, UsageError
from cli.options import EndpointOption, JsonOption
from cli.uris import Location
from common.names import printable

BACKEND = "backend_bck"
_NONE: Mapping[str, object] = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}
_Bucket = Annotated[str, typer.Argument(metavar="ais://BUCKET", show_default=False, help="The bucket.")]


def set_properties(
    bucket: _Bucket,
    properties: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE",
            show_default=False,
            help=f"{BACKEND}=s3://OTHER: the bucket has what that one has, fetched when it is read or prefetched; "
            f"{BACKEND}=none detaches it.",
        ),
    ],
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Change properties of a bucket."""
    where = uris.parse_bucket(bucket)
    value = dict(_property(text) for text in properties)
    with Client(find_endpoints(endpoint)) as client:
        client.text("PATCH", where.bucket_path, query=where.query, body={"action": "set-bprops", "value": value})
    if as_json:
        output.show_json({"uri": where.uri, **value})
    else:
        output.say(f"Changed {where.uri}: {formats.name(', '.join(properties))}")


def show_properties(bucket: _Bucket, as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Show all properties of a bucket."""
    where = uris.parse_bucket(bucket)
    with Client(find_endpoints(endpoint)) as client:
        found = read(client, where)
    if as_json:
        output.show_json(found)
    else:
        output.show_table(("PROPERTY", "VALUE"), sorted(_flat(found)))


def read(client: Client, where: Location) -> dict[str, Any]:
    """All properties of a bucket that the cluster knows; raises ServerError, NoAnswer, CommandError."""
    headers = client.headers(where.bucket_path, query=where.query | {"dont_add_remote_bck_md": "true"})
    try:
        found = json.loads(headers["Ais-Bucket-Props"])
    except (KeyError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise CommandError("the cluster tells no properties of the bucket; is it a cluster?")
    return found


def _property(text: str) -> tuple[str, Mapping[str, object]]:
    name, equals, value = text.partition("=")
    if name != BACKEND or not equals:
        raise UsageError(f'"{printable(text)}": expected {BACKEND}=s3://BUCKET or {BACKEND}=none')
    return name, _NONE if value in ("", "none") else uris.parse_bucket(value).bucket.to_wire()


def _flat(properties: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Names with dots for what is inside of something; a bucket is one value."""
    for name, value in properties.items():
        if name == BACKEND:
            yield above + name, _shown_bucket(value)
        elif isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            shown = json.dumps(value) if isinstance(value, bool) else str(value)
            yield above + name, formats.name(shown)


def _shown_bucket(fields: Mapping[str, Any]) -> str:
    return uris.from_wire(fields).cname if fields.get("name") else "none"
