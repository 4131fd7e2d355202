"""Changing jobs that run: recorded first, then told to the targets until all of them know.

What a change makes of a record is decided in `proxy.downloads.records`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from common.errors import HaulError
from common.lifecycle import TaskScope
from proxy.downloads.jobstore import JobStore
from proxy.downloads.records import JobRecord
from proxy.membership import Membership
from proxy.peers import Peers

_TELL_SECONDS = 15.0
"""A target that pauses or aborts waits for what it has received whole to become durable."""
_log = structlog.get_logger("proxy.downloads.control")


class Control:
    """Carries changes of jobs to the targets."""

    def __init__(self, jobs: JobStore, membership: Membership, peers: Peers, scope: TaskScope) -> None:
        self._jobs = jobs
        self._membership = membership
        self._peers = peers
        self._scope = scope
        self._settling: set[str] = set()

    async def change(self, job_id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        """Record a change and tell whoever can be reached; raises what `change` does, JobNotFound, Unavailable."""
        record = await self._jobs.update(job_id, change)
        if record.pending:
            await self._tell(record, record.pending)
        return record

    async def settle_job(self, record: JobRecord) -> None:
        """Tell all targets of a job what they have missed."""
        if record.pending:
            await self._tell(record, record.pending)

    async def settle_absent(self) -> None:
        """Wait no more for targets that have left the map: coming back, they ask. Raises HaulError."""
        for record in self._jobs.unsettled():
            absent = [target for target in record.pending if self._membership.map.get(target) is None]
            if absent:
                await self._tell(await self._jobs.update(record.id, lambda current: current), absent)

    def settle(self, target_id: str) -> None:
        """A target is here: tell it what it has missed."""
        waiting = self._jobs.pending_for(target_id)
        if waiting and target_id not in self._settling:
            self._settling.add(target_id)
            self._scope.start(f"settle {target_id}", self._settle(target_id, waiting))

    async def _settle(self, target_id: str, job_ids: list[str]) -> None:
        try:
            for job_id in job_ids:
                record = await self._jobs.update(job_id, lambda current: current)
                if target_id in record.pending:
                    await self._tell(record, [target_id])
        except HaulError as error:
            _log.warning("downloads.not_settled", target=target_id, error=error.message)
        finally:
            self._settling.discard(target_id)

    async def _tell(self, record: JobRecord, target_ids: Sequence[str]) -> None:
        """Tell targets of a job's latest change, and note in the record who knows."""
        # One that has left the map asks, when it comes back, what of its shares is still its own.
        told = {target for target in target_ids if self._membership.map.get(target) is None}
        share_ids = {share_id for share_id, _ in record.shares}
        missed = set[str]().union(
            *await asyncio.gather(*(self._tell_share(record, share_id, target_ids) for share_id in share_ids))
        )
        told.update(target for target in target_ids if target not in missed)
        record = await self._jobs.update(record.id, lambda current: current.told(told, record.change))
        if record.gone and not record.pending:
            await self._jobs.forget(record)

    async def _tell_share(self, record: JobRecord, share_id: str, target_ids: Sequence[str]) -> set[str]:
        """Tell the targets that hold a share; returns those that could not be told."""
        holders = [target for share, target in record.shares if share == share_id and target in target_ids]
        nodes = [node for target in holders if (node := self._membership.map.get(target)) is not None]
        missed: set[str] = set()
        for action in record.actions:
            path = f"/intra/v1/shares/{share_id}/{action}"
            body = {"change": record.change}
            answers, errors = await self._peers.call_each(dict.fromkeys(nodes, body), path, _TELL_SECONDS)
            nodes = [node for node in nodes if node.id in answers]
            missed.update(errors)
            for target, error in errors.items():
                _log.warning("downloads.not_told", share=share_id, target=target, action=action, error=error.message)
        return missed
