"""Health and self-description: `/v1/health`, `/v1/daemon`, `/v1/cluster`, `/v1/reverse`. Source: wire.md §0.8, §4, §5.

What AIStore's clients need to find their way; figures of machines and disks are not gathered.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from common import clock
from common.clustermap import TARGET
from common.errors import InvalidRequest, JobNotFound, NodeNotFound, Unavailable
from common.web import RETRY_AFTER_SECONDS, is_true
from proxy.api.answers import body_of, json_response, query_parameters, raw_response
from proxy.api.clusterconfig import cluster_config
from proxy.buckets import Buckets
from proxy.downloads.requests import StatusQuery
from proxy.downloads.service import Downloads
from proxy.jsonbody import decode_object, string
from proxy.leadership import Leadership
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.rebalance.reports import KIND as REBALANCE
from proxy.rebalance.reports import RebalanceReports, is_rebalance_id, rebalance_id
from proxy.remote.listranges import done_at_ns, kind_of

_VERSION = "5.0.0"
"""The AIStore version whose dialect is spoken: clients compare it with their own."""
_TEXT = "text/plain; charset=utf-8"
_CLUSTER_AND_NODE_STARTED = 6
_QUERY = "query message"
_DISKS_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which proxy of which cluster this is; `started` on the monotonic clock."""

    node_id: str
    cluster_id: str
    started: float


