"""`haul show config`, `show log` and `show storage`: how nodes are configured, what they say, how full they are.

Whether nodes are well is shown by `cli.show`, mountpaths are changed by `cli.storage`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

from cli import formats, output, suggestions
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.errors import CommandError, NoAnswer, ServerError, UsageError
from cli.formats import Units
from cli.members import node_id_of
from cli.options import EndpointOption, JsonOption, UnitsOption
from common.names import printable

_CLUSTER = "cluster"
_FOLLOW_SECONDS = 1.0
_INTERRUPTED = 130
SeverityOption = Annotated[
    str, typer.Option("--severity", metavar="info|warning|error", help="Only lines that are at least so serious.")
]


def show_config(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[cluster|NODE] [SECTION]",
            show_default=False,
            help="The whole cluster's, or one node's; only this part of it, such as downloader or log.level.",
        ),
    ] = None,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Show the configuration of the cluster, or of one node."""
    whose, section, *more = (*(arguments or ()), "", "")[: max(2, len(arguments or ()))]
    if more:
        raise UsageError("expected  haul show config [cluster|NODE] [SECTION]")
    with Client(find_endpoints(endpoint)) as client:
        if whose and whose != _CLUSTER and not section and node_id_of(whose) not in _node_ids(client):
            whose, section = "", whose  # a section of the cluster's
        if whose in ("", _CLUSTER):
            found = client.call("GET", "/v1/cluster", query={"what": "cluster_config"}) or {}
        else:
            found = json.loads(_of_node(client, whose, {"what": "config"})) or {}
    if as_json:
        output.show_json(_part(found, section))
        return
    rows = [(name, value) for name, value in sorted(flat(found)) if _is_in(name, section)]
    if not rows:
        hint = suggestions.did_you_mean((name.partition(".")[0] for name, _ in flat(found)), section)
        raise CommandError(f'the configuration has no "{printable(section)}". {hint}'.strip())
    output.show_table(("SETTING", "VALUE"), rows)


def _is_in(name: str, section: str) -> bool:
    return not section or name == section or name.startswith(f"{section}.")


def _part(found: Mapping[str, Any], section: str) -> Any:
    part: Any = found
    for name in section.split(".") if section else ():
        if not isinstance(part, dict) or name not in part:
            raise CommandError(f'the configuration has no "{printable(section)}"')
        part = part[name]
    return part


