"""`haul show cluster`: the nodes of the cluster as a proxy sees them, each asked whether it is well."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from cli import formats, output
from cli.client import Client
from cli.endpoints import find_endpoints
from cli.options import EndpointOption, JsonOption
from common.clustermap import FLAG_DECOMMISSION, FLAG_MAINTENANCE


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node: `state` is `online`, `starting` (it answers, and is not ready) or `unreachable`."""

    id: str
    role: str
    url: str
    state: str
    is_primary: bool
    mountpaths: list[str]
    flags: int


def show_cluster(as_json: JsonOption = False, endpoint: EndpointOption = None) -> None:
    """Show the nodes of the cluster."""
    with Client(find_endpoints(endpoint)) as client:
        smap = client.call("GET", "/v1/daemon", query={"what": "smap"}) or {}
        with ThreadPoolExecutor(16) as pool:
            nodes = list(pool.map(lambda node: _ask(client, node), _nodes(smap)))
    if as_json:
        fields = {"uuid": smap.get("uuid", ""), "version": str(smap.get("version", ""))}
        output.show_json(fields | {"nodes": [asdict(node) for node in nodes]})
        return
    rows = [(node.role, node.id, node.url, node.state, _remark(node)) for node in nodes]
    output.show_table(("ROLE", "ID", "URL", "STATE", ""), rows)
    online = sum(node.state == "online" for node in nodes)
    text = f"{online} of {formats.count(len(nodes), 'node')} online; cluster {smap.get('uuid', '')}"
    output.say(f"{text}, map version {smap.get('version', '')}", style="dim")


def _nodes(smap: Mapping[str, Any]) -> list[NodeState]:
    primary = (smap.get("proxy_si") or {}).get("daemon_id", "")
    found = []
    for role, key in (("proxy", "pmap"), ("target", "tmap")):
        for node_id, node in sorted((smap.get(key) or {}).items()):
            url = node["public_net"]["direct_url"]
            found.append(
                NodeState(node_id, role, url, "unreachable", node_id == primary, [], int(node.get("flags", 0)))
            )
    return found


def _ask(client: Client, node: NodeState) -> NodeState:
    health = client.probe(node.url, "/v1/health", query={"readiness": "true"})
    state = "unreachable" if health is None else "online" if health.status_code == 200 else "starting"
    mountpaths: list[str] = []
    if node.role == "target" and state == "online":
        answer = client.probe(node.url, "/v1/daemon", query={"what": "mountpaths"})
        if answer is not None and answer.status_code == 200:
            mountpaths = [str(path) for path in answer.json().get("available") or ()]
    return NodeState(node.id, node.role, node.url, state, node.is_primary, mountpaths, node.flags)


def _remark(node: NodeState) -> str:
    if node.role == "proxy":
        return "primary" if node.is_primary else ""
    leaving = "in maintenance" if node.flags & FLAG_MAINTENANCE else "leaving" if node.flags & FLAG_DECOMMISSION else ""
    paths = formats.count(len(node.mountpaths), "mountpath") if node.mountpaths else ""
    return ", ".join(part for part in (leaving, paths) if part)
