"""When a placement is settled: the leader asks every target whether it is through, and then says so in the cluster map.

Moving is the targets' (`target.rebalance`). A placement stays unsettled while jobs run that were planned over another
one: they put objects where that one wants them, and the map must tell readers so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from common.clustermap import ClusterMap
from common.errors import Unavailable
from proxy.downloads.jobstore import JobStore
from proxy.downloads.records import JobRecord
from proxy.leadership import Authority
from proxy.membership import Membership
from proxy.peers import Peers

PATH = "/intra/v1/rebalance"
_ASK_SECONDS = 2.0
"""The leader has other chores that wait meanwhile."""
_log = structlog.get_logger("proxy.rebalance")


def plans_of(running: Iterable[JobRecord]) -> set[tuple[str, ...]]:
    """Over which targets running jobs were planned, by id; pure."""
    return {tuple(sorted(one.planned)) for record in running for one in record.assignments if one.planned}


def unknown_plans(cluster_map: ClusterMap, plans: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Plans by which objects are being stored where nobody would look for them; pure."""
    known = {cluster_map.placement, *cluster_map.earlier}
    return sorted(plan for plan in plans if plan not in known)


def is_through(cluster_map: ClusterMap, statuses: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every target of the map has said of the map's placement that nothing of others is left there; pure."""
    return all(
        (status := statuses.get(node.id)) is not None
        and status["placement_version"] == cluster_map.placement_version
        and status["is_through"]
        for node in cluster_map.targets
    )


class Settling:
    """The leader's chore."""

    def __init__(self, jobs: JobStore, membership: Membership, peers: Peers) -> None:
        self._jobs = jobs
        self._membership = membership
        self._peers = peers

    async def look_after(self, authority: Authority) -> None:
        """Unsettle the placement when jobs demand it, settle it when all is done; raises Fenced, Unavailable."""
        cluster_map = self._membership.map
        plans = plans_of(self._jobs.running())
        if unknown_plans(cluster_map, plans):
            await self._membership.change_map(lambda current: _with_plans(current, plans), authority.compare)
            return
        if cluster_map.is_settled or plans - {cluster_map.placement}:
            return
        if not all(self._membership.is_online(node.id) for node in cluster_map.targets):
            return
        statuses, errors = await self._peers.call_each(dict.fromkeys(cluster_map.targets), PATH, _ASK_SECONDS)
        if is_through(cluster_map, statuses):
            await self._membership.change_map(lambda current: _settled(current, cluster_map), authority.compare)
            _log.info("rebalance.settled", placement=cluster_map.placement_version)
        elif errors:
            silent = ", ".join(f"{node}: {error.message}" for node, error in errors.items())
            raise Unavailable(f"whether objects still move is not known: {silent}")


def _with_plans(current: ClusterMap, plans: Iterable[tuple[str, ...]]) -> ClusterMap:
    unknown = unknown_plans(current, plans)
    return current.unsettled(unknown) if unknown else current


def _settled(current: ClusterMap, asked_about: ClusterMap) -> ClusterMap:
    is_same = current.placement_version == asked_about.placement_version and current.targets == asked_about.targets
    return current.settled() if is_same and not current.is_settled else current
