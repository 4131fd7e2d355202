"""`haul bucket props set`, `show` and `reset`: what is configured for one bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from cli import formats, output, suggestions, uris
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.errors import CommandError, UsageError
from cli.options import EndpointOption, JsonOption
from cli.uris import Location
from common.names import printable
from haul.places import bucket_from_wire

BACKEND = "backend_bck"
_NONE: Mapping[str, object] = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}
_TEXTS = frozenset({"access", "features"})
_Bucket = Annotated[str, typer.Argument(metavar="ais://BUCKET", show_default=False, help="The bucket.")]


def set_properties(
    bucket: _Bucket,
    properties: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE",
            show_default=False,
            help=f"Such as versioning.enabled=false. {BACKEND}=s3://OTHER: the bucket has what that one has, fetched "
            f"when it is read or prefetched; {BACKEND}=none detaches it. Or all of it as one JSON object.",
        ),
    ],
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Change properties of a bucket."""
    where = uris.parse_bucket(bucket)
    value = _properties(properties)
    with Client(find_endpoints(endpoint)) as client:
        client.text("PATCH", where.bucket_path, query=where.query, body={"action": "set-bprops", "value": value})
    if as_json:
        output.show_json({"uri": where.uri, **value})
    else:
        output.say(f"Changed {where.uri}: {formats.name(', '.join(properties))}")


def reset_properties(bucket: _Bucket, as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Give a bucket the properties that a new one has."""
    where = uris.parse_bucket(bucket)
    with Client(find_endpoints(endpoint)) as client:
        client.text("PATCH", where.bucket_path, query=where.query, body={"action": "reset-bprops"})
    if as_json:
        output.show_json({"uri": where.uri})
    else:
        output.say(f"Reset the properties of {where.uri}")


def show_properties(
    bucket: _Bucket,
    section: Annotated[
        str,
        typer.Argument(metavar="[SECTION]", show_default=False, help="Only this part, such as mirror or backend_bck."),
    ] = "",
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Show the properties of a bucket."""
    where = uris.parse_bucket(bucket)
    with Client(find_endpoints(endpoint)) as client:
        found = read(client, where)
    if as_json:
        output.show_json(found.get(section, {}) if section else found)
        return
    rows = [
        (name, value) for name, value in sorted(_flat(found)) if not section or f"{name}.".startswith(f"{section}.")
    ]
    if not rows:
        hint = suggestions.did_you_mean(found, section)
        raise CommandError(f'{where.uri} has no property "{printable(section)}". {hint}'.strip())
    output.show_table(("PROPERTY", "VALUE"), rows)


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


def _properties(texts: Sequence[str]) -> dict[str, Any]:
    """What was typed, as nested fields; raises UsageError."""
    if len(texts) == 1 and texts[0].lstrip().startswith("{"):
        try:
            whole: dict[str, Any] = json.loads(texts[0])
        except ValueError as error:
            raise UsageError(f"the properties are no JSON object: {error}") from None
        return whole
    result: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f'"{printable(text)}": expected NAME=VALUE, such as {BACKEND}=s3://BUCKET')
        *above, last = name.split(".")
        inside = result
        for part in above:
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise UsageError(f'"{printable(part)}" would have both a value and parts')
        inside[last] = _backend(value) if name == BACKEND else _typed(name, value)
    return result


def _backend(value: str) -> Mapping[str, object]:
    return _NONE if value in ("", "none") else uris.parse_bucket(value).bucket.to_wire()


def _typed(name: str, value: str) -> object:
    """Numbers and truth values as such; of some properties AIStore writes numbers as text."""
    if value in ("true", "false"):
        return value == "true"
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) and name not in _TEXTS else value


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
    return bucket_from_wire(fields).cname if fields.get("name") else "none"
