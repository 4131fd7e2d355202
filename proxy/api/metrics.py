"""`GET /metrics` of a proxy: what it knows of the cluster and of the jobs, without asking anybody.

The text itself is made in `common.metrics`.
"""

from __future__ import annotations

from collections import Counter

from fastapi import APIRouter, Response

from common.clustermap import FLAG_DECOMMISSION, FLAG_MAINTENANCE, PROXY, TARGET
from common.errors import Fenced
from common.metrics import CONTENT_TYPE, PATH, Exposition, Metrics, gauge, gauges
from proxy.api.answers import raw_response
from proxy.downloads.jobstore import JobStore
from proxy.leadership import Leadership
from proxy.membership import Membership, NodeState

_NODE_STATES = ("online", "offline", "maintenance", "decommission")
_JOB_STATES = ("running", "paused")


class ProxyMetrics:
    """The figures of a proxy as it has last seen them."""

    def __init__(self, membership: Membership, leadership: Leadership, jobs: JobStore) -> None:
        self._membership = membership
        self._leadership = leadership
        self._jobs = jobs

    def measure(self) -> Metrics:
        """Each figure once."""
        cluster_map = self._membership.map
        epoch = self._epoch()
        yield gauge("haul_proxy_leading", "Whether this proxy leads: 1 of at most one proxy.", epoch > 0)
        yield gauge("haul_proxy_leader_epoch", "The epoch in which this proxy leads; 0 while it does not.", epoch)
        yield gauge("haul_cluster_map_version", "Version of the cluster map that this proxy has.", cluster_map.version)
        text = "Whether every object lies with its owner, as far as the cluster knows; 0 while objects move."
        yield gauge("haul_cluster_placement_settled", text, cluster_map.is_settled)
        text = "Members of the cluster by role and state; what an operator has set comes before online and offline."
        yield gauges("haul_cluster_nodes", text, ("role", "state"), self._nodes())
        text = "Download jobs of the cluster that have not ended; those that rest are paused."
        yield gauges("haul_cluster_jobs", text, ("state",), self._jobs_by_state())

    def _epoch(self) -> int:
        try:
            return self._leadership.authority().epoch.number
        except Fenced:
            return 0

    def _nodes(self) -> dict[tuple[str, ...], float]:
        counts = Counter((one.node.role, _state_of(one)) for one in self._membership.nodes())
        return {(role, state): counts[role, state] for role in (PROXY, TARGET) for state in _NODE_STATES}

    def _jobs_by_state(self) -> dict[tuple[str, ...], float]:
        counts = Counter("paused" if record.paused else "running" for record in self._jobs.running())
        return {(state,): counts[state] for state in _JOB_STATES}


def _state_of(member: NodeState) -> str:
    if member.node.flags & FLAG_DECOMMISSION:
        return "decommission"
    if member.node.flags & FLAG_MAINTENANCE:
        return "maintenance"
    return "online" if member.is_online else "offline"


def router(exposition: Exposition) -> APIRouter:
    """The one route."""
    api = APIRouter(tags=["cluster"])

    async def metrics() -> Response:
        """This proxy's figures in Prometheus's text format 0.0.4; docs/metrics.md says what they mean."""
        return raw_response(exposition.text(), CONTENT_TYPE)

    api.add_api_route(PATH, metrics, methods=["GET"])
    return api
