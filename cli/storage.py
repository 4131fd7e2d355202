"""`haul storage mountpath …`: the disks of running targets, shown and changed; and what moves because of it.

What an operation does is left to the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from cli import formats, output
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.errors import CommandError, ServerError, UsageError
from cli.options import EndpointOption, JsonOption
from common.names import printable

_STATES = {"available": "enabled", "waiting_dd": "being emptied", "disabled": "disabled"}
_NEVER = "0001-"
PathArguments = Annotated[
    list[str],
    typer.Argument(metavar="TARGET=PATH...", help="The target's id and the directory: t1=/disks/4, or t1:/disks/4."),
]
StayOption = Annotated[
    bool, typer.Option("--no-resilver", help="Leave its objects on it, out of reach, instead of moving them away.")
]


def show(
    target: Annotated[str, typer.Argument(metavar="[TARGET]", help="Only this target.")] = "",
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Show the mountpaths of all targets, and how they stand."""
    with Client(find_endpoints(endpoint)) as client:
        targets = _mountpaths(client)
    if target:
        if target not in targets:
            raise CommandError(_no_target(target, targets))
        targets = {target: targets[target]}
    if as_json:
        output.show_json(targets)
        return
    rows = [
        (target_id, formats.name(path), state)
        for target_id, listed in sorted(targets.items())
        for key, state in _STATES.items()
        for path in listed.get(key) or ()
    ]
    output.show_table(("TARGET", "MOUNTPATH", "STATE"), rows)


def attach(paths: PathArguments, as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Take directories into use; objects that belong there move there in the background."""
    _change("attach", "Attached", paths, as_json=as_json, endpoint=endpoint)


def enable(paths: PathArguments, as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Use mountpaths again that were disabled, by an operator or because their disk had failed."""
    _change("enable", "Enabled", paths, as_json=as_json, endpoint=endpoint)


def disable(
    paths: PathArguments, stay: StayOption = False, as_json: JsonOption = False, endpoint: EndpointOption = None
) -> None:
    """Use mountpaths no more, once their objects have been moved away."""
    _change("disable", "Disabling", paths, as_json=as_json, endpoint=endpoint, stay=stay)


def detach(
    paths: PathArguments, stay: StayOption = False, as_json: JsonOption = False, endpoint: EndpointOption = None
) -> None:
    """Disable mountpaths, and forget them."""
    _change("detach", "Detaching", paths, as_json=as_json, endpoint=endpoint, stay=stay)


def show_resilver(*, as_json: bool, endpoint: str | None) -> None:
    """What each target has moved between its mountpaths, when it last had to."""
    with Client(find_endpoints(endpoint)) as client:
        snaps = client.call("GET", "/v1/cluster", query={"what": "qryxstats"}, body={"kind": "resilver"}) or {}
    if as_json:
        output.show_json(snaps)
        return
    rows = [
        (
            target_id,
            str(snap["id"]),
            formats.count(int(snap["stats"]["loc-objs"])),
            formats.size(int(snap["stats"]["loc-bytes"])),
            "running" if str(snap["end-time"]).startswith(_NEVER) else "finished",
            formats.name(str(snap["err"])) if snap["err"] else "",
        )
        for target_id, of_target in sorted(snaps.items())
        for snap in of_target
    ]
    if not rows:
        output.note("No target has had to move objects between its mountpaths.")
        return
    output.show_table(("TARGET", "ID", "OBJECTS", "SIZE", "STATE", "ERROR"), rows, right=(2, 3))


_METHODS = {"attach": "PUT", "enable": "POST", "disable": "POST", "detach": "DELETE"}


def _change(
    action: str, said: str, pairs: Sequence[str], *, as_json: bool, endpoint: str | None, stay: bool = False
) -> None:
    wanted = [_parse(pair) for pair in pairs]
    with Client(find_endpoints(endpoint)) as client, output.results(as_json=as_json) as tell:
        for target, path in wanted:
            _send(client, action, target, path, stay=stay)
            tell(f"{said} {target}={formats.name(path)}", {"target": target, "path": path, "action": action})


def _send(client: Client, action: str, target: str, path: str, *, stay: bool) -> None:
    query = {"dntres": "true"} if stay else None
    body = {"action": f"{action}-mp", "value": path}
    try:
        client.call(
            _METHODS[action],
            "/v1/reverse/daemon/mountpaths",
            query=query,
            body=body,
            headers={"Ais-Node-Id": target},
        )
    except ServerError as error:
        if error.status != 404:
            raise
        raise CommandError(_no_target(target, _mountpaths(client))) from None


def _mountpaths(client: Client) -> dict[str, Any]:
    answer = client.call("GET", "/v1/cluster", query={"what": "mountpaths"}) or {}
    return dict(answer.get("targets") or {})


def _no_target(target: str, known: dict[str, Any]) -> str:
    there = f"there are {', '.join(sorted(known))}" if known else "there are none"
    return f'there is no target "{printable(target)}": {there}'


def _parse(pair: str) -> tuple[str, str]:
    """Target and path; raises UsageError."""
    positions = [position for position in (pair.find("="), pair.find(":")) if position > 0]
    at = min(positions, default=0)
    target, path = pair[:at], pair[at + 1 :]
    if not target or "/" in target:
        raise UsageError(f'"{printable(pair)}" names no target: expected TARGET=PATH, like t1=/disks/4')
    if not path.startswith("/"):
        raise UsageError(f'"{printable(pair)}": the path must be absolute, like {target}=/disks/4')
    return target, path


COMMANDS: dict[str, Callable[..., None]] = {
    "show": show,
    "attach": attach,
    "detach": detach,
    "enable": enable,
    "disable": disable,
}
