"""Sending a planned job to its targets, share by share and batch by batch; nothing runs before `start`.

Whether a job then starts or is dropped is left to `proxy.downloads.service`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from common.clustermap import Node
from common.errors import Unavailable
from proxy.downloads.planning import Plan, Share
from proxy.peers import Peers

_BATCH_SECONDS = 10.0
_START_SECONDS = 5.0
_log = structlog.get_logger("proxy.downloads.assigning")


class Assigner:
    """Talks to targets about shares that have not started."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def assign(self, plan: Plan) -> None:
        """Send all batches; returns when every target has recorded its share durably.

        Raises Unavailable naming the target that does not acknowledge, or the error that a target refused with.
        """
        spec = plan.spec.pack()
        try:
            async with asyncio.TaskGroup() as group:
                for share in plan.shares:
                    group.create_task(self._send(plan.spec.id, spec, share))
        except ExceptionGroup as errors:  # not `except*`, which before Python 3.11.4 wraps what is raised in it
            first: BaseException = errors
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None

    async def start(self, job_id: str, targets: Iterable[Node]) -> None:
        """The job is committed: go. A target that misses this asks for the decision itself."""
        await self._tell(job_id, targets, "start")

    async def drop(self, job_id: str, targets: Iterable[Node]) -> None:
        """The job will not be: forget it. A target that misses this asks for the decision itself."""
        await self._tell(job_id, targets, "drop")

    async def _tell(self, job_id: str, targets: Iterable[Node], action: str) -> None:
        path = f"/intra/v1/shares/{job_id}/{action}"
        _, errors = await self._peers.call_each(dict.fromkeys(targets), path, _START_SECONDS)
        for target, error in errors.items():
            _log.warning("downloads.share_not_told", job=job_id, target=target, action=action, error=error.message)

    async def _send(self, job_id: str, spec: bytes, share: Share) -> None:
        last = share.batch_count - 1
        for sequence, batch in enumerate(share.batches()):
            path = f"/intra/v1/shares/{job_id}/batches/{sequence}?last={int(sequence == last)}"
            try:
                await self._peers.call(share.target, path, {"spec": spec, "tasks": batch}, _BATCH_SECONDS)
            except Unavailable:
                raise Unavailable(
                    f'Error starting download: target "{share.target.id}" does not acknowledge its share; '
                    "nothing was started; start the target again, or send the job again later"
                ) from None
