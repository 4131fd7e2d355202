"""AIStore's generic job API: `what=status|status_all|qryxstats|running_all`, `start` and `stop`. Source: wire.md §5.

Jobs themselves are left to `proxy.downloads`, `proxy.actions`, `proxy.rebalance` and the targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response

from common.errors import InvalidRequest, Unsupported
from common.names import printable
from proxy.actions.jobs import Jobs
from proxy.actions.shown import DOWNLOAD, JobQuery, parse_job_query, parse_stop, snapshots
from proxy.actions.store import ActionNotFound
from proxy.api.answers import json_response
from proxy.jsonbody import lower_keys, type_name
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.rebalance.reports import KIND as REBALANCE
from proxy.rebalance.reports import NoRebalance, RebalanceReports, is_rebalance_id, rebalance_id

QUESTIONS = frozenset({"status", "status_all", "qryxstats", "running_all"})
"""The values of `what` that are answered here."""
_RESILVER = "resilver"
_DISKS_SECONDS = 3.0
_ELSEWHERE = frozenset({DOWNLOAD, "dsort", "etl", "etl-bck", "etl-inline", "etl-listrange"})
_BY_BUCKET = frozenset({"copy-bck", "move-bck", "copy-listrange", "prefetch-listrange", "evict-listrange"})


class JobRoutes:
    """Downloads, copies, rebalance and resilvering as AIStore's generic job API shows them."""

    def __init__(self, membership: Membership, jobs: Jobs, rebalance: RebalanceReports, peers: Peers) -> None:
        self._membership = membership
        self._jobs = jobs
        self._rebalance = rebalance
        self._peers = peers

    async def answer(self, what: str, message: dict[str, Any]) -> Response:
        """One of the QUESTIONS; raises JobNotFound, ActionNotFound, InvalidRequest."""
        query = parse_job_query(message)
        if what == "status":
            return json_response(await self._status(query))
        if what == "qryxstats":
            return json_response(await self._snapshots(query))
        if what == "status_all":
            return json_response(await self._statuses(query) or None)
        running = await self._jobs.matching(JobQuery(kind=query.kind, buckets=query.buckets, only_running=True))
        names = [f"{job.kind}[{job.id}]" for job in running]
        if self._is_rebalancing(query):
            names.append(f"{REBALANCE}[{rebalance_id(self._membership.map.placement_version)}]")
        return json_response(names)

    async def start(self, value: object) -> Response:
        """Start a job that needs nothing but its kind; raises InvalidRequest, Unsupported."""
        query = parse_job_query(_fields(value))
        if query.kind == REBALANCE or is_rebalance_id(query.id):
            cluster_map = await self._membership.start_rebalance()
            return Response(rebalance_id(cluster_map.placement_version), media_type="text/plain")
        kind = printable(query.kind, 40)
        if query.kind in _ELSEWHERE:
            raise InvalidRequest(f'cannot start "{kind}": it must be done via a separate documented API')
        if query.kind in _BY_BUCKET:
            raise InvalidRequest(f'cannot start "{kind}" by its kind: send the action to the bucket')
        if not kind:
            raise InvalidRequest("'value.kind' must name the job to start")
        raise Unsupported(f"'{kind}' cannot be started by this: only {REBALANCE} can")

    async def stop(self, value: object) -> Response:
        """Stop a job, or all of a kind; one that is not known is no error. Raises InvalidRequest, Unsupported."""
        query = parse_stop(_fields(value))
        if query.kind == REBALANCE or is_rebalance_id(query.id):
            raise Unsupported("a rebalance cannot be stopped: objects would stay where nobody looks for them")
        if not query.id and not query.kind:
            raise InvalidRequest("'value' must have the id or the kind of the jobs to stop")
        await self._jobs.stop(query)
        return Response()

    async def _status(self, query: JobQuery) -> dict[str, Any]:
        if _is_rebalance(query):
            return dict(await self._rebalance.status(query.id))
        if not query.id and not query.kind:
            raise InvalidRequest(f'invalid x-{query.kind}: "id" is missing')
        if not query.id:
            found = await self._jobs.matching(query)
            if not found:
                raise ActionNotFound(query.kind)
            return found[-1].status()
        return (await self._jobs.find(query.id)).status()

    async def _statuses(self, query: JobQuery) -> list[dict[str, Any]]:
        if query.id:
            return [await self._status(query)]
        found = [job.status(job.kind) for job in await self._jobs.matching(query)]
        if query.kind == REBALANCE or self._is_rebalancing(query):
            try:
                found.append(await self._rebalance.status(""))
            except NoRebalance:
                return found
        return found

    async def _snapshots(self, query: JobQuery) -> dict[str, Any]:
        if _is_rebalance(query):
            return dict(await self._rebalance.snapshots(query.id, only_running=query.only_running))
        if query.kind == _RESILVER:
            return await self._resilvers(query)
        targets = [node.id for node in self._membership.map.targets]
        if not query.id:
            return dict(snapshots(await self._jobs.matching(query), targets, query.target))
        try:
            job = await self._jobs.find(query.id)
        except ActionNotFound:
            return await self._resilvers(query)
        return dict(snapshots([job], targets, query.target))

    def _is_rebalancing(self, query: JobQuery) -> bool:
        return query.kind in ("", REBALANCE) and not query.buckets and not self._membership.map.is_settled

    async def _resilvers(self, query: JobQuery) -> dict[str, Any]:
        """AIStore's Snaps by target; raises ActionNotFound."""

        def is_wanted(snap: dict[str, Any]) -> bool:
            is_running = snap["end-time"].startswith("0001")
            return query.id in ("", snap["id"]) and (is_running or not query.only_running)

        calls = dict.fromkeys(self._membership.online_targets())
        answers, _ = await self._peers.call_each(calls, "/intra/v1/mountpaths", _DISKS_SECONDS)
        wanted = {
            node_id: [snap for snap in answer["resilver"] if is_wanted(snap)] for node_id, answer in answers.items()
        }
        if query.id and not any(wanted.values()):
            raise ActionNotFound(query.id)
        return wanted


def _is_rebalance(query: JobQuery) -> bool:
    return is_rebalance_id(query.id) or (query.kind == REBALANCE and not query.id)


def _fields(value: object) -> Mapping[str, Any]:
    """The fields of AIStore's job messages, whose names have had capitals at times."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"'value' must be an object, found: {type_name(value)}")
    return lower_keys(value)
