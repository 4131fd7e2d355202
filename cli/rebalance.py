"""`haul start rebalance` and `haul show job rebalance`: objects on their way to the targets that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli import formats, output
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.errors import ServerError
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, UnitsOption

KIND = "rebalance"
_NOT_FOUND = 404


def start_rebalance(as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Move all objects to where they belong; this happens by itself when targets join or leave."""
    with Client(find_endpoints(endpoint)) as client:
        rebalance_id = client.text("PUT", "/v1/cluster", body={"action": "start", "value": {"kind": KIND}})
    if as_json:
        output.show_json({"id": rebalance_id})
    else:
        output.say(f"Started rebalance {rebalance_id}; see how it goes:  haul show job {KIND}")


def show_latest(units: UnitsOption = Units.IEC, as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Show the latest rebalance; the same as `haul show job rebalance`."""
    with Client(find_endpoints(endpoint)) as client:
        show_rebalance(client, units=units, as_json=as_json)


def show_rebalance(client: Client, *, units: Units, as_json: bool) -> bool:
    """Show the latest rebalance; returns whether it is running."""
    try:
        status = client.call("GET", "/v1/cluster", query={"what": "status"}, body={"kind": KIND})
        snaps = client.call("GET", "/v1/cluster", query={"what": "qryxstats"}, body={"kind": KIND})
    except ServerError as error:
        if error.status != _NOT_FOUND:
            raise
        if as_json:
            output.show_json(None)
        else:
            output.note("No rebalance has run since the targets were started.")
        return False
    is_running = not status["end_time"]
    if as_json:
        output.show_json({"id": status["uuid"], "running": is_running, "targets": snaps})
        return is_running
    output.say(f"rebalance {status['uuid']}: {'running' if is_running else 'finished'}")
    header = ("TARGET", "SENT", "", "RECEIVED", "", "STATE")
    rows = [_row(target, found[0] if found else None, units) for target, found in sorted(snaps.items())]
    output.show_table(header, rows, right=(1, 2, 3, 4))
    return is_running


def _row(target: str, snap: Mapping[str, Any] | None, units: Units) -> tuple[str, ...]:
    if snap is None:
        return formats.name(target), "-", "", "-", "", "silent"
    stats, ext = snap["stats"], snap.get("ext") or {}
    return (
        formats.name(target),
        formats.count(int(stats["out-objs"]), "object"),
        formats.size(int(stats["out-bytes"]), units),
        formats.count(int(stats["in-objs"]), "object"),
        formats.size(int(stats["in-bytes"]), units),
        _state(ext),
    )


def _state(ext: Mapping[str, Any]) -> str:
    state = "through" if ext.get("is_through") else ext.get("waiting") or "moving"
    failed = f", {formats.count(ext['failed'], 'attempt')} failed" if ext.get("failed") else ""
    error = f": {ext['error']}" if ext.get("error") and not ext.get("is_through") else ""
    return formats.name(f"{state}{failed}{error}")