class ClusterRoutes:
    """The handlers behind the routes."""

    def __init__(
        self,
        identity: Identity,
        membership: Membership,
        leadership: Leadership,
        buckets: Buckets,
        downloads: Downloads,
        rebalance: RebalanceReports,
        peers: Peers,
        providers: Callable[[], list[str]],
    ) -> None:
        """`providers` are those of the clouds whose buckets this node can reach."""
        self._identity = identity
        self._membership = membership
        self._leadership = leadership
        self._buckets = buckets
        self._downloads = downloads
        self._rebalance = rebalance
        self._peers = peers
        self._providers = providers

    async def health(self, request: Request) -> Response:
        """200 when this proxy serves; with `readiness=true` or `prr=true` only when a target is there to serve with."""
        query = query_parameters(request)
        uptime_ns = int((clock.monotonic() - self._identity.started) * 1e9)
        created_ns = self._membership.map.created_ns
        headers = {
            "Ais-Node-Uptime": str(uptime_ns),
            "Ais-Cluster-Uptime": str(max(clock.unix_ns() - created_ns, 0) if created_ns else uptime_ns),
        }
        state = any(is_true(query.get(name, "")) for name in ("cii", "cii-apr"))
        if state and is_true(query.get("prr", "")):
            raise InvalidRequest('invalid query: "prr" cannot be combined with "cii" or "cii-apr"')
        if state:
            response = json_response(self._node_state())
            response.headers.update(headers)
            return response
        must_be_ready = any(is_true(query.get(name, "")) for name in ("readiness", "prr"))
        if must_be_ready and not self._membership.online_targets():
            return Response(status_code=503, headers=headers | {"Retry-After": str(RETRY_AFTER_SECONDS)})
        return Response(headers=headers)

    async def daemon(self, request: Request) -> Response:
        """What this proxy knows of itself: `what=smap|snode|bmd|config|node_status|node_stats|…`."""
        what = query_parameters(request).get("what", "")
        if what == "software_version":
            return raw_response(_VERSION.encode(), _TEXT)
        if what == "config":
            return json_response(self._config())
        if what == "node_status":
            return json_response(self._node_status())
        if what in ("metrics", "sysinfo"):
            return json_response(_sysinfo() if what == "sysinfo" else {})
        known = await self._common(what)
        if known is None and what == "node_stats":
            known = self._node_stats()
        if known is None:
            raise InvalidRequest(f"invalid '/v1/daemon' request: unrecognized 'what={what}' query")
        return json_response(known)

    async def reverse(self, request: Request) -> Response:
        """`/v1/daemon…` of the node that the header `Ais-Node-Id` names: ours is answered, others are redirected to."""
        node_id = request.headers.get("ais-node-id", "")
        if not node_id:
            raise InvalidRequest("missing node ID")
        path = request.url.path.removeprefix("/v1/reverse/daemon")
        if node_id == self._identity.node_id and not path:
            return await self.daemon(request)
        node = self._membership.map.get(node_id)
        if node is None:
            raise NodeNotFound(node_id)
        if path and node.role != TARGET:
            raise InvalidRequest(f'node "{node_id}" is a proxy, and has no mountpaths')
        if not self._membership.is_online(node_id):
            raise Unavailable(f'node "{node_id}" is offline')
        query = request.url.query
        return Response(status_code=307, headers={"Location": f"{node.client_url}/v1/daemon{path}?{query}"})

    async def cluster(self, request: Request) -> Response:
        """What this proxy knows of the cluster: `what=smap|bmd|cluster_config|status|qryxstats|…`."""
        what = query_parameters(request).get("what", "")
        if what in ("status", "status_all", "qryxstats", "running_all"):
            return await self._jobs(what, decode_object(await body_of(request), _QUERY))
        if what == "mountpaths":
            return json_response(await self._mountpaths())
        if what == "target_ips":
            hosts = [urlsplit(node.url).hostname or "" for node in self._membership.map.targets]
            return raw_response(",".join(hosts).encode(), _TEXT)
        known = await self._common(what)
        if known is None:
            known = self._whole_cluster(what)
        if known is None:
            raise InvalidRequest(f"unexpected query [what={what}]")
        return json_response(known)

    async def _common(self, what: str) -> Any:
        """What a node and the cluster are both asked for; None for anything else."""
        match what:
            case "smap":
                await self._membership.refresh_map()
                return self._smap()
            case "snode":
                return self._membership.own.to_snode(is_smap_member=False)
            case "bmd":
                return (await self._buckets.refresh()).to_bmd(self._identity.cluster_id)
        return None

    def _whole_cluster(self, what: str) -> Any:
        known: dict[str, Callable[[], Any]] = {
            "cluster_config": self._cluster_config,
            "node_stats": lambda: {"proxy": self._node_stats(), "target": {}},
            "sysinfo": lambda: {"proxy": {}, "target": {}},
            "backends": self._providers,
            "remote": lambda: {"a": None, "ver": 0},
        }
        return known[what]() if what in known else None

    async def _mountpaths(self) -> dict[str, Any]:
        """As the targets say; for one that does not answer those that it has joined with."""
        nothing: dict[str, list[str]] = {"waiting_dd": [], "disabled": []}
        targets = self._membership.map.targets
        known = {node.id: {"available": list(node.mountpaths)} | nothing for node in targets}
        answers = await self._ask_about_disks()
        return {"targets": known | {node_id: answer["mountpaths"] for node_id, answer in answers.items()}}

    async def _ask_about_disks(self) -> dict[str, Any]:
        """Each online target's mountpaths and its resilvering, of those that answer."""
        calls = dict.fromkeys(self._membership.online_targets())
        answers, _ = await self._peers.call_each(calls, "/intra/v1/mountpaths", _DISKS_SECONDS)
        return answers

    async def _jobs(self, what: str, message: dict[str, Any]) -> Response:
        """Downloads, rebalance and resilvering as AIStore's generic job API shows them; there are no others."""
        job_id, kind = string(message, "id", _QUERY), string(message, "kind", _QUERY)
        if what == "status":
            return json_response(await self._status(job_id, kind))
        if what == "qryxstats":
            only_running = message.get("show_active") is True
            return json_response(await self._snapshots(job_id, kind, only_running=only_running))
        if what == "status_all":
            return json_response(None)
        running = await self._downloads.list_jobs(StatusQuery(only_active=True))
        names = [f"download[{job['id']}]" for job in running]
        cluster_map = self._membership.map
        if not cluster_map.is_settled:
            names.append(f"{REBALANCE}[{rebalance_id(cluster_map.placement_version)}]")
        return json_response(names)

    async def _status(self, job_id: str, kind: str) -> dict[str, Any]:
        if _is_rebalance(job_id, kind):
            return dict(await self._rebalance.status(job_id))
        if not job_id:
            raise InvalidRequest(f'invalid x-{kind}: "id" is missing')
        done_ns = done_at_ns(job_id)
        if done_ns is not None:
            return {"kind": kind_of(job_id), "uuid": job_id, "err": "", "end_time": done_ns, "aborted": False}
        record, figures = await self._downloads.figures(job_id)
        finished_ns, aborted = figures.finished_ns, figures.aborted or bool(record.aborted_ns)
        return {"kind": record.kind, "uuid": job_id, "err": "", "end_time": finished_ns, "aborted": aborted}

    async def _snapshots(self, job_id: str, kind: str, *, only_running: bool) -> dict[str, Any]:
        if _is_rebalance(job_id, kind):
            return dict(await self._rebalance.snapshots(job_id, only_running=only_running))
        if kind == "resilver":
            return await self._resilvers(job_id, only_running=only_running)
        if job_id and done_at_ns(job_id) is None:
            raise JobNotFound(job_id)
        return {node.id: [] for node in self._membership.map.targets}

    async def _resilvers(self, run_id: str, *, only_running: bool) -> dict[str, Any]:
        """AIStore's Snaps by target; raises JobNotFound."""

        def is_wanted(snap: dict[str, Any]) -> bool:
            is_running = snap["end-time"].startswith("0001")
            return run_id in ("", snap["id"]) and (is_running or not only_running)

        answers = await self._ask_about_disks()
        wanted = {
            node_id: [snap for snap in answer["resilver"] if is_wanted(snap)] for node_id, answer in answers.items()
        }
        if run_id and not any(wanted.values()):
            raise JobNotFound(run_id)
        return wanted

    def _smap(self) -> dict[str, Any]:
        return self._membership.map.to_smap(self._primary_id(), self._identity.cluster_id)

    def _primary_id(self) -> str:
        """The proxy that clients may rely on: the leader, as far as it is known to live."""
        leader_id = self._leadership.leader_id
        is_known = self._membership.is_online(leader_id) and self._membership.map.get(leader_id) is not None
        return leader_id if is_known else self._membership.first_online_proxy()

    def _primary_url(self) -> str:
        primary = self._membership.map.get(self._primary_id()) or self._membership.own
        return primary.client_url

    def _cluster_config(self) -> dict[str, Any]:
        return cluster_config(self._identity.cluster_id, self._primary_url())

    def _config(self) -> dict[str, Any]:
        parts = urlsplit(self._membership.own.client_url)
        port = str(parts.port or "")
        net = {"hostname": parts.hostname or "", "hostname_intra_control": "", "hostname_intra_data": "", "port": port}
        return {
            "fspaths": {},
            "confdir": "",
            "log_dir": "",
            "test_fspaths": {"root": "", "count": 0, "instance": 0},
            "host_net": net | {"port_intra_control": port, "port_intra_data": port},
        } | self._cluster_config()

    def _node_state(self) -> dict[str, Any]:
        url = self._primary_url()
        cluster_id = self._identity.cluster_id
        primary = {"pub_url": url, "control_url": url, "id": self._primary_id()}
        return {
            "smap": {"Primary": primary, "uuid": cluster_id, "version": str(self._membership.map.version)},
            "bmd": {"uuid": cluster_id, "version": str(self._buckets.table.version)},
            "rmd": {"version": "0"},
            "config": {"version": "0"},
            "etlmd": {"version": "0"},
            "flags": _CLUSTER_AND_NODE_STARTED,
        }

    def _node_stats(self) -> dict[str, Any]:
        uptime_ns = int((clock.monotonic() - self._identity.started) * 1e9)
        return {
            "snode": self._membership.own.to_snode(is_smap_member=False),
            "tracker": {"state.flags": _CLUSTER_AND_NODE_STARTED, "up.ns.time": uptime_ns},
            "capacity": {
                "mountpaths": None,
                "cs_err": "",
                "total_used": "0",
                "total_avail": "0",
                "pct_max": 0,
                "pct_avg": 0,
                "pct_min": 0,
            },
        }

    def _node_status(self) -> dict[str, Any]:
        about = {"status": "", "deployment": "dev", "ais_version": _VERSION, "build_time": "", "k8s_pod_name": ""}
        return (
            about
            | self._node_stats()
            | {
                "cluster": self._node_state(),
                "sys_info": _sysinfo(),
                "smap_version": str(self._membership.map.version),
            }
        )