def flat(fields: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Names with dots for what is inside of something, and the values in words."""
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{name}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value)
            yield above + name, formats.name(shown)


def show_log(
    node: Annotated[str, typer.Argument(metavar="NODE", show_default=False, help="A node, e.g. t2 or t[t2].")],
    severity: SeverityOption = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what comes, too, until Ctrl-C; also --refresh.")
    ] = False,
    refresh: Annotated[str, typer.Option("--refresh", metavar="TIME", help="The same; for AIStore's scripts.")] = "",
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Show the last lines that a node has logged."""
    query = {"what": "log"} | ({"severity": severity} if severity else {})
    with Client(find_endpoints(endpoint)) as client:
        text = _of_node(client, node, query)
        if as_json:
            output.show_json({"node": node_id_of(node), "lines": text.splitlines()})
            return
        sys.stdout.write(text)
        if follow or refresh:
            _follow(client, node, query, text)


def _follow(client: Client, node: str, query: Mapping[str, str], shown: str) -> None:
    """A node keeps its last lines only, so what is new is what stands behind the last line that was shown."""
    try:
        while True:
            sys.stdout.flush()
            time.sleep(_FOLLOW_SECONDS)
            text = _of_node(client, node, query)
            sys.stdout.write(new_lines(shown, text))
            shown = text
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def new_lines(before: str, now: str) -> str:
    """What has been added behind `before`; all of `now` when they have nothing in common."""
    if now.startswith(before):
        return now[len(before) :]
    last = before.rstrip("\n").rpartition("\n")[2]
    _, found, rest = now.rpartition(f"{last}\n") if last else ("", "", now)
    return rest if found else now


def show_storage(
    target: Annotated[str, typer.Argument(metavar="[TARGET]", help="Only this target.")] = "",
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Show how full the targets and their mountpaths are."""
    with Client(find_endpoints(endpoint)) as client:
        smap = client.call("GET", "/v1/daemon", query={"what": "smap"}) or {}
        known = sorted(smap.get("tmap") or {})
        wanted = [node_id_of(target)] if target else known
        if target and wanted[0] not in known:
            raise CommandError(no_node(target, known))
        with ThreadPoolExecutor(16) as pool:
            found = dict(zip(wanted, pool.map(lambda node_id: _capacity(client, node_id), wanted), strict=True))
    if as_json:
        output.show_json(found)
        return
    header = ("TARGET", "MOUNTPATH", "USED", "FREE", "USED%", "DISK")
    rows = [row for node_id, capacity in found.items() for row in _rows(node_id, capacity, units)]
    output.show_table(header, rows, right=(2, 3, 4))
    used, free = _in_all(capacity for capacity in found.values() if capacity)
    if used or free:
        output.say(f"used {formats.size(used, units)} of {formats.size(used + free, units)}", style="dim")


def _in_all(capacities: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Bytes that are used and free; a disk that several mountpaths share counts once."""
    disks: dict[tuple[object, ...], tuple[int, int]] = {}
    for capacity in capacities:
        for figures in (capacity.get("mountpaths") or {}).values():
            used, free = int(figures.get("used") or 0), int(figures.get("avail") or 0)
            disk = figures.get("fs") or {}
            # Two machines may number their disks alike; that they are of one size to the MiB as well is unlikely.
            disks[str(disk.get("FsID")), disk.get("Fs"), (used + free) >> 20] = used, free
    return sum(used for used, _ in disks.values()), sum(free for _, free in disks.values())


def show_all_storage(
    context: typer.Context, units: UnitsOption = Units.IEC, as_json: JsonOption = False, endpoint: EndpointOption = None
) -> None:
    """Show how full the targets and their mountpaths are, or what the word behind it says."""
    if context.invoked_subcommand is None:
        show_storage(units=units, as_json=as_json, endpoint=endpoint)


def _capacity(client: Client, node_id: str) -> dict[str, Any] | None:
    """What a target tells of its space; None when it does not answer."""
    try:
        answer = json.loads(_of_node(client, node_id, {"what": "node_status"}))
    except (NoAnswer, ServerError, ValueError):
        return None
    return dict(answer.get("capacity") or {})


def _rows(node_id: str, capacity: Mapping[str, Any] | None, units: Units) -> Iterator[tuple[str, ...]]:
    name = formats.name(node_id)
    if capacity is None:
        yield name, "(does not answer)", "-", "-", "-", ""
        return
    for path, figures in sorted((capacity.get("mountpaths") or {}).items()):
        disk = figures.get("fs") or {}
        yield (
            name,
            formats.name(path),
            formats.size(int(figures.get("used") or 0), units),
            formats.size(int(figures.get("avail") or 0), units),
            f"{int(figures.get('pct_used') or 0)}%",
            formats.name(f"{disk.get('Fs', '')} {disk.get('FsType', '')}".strip()),
        )


def _of_node(client: Client, node: str, query: Mapping[str, str]) -> str:
    """What a node answers as text; raises CommandError for one that does not exist."""
    node_id = node_id_of(node)
    try:
        return client.ask("GET", "/v1/reverse/daemon", query=query, headers={"Ais-Node-Id": node_id}).text
    except ServerError as error:
        known = _node_ids(client)
        if error.status == 404 and node_id not in known:
            raise CommandError(no_node(node, known)) from None
        raise


def _node_ids(client: Client) -> list[str]:
    smap = client.call("GET", "/v1/daemon", query={"what": "smap"}) or {}
    return sorted([*(smap.get("tmap") or {}), *(smap.get("pmap") or {})])


def no_node(node: str, known: list[str]) -> str:
    """What to say about a node that does not exist."""
    there = f"there are {', '.join(known)}" if known else "there are none"
    return f'there is no node "{printable(node)}": {there}'
