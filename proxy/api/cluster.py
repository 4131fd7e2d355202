"""Health and self-description: `/v1/health`, `/v1/daemon`, `/v1/cluster`. Source: wire.md §0.8, §4.

What AIStore's clients need to find their way. What a proxy tells of itself is left to `ownnode`, what is asked of one
node to `reverse`, what is asked about jobs to `jobs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from common import clock
from common.errors import InvalidRequest
from common.operations import refuse
from common.web import RETRY_AFTER_SECONDS, is_true
from proxy.api.answers import body_of, json_response, query_parameters, raw_response
from proxy.api.jobs import QUESTIONS, JobRoutes
from proxy.api.ownnode import TEXT, OwnNode
from proxy.jsonbody import decode_object
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.remote.clusters import RemoteClusters

_QUERY = "query message"
_DISKS_SECONDS = 3.0
_FIGURES_SECONDS = 3.0


class ClusterRoutes:
    """The handlers behind the routes."""

    def __init__(
        self,
        own: OwnNode,
        membership: Membership,
        clusters: RemoteClusters,
        jobs: JobRoutes,
        peers: Peers,
        providers: Callable[[], list[str]],
    ) -> None:
        """`providers` are those of the clouds whose buckets this node can reach."""
        self._own = own
        self._membership = membership
        self._clusters = clusters
        self._jobs = jobs
        self._peers = peers
        self._providers = providers

    async def health(self, request: Request) -> Response:
        """200 when this proxy serves; with `readiness=true` or `prr=true` only when a target is there to serve with."""
        query = query_parameters(request)
        uptime_ns = self._own.uptime_ns()
        created_ns = self._membership.map.created_ns
        headers = {
            "Ais-Node-Uptime": str(uptime_ns),
            "Ais-Cluster-Uptime": str(max(clock.unix_ns() - created_ns, 0) if created_ns else uptime_ns),
        }
        state = any(is_true(query.get(name, "")) for name in ("cii", "cii-apr"))
        if state and is_true(query.get("prr", "")):
            raise InvalidRequest('invalid query: "prr" cannot be combined with "cii" or "cii-apr"')
        if state:
            response = json_response(self._own.state())
            response.headers.update(headers)
            return response
        must_be_ready = any(is_true(query.get(name, "")) for name in ("readiness", "prr"))
        if must_be_ready and not self._membership.online_targets():
            return Response(status_code=503, headers=headers | {"Retry-After": str(RETRY_AFTER_SECONDS)})
        return Response(headers=headers)

    async def daemon(self, request: Request) -> Response:
        """What this proxy knows of itself: `what=smap|snode|bmd|config|node_status|node_stats|log|…`."""
        query = query_parameters(request)
        what = query.get("what", "")
        known = await self._common(what)
        answer = json_response(known) if known is not None else await self._own.answer(what, query)
        if answer is None:
            raise InvalidRequest(f"invalid '/v1/daemon' request: unrecognized 'what={what[:64]}' query")
        return answer

    async def change_daemon(self, request: Request) -> Response:
        """Nothing of a proxy is changed by request; says how it is done."""
        refuse(request.url.path.removeprefix("/v1/daemon").strip("/"), await body_of(request))

    async def cluster(self, request: Request) -> Response:
        """What this proxy knows of the cluster: `what=smap|bmd|cluster_config|status|qryxstats|…`."""
        what = query_parameters(request).get("what", "")
        if what in QUESTIONS:
            return await self._jobs.answer(what, decode_object(await body_of(request), _QUERY))
        if what == "mountpaths":
            return json_response(await self._mountpaths())
        if what == "target_ips":
            hosts = [urlsplit(node.url).hostname or "" for node in self._membership.map.targets]
            return raw_response(",".join(hosts).encode(), TEXT)
        known = await self._common(what)
        if known is None:
            known = await self._whole_cluster(what)
        if known is None:
            raise InvalidRequest(f"unexpected query [what={what[:64]}]")
        return json_response(known)

    async def _common(self, what: str) -> Any:
        """What a node and the cluster are both asked for; None for anything else."""
        match what:
            case "smap":
                return await self._own.smap()
            case "snode":
                return self._own.snode()
            case "bmd":
                return await self._own.bmd()
        return None

    async def _whole_cluster(self, what: str) -> Any:
        """None for anything else; targets that do not answer are left out."""
        match what:
            case "cluster_config":
                return self._own.cluster_config()
            case "node_stats" | "sysinfo":
                own = self._own.stats() if what == "node_stats" else {}
                return {"proxy": own, "target": await self._ask_targets(what)}
            case "backends":
                return self._providers()
            case "remote":
                return await self._clusters.described()
            case "smapvote":
                return await self._own.everything()
        return None

    async def _ask_targets(self, what: str) -> dict[str, Any]:
        targets = self._membership.online_targets()
        return await self._peers.read_each(targets, f"/v1/daemon?what={what}", _FIGURES_SECONDS)

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


def router(routes: ClusterRoutes) -> APIRouter:
    """The routes of the cluster as a whole."""
    api = APIRouter(tags=["cluster"])
    api.add_api_route("/v1/health", routes.health, methods=["GET"], operation_id="health")
    api.add_api_route("/v1/health", routes.health, methods=["HEAD", "POST"], include_in_schema=False)
    api.add_api_route("/v1/daemon", routes.daemon, methods=["GET"])
    api.add_api_route("/v1/cluster", routes.cluster, methods=["GET"])
    changing = ["PUT", "POST", "DELETE"]
    for path in ("/v1/daemon", "/v1/daemon/{rest:path}"):
        api.add_api_route(path, routes.change_daemon, methods=changing, include_in_schema=False)
    return api
