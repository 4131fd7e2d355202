"""Copies on their way: targets are asked how far they are, told to begin what they do not know, and the end is written.

Whoever asks first writes the end, by compare-and-set: the leader, who asks all the time, or a proxy whose client wants
to know. Any of them may die at any moment; the next one goes on from the record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence

import structlog

from common import clock
from common.clustermap import ClusterMap, Node
from common.copying import CopyFigures
from common.errors import BucketNotFound, HaulError
from common.moving import Moving
from common.names import Bucket
from proxy.actions.records import MAX_ROUNDS, ActionRecord, failure_of, is_through
from proxy.actions.store import ActionNotFound, ActionStore
from proxy.buckets import Buckets
from proxy.leadership import Authority
from proxy.membership import Membership
from proxy.peers import Peers

_REPORT_PATH = "/intra/v1/actions/report"
_BEGIN_PATH = "/intra/v1/actions/begin"
_STOP_PATH = "/intra/v1/actions/stop"
_CALL_SECONDS = 3.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 10.0
"""How often it is looked for what targets do though nothing runs."""
Figures = Mapping[str, CopyFigures]
"""By target id."""
_log = structlog.get_logger("proxy.actions")


class Tending:
    """What proxies do for copies that run."""

    def __init__(self, actions: ActionStore, buckets: Buckets, membership: Membership, peers: Peers) -> None:
        self._actions = actions
        self._buckets = buckets
        self._membership = membership
        self._peers = peers
        self._looked_at = clock.monotonic()

    async def look_after(self, _: Authority) -> None:
        """The leader's chore: everything that runs, and what should not. Raises Unavailable."""
        running = self._actions.running()
        await self._open_left({record.id for record in running})
        if not running and clock.monotonic() < self._looked_at + _LOOK_SECONDS:
            return
        self._looked_at = clock.monotonic()
        reports = await self._report([record.id for record in running])
        await asyncio.gather(*(self._tend(record, _of(record.id, reports)) for record in running))
        known = {record.id for record in running}
        for share_id in {one for shares in reports.values() for one in shares} - known:
            await self._stop_if_over(share_id)

    async def figures(self, action_id: str) -> tuple[ActionRecord, Figures]:
        """A copy and its targets' figures as of now; if they say that it is over, that is written.

        Raises ActionNotFound, Unavailable.
        """
        record = await self._actions.get(action_id)
        if record.is_running:
            record, figures = await self._tend(record, _of(action_id, await self._report([action_id])))
            return record, figures
        return record, record.figures

    async def figures_of_all(self, records: Sequence[ActionRecord]) -> dict[str, Figures]:
        """The figures of these as of now, by id."""
        reports = await self._report([record.id for record in records if record.is_running])
        return {record.id: _of(record.id, reports) if record.is_running else record.figures for record in records}

    async def start(self, record: ActionRecord) -> None:
        """Begin a copy that has just been recorded; what is not done of it is done by the leader."""
        try:
            if record.order.is_move:
                await self._mark(record)
        except HaulError as error:
            _log.warning("copy.not_begun", id=record.id, error=error.message)
            return
        await self.begin(record, self._membership.online_targets())

    async def begin(self, record: ActionRecord, nodes: Sequence[Node]) -> None:
        """Tell targets to begin; who does not hear it will be told again."""
        if nodes:
            body = {"order": record.order.to_wire()}
            calls = dict.fromkeys(nodes, body)
            _, errors = await self._peers.call_each(calls, _BEGIN_PATH, _CALL_SECONDS)
            for target, error in errors.items():
                _log.warning("copy.not_begun", id=record.id, target=target, error=error.message)

    async def abort(self, action_id: str) -> None:
        """Stop a copy; harmless when it has ended. Raises ActionNotFound, Unavailable."""
        record = await self._actions.get(action_id)
        if record.is_running and not record.is_removing:
            figures = _of(action_id, await self._report([action_id]))
            await self._end(record, figures, "aborted by user request", is_aborted=True)

    async def _report(self, ids: Sequence[str]) -> dict[str, dict[str, CopyFigures]]:
        """What each target says of these, and of others that it has begun: target id → id → figures."""
        body = {"ids": list(ids)}
        calls = dict.fromkeys(self._membership.online_targets(), body)
        answers, _ = await self._peers.call_each(calls, _REPORT_PATH, _CALL_SECONDS)
        return {
            target: {share_id: CopyFigures.from_wire(one) for share_id, one in answer["shares"].items()}
            for target, answer in answers.items()
        }

    async def _tend(self, record: ActionRecord, figures: Figures) -> tuple[ActionRecord, Figures]:
        """See what is to be done next, and do it; a failure is logged, and it is tried again."""
        try:
            return await self._advance(record, figures), figures
        except HaulError as error:
            _log.warning("copy.not_tended", id=record.id, error=error.message)
            return record, figures

    async def _advance(self, record: ActionRecord, figures: Figures) -> ActionRecord:
        error = next((one.error for one in figures.values() if one.error), "")
        if error:
            return await self._end(record, figures, error)
        if record.order.is_move and not record.is_removing:
            await self._mark(record)
        cluster_map = self._membership.map
        if not is_through(record, cluster_map, figures):
            if await self._is_bucket_gone(record, self._buckets.table.ids()):
                return await self._end_without_bucket(record, figures)
            await self.begin(record, self._to_begin(record, cluster_map, figures))
            return record
        # Read anew, because what was copied from a bucket that has been destroyed meanwhile may be a part of it.
        if await self._is_bucket_gone(record, (await self._buckets.refresh()).ids()):
            return await self._end_without_bucket(record, figures)
        error = failure_of(record, figures)
        if error or not record.order.is_move or record.order.dry_run:
            return await self._end(record, figures, error)
        return await self._move_on(record, figures)

    async def _move_on(self, record: ActionRecord, figures: Figures) -> ActionRecord:
        """Everything has been copied: look again until little is new, close the source, look a last time, remove it."""
        order = record.order
        if order.is_closing:
            removing = await self._actions.update(record.id, lambda now: now.removing())
            return await self._remove_source(removing, figures) if removing.is_running else removing
        is_busy = any(one.copied_in_round for one in figures.values())
        goes_on = not order.round or (is_busy and order.round < MAX_ROUNDS)

        def next_one(now: ActionRecord) -> ActionRecord:
            if now.order.round > order.round:
                return now
            return now.next_round() if goes_on else now.closing()

        later = await self._actions.update(record.id, next_one)
        if later.is_running:
            await self._mark(later)
            await self.begin(later, self._membership.online_targets())
        return later

    async def _remove_source(self, record: ActionRecord, figures: Figures) -> ActionRecord:
        order = record.order
        try:
            await self._buckets.destroy(order.source, order.source_id)
        except BucketNotFound:
            _log.info("copy.source_is_gone", id=record.id)  # another proxy, or this one before, has removed it
        return await self._end(record, figures)

    async def _mark(self, record: ActionRecord) -> None:
        """Have the buckets of a move marked as moving; targets begin to walk only then. Raises Unavailable."""
        order = record.order
        with contextlib.suppress(BucketNotFound):  # what follows from that is decided with the targets' figures
            source = Moving(record.id, order.destination.cname, is_source=True, is_closed=order.is_closing)
            await self._buckets.mark(order.source, order.source_id, source)
            destination = Moving(record.id, order.source.cname, is_source=False)
            await self._buckets.mark(order.destination, order.destination_id, destination)

    async def _unmark(self, bucket: Bucket, bucket_id: int, action_id: str) -> None:
        """Open a bucket again after the end of a move; a failure is logged, and the leader tries again."""
        try:
            await self._buckets.unmark(bucket, bucket_id, action_id)
        except BucketNotFound:
            pass
        except HaulError as error:
            _log.warning("copy.bucket_not_opened", id=action_id, bucket=bucket.cname, error=error.message)

    async def _open_left(self, running: Collection[str]) -> None:
        """Open what is still marked for a move that has ended: who ended it may have died. Raises Unavailable."""
        for record in list(self._buckets.table.records.values()):
            if record.moving is not None and record.moving.job not in running:
                action_id = record.moving.job
                if not await self._is_running(action_id):
                    await self._unmark(record.bucket, record.id, action_id)

    async def _end_without_bucket(self, record: ActionRecord, figures: Figures) -> ActionRecord:
        if record.is_removing:
            return await self._remove_source(record, figures)
        ids, order = self._buckets.table.ids(), record.order
        missing = order.source if ids.get(order.source.uname) != order.source_id else order.destination
        return await self._end(record, figures, BucketNotFound(missing.cname).message)

    async def _is_bucket_gone(self, record: ActionRecord, ids: Mapping[str, int]) -> bool:
        order = record.order
        wanted = {order.source.uname: order.source_id}
        if not order.dry_run:
            wanted[order.destination.uname] = order.destination_id
        if all(ids.get(uname) == bucket_id for uname, bucket_id in wanted.items()):
            return False
        ids = (await self._buckets.refresh()).ids()  # this proxy may not have heard of a new one yet
        return any(ids.get(uname) != bucket_id for uname, bucket_id in wanted.items())

    async def _end(
        self, record: ActionRecord, figures: Figures, error: str = "", *, is_aborted: bool = False
    ) -> ActionRecord:
        """Write the end, and have the targets let go of it; a move whose source is being removed by now goes on."""
        ended = await self._actions.update(
            record.id, lambda now: now.ended(clock.unix_ns(), figures, error, is_aborted=is_aborted)
        )
        if ended.is_running:
            return ended
        _log.info("copy.ended", id=record.id, kind=record.kind, error=ended.error)
        await self._stop(record.id)
        if record.order.is_move:
            await self._unmark(record.order.source, record.order.source_id, record.id)
            await self._unmark(record.order.destination, record.order.destination_id, record.id)
        return ended

    async def _stop(self, action_id: str) -> None:
        body = {"ids": [action_id]}
        calls = dict.fromkeys(self._membership.online_targets(), body)
        _, errors = await self._peers.call_each(calls, _STOP_PATH, _STOP_SECONDS)
        for target, error in errors.items():
            _log.warning("copy.not_stopped", id=action_id, target=target, error=error.message)

    async def _stop_if_over(self, share_id: str) -> None:
        """A target has begun what this proxy does not see running: it may be new, or over."""
        if not await self._is_running(share_id):
            await self._stop(share_id)

    async def _is_running(self, action_id: str) -> bool:
        try:
            return (await self._actions.get(action_id)).is_running
        except ActionNotFound:
            return False

    def _to_begin(self, record: ActionRecord, cluster_map: ClusterMap, figures: Figures) -> list[Node]:
        wanted = (record.order.round, cluster_map.placement_version)
        return [
            node
            for node in self._membership.online_targets()
            if (one := figures.get(node.id)) is None
            or (not one.is_running and (one.through_round, one.through_version) != wanted)
        ]


def _of(action_id: str, reports: Mapping[str, Mapping[str, CopyFigures]]) -> dict[str, CopyFigures]:
    return {target: shares[action_id] for target, shares in reports.items() if action_id in shares}
