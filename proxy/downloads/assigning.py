"""Sending shares to their targets, batch by batch, and to who keeps their copies; nothing runs before `start`.

Whether a job then starts or is dropped is left to `proxy.downloads.service`, what is assigned again to `reassigning`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog

from common.clustermap import Node
from common.epochs import Epoch
from common.errors import HaulError, Unavailable
from common.shares import JobSpec
from proxy.downloads.planning import Batch, Plan, Share
from proxy.peers import Peers

_BATCH_SECONDS = 10.0
_COPY_SECONDS = 3.0
_START_SECONDS = 5.0
_log = structlog.get_logger("proxy.downloads.assigning")


class ShareSender:
    """The numbered batches of one share, to its holder and to the keeper of its copy, if there is one.

    `epoch` is shown by a leader.
    """

    def __init__(
        self,
        peers: Peers,
        spec: JobSpec,
        holder: Node,
        keeper: Node | None,
        *,
        epoch: Epoch | None = None,
    ) -> None:
        self._peers = peers
        self._fields = {"spec": spec.pack(), "epoch": epoch.to_wire() if epoch is not None else None}
        self._path = f"/intra/v1/shares/{spec.share_id}"
        self._holder = holder
        self._sequence = 0
        self.keeper = keeper
        """Who keeps the copy; None once it has failed to: the share is whole without it, and is copied again later."""

    async def send(self, tasks: Batch, *, is_last: bool = False) -> None:
        """The next batch; returns when its holder has recorded it durably, and the keeper has or has failed to.

        Raises Unavailable naming the target that does not acknowledge, or the error that it refused with.
        """
        body = self._fields | {"tasks": tasks}
        query = f"{self._sequence}?last={int(is_last)}"
        async with asyncio.TaskGroup() as group:
            copying = group.create_task(self._copy(query, body))
            sending = group.create_task(self._hold(query, body))
        copying.result()
        if (failure := sending.result()) is not None:
            raise failure
        self._sequence += 1

    async def copy(self, tasks: Batch, *, is_last: bool) -> None:
        """The next batch to the keeper alone: the holder has it. Raises as `send` does, about the keeper."""
        assert self.keeper is not None
        query = f"{self._sequence}?last={int(is_last)}"
        await self._copy_to(self.keeper, query, self._fields | {"tasks": tasks})
        self._sequence += 1

    async def _hold(self, query: str, body: Mapping[str, object]) -> HaulError | None:
        try:
            await self._peers.call(self._holder, f"{self._path}/batches/{query}", body, _BATCH_SECONDS)
        except Unavailable:
            return Unavailable(
                f'Error starting download: target "{self._holder.id}" does not acknowledge its share; '
                "nothing was started; start the target again, or send the job again later"
            )
        except HaulError as error:
            return error
        return None

    async def _copy(self, query: str, body: Mapping[str, object]) -> None:
        if self.keeper is None:
            return
        try:
            await self._copy_to(self.keeper, query, body)
        except HaulError as error:
            _log.warning("downloads.not_copied", keeper=self.keeper.id, holder=self._holder.id, error=error.message)
            self.keeper = None

    async def _copy_to(self, keeper: Node, query: str, body: Mapping[str, object]) -> None:
        path = f"{self._path}/copies/{self._holder.id}/{query}"
        await self._peers.call(keeper, path, body, _COPY_SECONDS)


class Assigner:
    """Talks to targets about shares that have not started."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def assign(self, plan: Plan) -> list[tuple[str, str]]:
        """Send all batches; returns when every target has recorded its share durably: the (holder, keeper) of copies.

        Raises as `ShareSender.send`.
        """
        try:
            async with asyncio.TaskGroup() as group:
                sending = [group.create_task(self._send(plan.spec, share)) for share in plan.shares]
        except ExceptionGroup as errors:  # not `except*`, which before Python 3.11.4 wraps what is raised in it
            first: BaseException = errors
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        return [sent for task in sending if (sent := task.result()) is not None]

    async def start(self, share_id: str, targets: Iterable[Node]) -> None:
        """The job is committed: go. A target that misses this asks for the decision itself."""
        await self._tell(share_id, targets, "start")

    async def drop(self, share_id: str, targets: Iterable[Node]) -> None:
        """The job will not be: forget it. A target that misses this asks for the decision itself."""
        await self._tell(share_id, targets, "drop")

    async def forget_copies(self, share_id: str, copies: Iterable[tuple[str, Node]]) -> None:
        """Copies of these holders' lists are not needed any more. A keeper that misses this asks in time."""
        by_keeper: dict[Node, list[str]] = {}
        for holder, keeper in copies:
            by_keeper.setdefault(keeper, []).append(holder)
        calls = {keeper: {"holders": holders} for keeper, holders in by_keeper.items()}
        await self._peers.call_each(calls, f"/intra/v1/shares/{share_id}/uncopy", _START_SECONDS)

    async def _tell(self, share_id: str, targets: Iterable[Node], action: str) -> None:
        path = f"/intra/v1/shares/{share_id}/{action}"
        _, errors = await self._peers.call_each(dict.fromkeys(targets), path, _START_SECONDS)
        for target, error in errors.items():
            _log.warning("downloads.share_not_told", share=share_id, target=target, action=action, error=error.message)

    async def _send(self, spec: JobSpec, share: Share) -> tuple[str, str] | None:
        sender = ShareSender(self._peers, spec, share.target, share.keeper)
        last = share.batch_count - 1
        for sequence, batch in enumerate(share.batches()):
            await sender.send(batch, is_last=sequence == last)
        return None if sender.keeper is None else (share.target.id, sender.keeper.id)


def copies_of(shares: Sequence[Share]) -> list[tuple[str, Node]]:
    """Whose list is kept where, of the shares that have a copy."""
    return [(share.target.id, share.keeper) for share in shares if share.keeper is not None]