def _is_rebalance(job_id: str, kind: str) -> bool:
    return is_rebalance_id(job_id) or (kind == REBALANCE and not job_id)


def _sysinfo() -> dict[str, Any]:
    """AIStore's MemCPUInfo: the load is the machine's, the rest is not gathered."""
    load = dict(zip(("One", "Five", "Fifteen"), os.getloadavg(), strict=True))
    unknown = {"mem_used": 0, "mem_avail": 0, "pct_mem_used": 0.0, "pct_cpu_used": 0.0, "cpu_util": 0}
    return unknown | {"load_avg": load}


def router(routes: ClusterRoutes) -> APIRouter:
    """The routes of the cluster as a whole."""
    api = APIRouter(tags=["cluster"])
    api.add_api_route("/v1/health", routes.health, methods=["GET"], operation_id="health")
    api.add_api_route("/v1/health", routes.health, methods=["HEAD", "POST"], include_in_schema=False)
    api.add_api_route("/v1/daemon", routes.daemon, methods=["GET"])
    api.add_api_route("/v1/cluster", routes.cluster, methods=["GET"])
    api.add_api_route("/v1/reverse/daemon", routes.reverse, methods=["GET"])
    changing = ["PUT", "POST", "DELETE"]
    api.add_api_route("/v1/reverse/daemon/mountpaths", routes.reverse, methods=changing, include_in_schema=False)
    return api
