"""`haul object set-custom`: what users note down about an object, beside its bytes."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import formats, output, uris
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.errors import UsageError
from cli.objects import ObjectArgument
from cli.options import EndpointOption, JsonOption
from common.names import printable


def set_custom(
    source: ObjectArgument,
    properties: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE", show_default=False, help="What is noted; no value removes it.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", "--set-new-custom", help="Forget all that was noted before.")
    ] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Note something down about an object; `haul show object` shows it."""
    what = uris.parse_object(source)
    value = dict(_pair(text) for text in properties)
    query = what.query | ({"set-new-custom": "true"} if replace else {})
    with Client(find_endpoints(endpoint)) as client:
        client.ask("PATCH", what.object_path, query=query, body={"action": "", "value": value})
    if as_json:
        output.show_json({"uri": what.uri, "custom": value})
    else:
        output.say(f"Changed {formats.name(what.uri)}: {formats.name(', '.join(properties))}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f'"{printable(text)}": expected NAME=VALUE')
    return name.strip(), value
