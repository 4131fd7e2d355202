"""What the latest rebalance has moved, gathered from all targets, in the words of AIStore's jobs (wire.md §5)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from common.clustermap import ClusterMap
from common.errors import RequestError
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.rebalance.settling import PATH

KIND = "rebalance"
_ASK_SECONDS = 3.0
_NEVER = "0001-01-01T00:00:00Z"
_NO_BUCKET = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}


class NoRebalance(RequestError):
    """There has been none since the targets started, or not the one that is asked for."""

    code = "ErrNotFound"
    status = 404


def rebalance_id(placement_version: int) -> str:
    """AIStore's form of it."""
    return f"g{placement_version}"


def is_rebalance_id(text: str) -> bool:
    """Whether this is an id of `rebalance_id`'s form."""
    return text[:1] == "g" and text[1:].isdecimal()


class RebalanceReports:
    """Answers about the latest rebalance."""

    def __init__(self, membership: Membership, peers: Peers) -> None:
        self._membership = membership
        self._peers = peers

    async def status(self, wanted_id: str) -> dict[str, Any]:
        """AIStore's status of a job; raises NoRebalance."""
        cluster_map, figures = await self._gather(wanted_id)
        ended_ns = 0
        if cluster_map.is_settled:
            ended_ns = max((one["ended_ns"] for one in figures.values()), default=0) or 1
        return {
            "kind": KIND,
            "uuid": rebalance_id(cluster_map.placement_version),
            "err": "",
            "end_time": ended_ns,
            "aborted": False,
        }

    async def snapshots(self, wanted_id: str, *, only_running: bool) -> dict[str, list[dict[str, Any]]]:
        """AIStore's snapshots of a job, by target; raises NoRebalance."""
        cluster_map, figures = await self._gather(wanted_id)
        if only_running and cluster_map.is_settled:
            raise NoRebalance("no rebalance is running")
        return {
            target: [_snapshot(one, is_settled=cluster_map.is_settled)] if one is not None else []
            for target, one in {node.id: figures.get(node.id) for node in cluster_map.targets}.items()
        }

    async def _gather(self, wanted_id: str) -> tuple[ClusterMap, dict[str, Any]]:
        cluster_map = await self._membership.refresh_map()
        version = cluster_map.placement_version
        if not version or wanted_id not in ("", rebalance_id(version)):
            raise NoRebalance(f'rebalance "{wanted_id}" does not exist' if wanted_id else "there was no rebalance")
        calls = dict.fromkeys(self._membership.online_targets())
        answers, _ = await self._peers.call_each(calls, PATH, _ASK_SECONDS)
        figures = {
            target: one for target, one in answers.items() if one["placement_version"] == version and one["started_ns"]
        }
        if cluster_map.is_settled and not any(one["passes"] for one in figures.values()):
            raise NoRebalance("there was no rebalance since the targets have started")
        return cluster_map, figures


def _snapshot(figures: Mapping[str, Any], *, is_settled: bool) -> dict[str, Any]:
    """`ext` is ours: what AIStore's fields have no place for."""
    names = ("passes", "kept", "damaged", "failed", "error", "waiting")
    # A target that was started after the end has counted nothing.
    is_through = figures["is_through"] or is_settled
    return {
        "ext": {name: figures[name] for name in names} | {"is_through": is_through},
        "start-time": _time(figures["started_ns"]),
        "end-time": _time(figures["ended_ns"] or figures["started_ns"]) if is_through else _NEVER,
        "bck": _NO_BUCKET,
        "src-bck": _NO_BUCKET,
        "dst-bck": _NO_BUCKET,
        "id": rebalance_id(figures["placement_version"]),
        "kind": KIND,
        "abort-err": "",
        "err": "" if is_through else figures["error"],
        "glob.id": str(figures["placement_version"]),
        "stats": {
            "loc-objs": str(figures["out_objects"]),
            "loc-bytes": str(figures["out_bytes"]),
            "out-objs": str(figures["out_objects"]),
            "out-bytes": str(figures["out_bytes"]),
            "in-objs": str(figures["in_objects"]),
            "in-bytes": str(figures["in_bytes"]),
        },
        "aborted": False,
        "is_idle": False,
    }


def _time(unix_ns: int) -> str:
    if not unix_ns:
        return _NEVER
    return datetime.fromtimestamp(unix_ns / 1e9, UTC).isoformat().replace("+00:00", "Z")
