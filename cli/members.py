"""`haul cluster add-remove-nodes`: a target rests and comes back, or leaves for good.

What follows (objects move to other targets and back) is the cluster's doing.
"""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from cli import output
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.errors import CommandError
from cli.options import EndpointOption, JsonOption

_POLL_SECONDS = 0.5
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", show_default=False, help="A target, e.g. t2 or t[t2].")]


def start_maintenance(node: NodeArgument, as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Let a target rest: it gets nothing new, and its objects move to the others."""
    text = "is in maintenance: its objects move to the other targets; `stop-maintenance` brings it back"
    _change("start-maintenance", node, text, as_json=as_json, endpoint=endpoint)


def stop_maintenance(node: NodeArgument, as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Take a target back; this also calls off a decommission that has not ended."""
    _change("stop-maintenance", node, "is back: its objects return to it", as_json=as_json, endpoint=endpoint)


def decommission(
    node: NodeArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the target has left the cluster.")] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Let a target go for good: its objects move to the others, and when it is empty it leaves the cluster and ends."""
    text = "leaves the cluster when its objects are with the others; `haul show cluster` tells, this may take a while"
    _change("decommission-node", node, text, as_json=as_json, endpoint=endpoint)
    if wait:
        _wait_until_gone(node_id_of(node), endpoint)
        output.note(f"{node_id_of(node)} has left the cluster.")


def _change(action: str, node: str, text: str, *, as_json: bool, endpoint: str | None) -> None:
    node_id = node_id_of(node)
    with Client(find_endpoints(endpoint)) as client, output.results(as_json=as_json) as tell:
        client.call("PUT", "/v1/cluster", body={"action": action, "value": {"sid": node_id}})
        tell(f"{node_id} {text}", {"node": node_id, "action": action})


def node_id_of(text: str) -> str:
    """The id of a node, which AIStore's tools show as `t[id]`."""
    shown = re.fullmatch(r"[pt]\[(.+)\]", text)
    return shown[1] if shown else text


def _wait_until_gone(node_id: str, endpoint: str | None) -> None:
    with Client(find_endpoints(endpoint)) as client:
        while True:
            smap = client.call("GET", "/v1/daemon", query={"what": "smap"}) or {}
            node = (smap.get("tmap") or {}).get(node_id)
            if node is None:
                return
            if not int(node.get("flags", 0)):
                raise CommandError(f"{node_id} stays: its decommission was called off")
            time.sleep(_POLL_SECONDS)
