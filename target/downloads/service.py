"""A target's shares as the rest of the node sees them: accept, start, show, abort, remove, and go on after a restart.

The asyncio side of the package: what it decides is carried out by the journal's, the feeder's and the lanes' threads.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from sqlite3 import Connection
from typing import TypeVar

from common import clock
from common.errors import HaulError, InvalidRequest
from common.names import validate_object_name
from common.shares import JobSpec, ShareStatus, TaskProgress, TaskSpec
from common.vault import Vault
from target.downloads import journal as records
from target.downloads.budgets import Budgets
from target.downloads.copies import ListPart
from target.downloads.expansion import Expansion
from target.downloads.feeder import Feeder
from target.downloads.journal import Journal
from target.downloads.lanes import Lanes
from target.downloads.recorder import Recorder
from target.downloads.scheduler import Scheduler
from target.downloads.share import Room, Share, State
from target.downloads.story import Story

MAX_CURRENT_TASKS = 64
"""A status shows the longest running ones; all 256 of a target of small objects cost more than the rest of it."""

T = TypeVar("T")


class Downloads:
    """All shares of this target."""

    def __init__(
        self,
        target_id: str,
        journal: Journal,
        scheduler: Scheduler,
        recorder: Recorder,
        lanes: Lanes,
        story: Story,
        budgets: Budgets,
        vault: Vault,
    ) -> None:
        self._target_id = target_id
        self._journal = journal
        self._lanes = lanes
        self._shares: dict[str, Share] = {}
        self._loop: asyncio.AbstractEventLoop
        self._on_ended: Callable[[str], None]
        self._recorder = recorder
        self._story = story
        self._budgets = budgets
        self._vault = vault
        self._feeder = Feeder(target_id, lanes.usable, journal, scheduler, story, lanes.wake, recorder.end_if_complete)

    async def start(self, keep_parts_of: Callable[[Container[str]], None], on_ended: Callable[[str], None]) -> None:
        """Replay the journal and go on with every share that was running.

        `keep_parts_of(jobs)` is called once, before anything is fetched, with the jobs that may go on with what is half
        there; `on_ended(job_id)` on the event loop when a share has ended.
        """
        self._loop = asyncio.get_running_loop()
        self._on_ended = on_ended
        self._recorder.start(self._share_ended)
        for share in self._journal.start():
            self._shares[share.id] = share
        await asyncio.to_thread(keep_parts_of, self.unended_jobs())
        self._feeder.start()
        self._lanes.start(self._feeder)
        for share in self._shares.values():
            if share.state is State.RUNNING:
                self._run(share)

    async def stop(self) -> None:
        """Park what runs; what is staged already is still to be committed and recorded."""
        await asyncio.to_thread(self._stop_threads)

    def _stop_threads(self) -> None:
        self._feeder.stop()
        self._lanes.stop()

    def unended_jobs(self) -> set[str]:
        """The jobs that may go on with what is half there."""
        return {share.spec.id for share in self.unended()}

    def unended(self) -> list[Share]:
        """The shares of which something is still to do, or may be."""
        return [share for share in self._shares.values() if not share.has_ended]

    def wake(self) -> None:
        """What held the lanes back may be over."""
        self._lanes.wake_all()

    def running(self) -> list[str]:
        """Shares that have begun and have not ended."""
        return [share.id for share in self._shares.values() if share.state in (State.RUNNING, State.PAUSED)]

    def ended(self) -> dict[int, str]:
        """Shares that have ended, and whose results are kept, by number: one brought back has another number."""
        return {share.number: share.id for share in self._shares.values() if share.has_ended}

    def undecided(self) -> list[str]:
        """Shares that were assigned but never started."""
        return [share.id for share in self._shares.values() if share.state is State.PREPARED]

    def plans(self) -> set[tuple[str, ...]]:
        """Over which targets the shares were planned that have not ended, by id."""
        return {share.plan for share in self.unended()}

    async def accept(self, spec: JobSpec, seq: int, tasks: Sequence[TaskSpec], *, last: bool) -> None:
        """Record one batch of a share durably; again is harmless. Raises InvalidName, InvalidRequest, DiskError."""
        for task in tasks:
            validate_object_name(task.name)
        if spec.template:
            Expansion(spec, self._target_id)
        share = self._shares.get(spec.share_id)
        if share is None and seq > 0:
            raise InvalidRequest(f"share {spec.share_id}: batch {seq} is of a share that is not here, or was dropped")
        if share is None:
            started_ns = clock.unix_ns()
            number = await self._write(lambda connection: records.add_share(connection, spec, started_ns))
            new = Share(
                number,
                spec,
                state=State.PREPARED,
                started_ns=started_ns,
                room=self._room_of(spec),
            )
            share = self._shares.setdefault(spec.share_id, new)
        if share.state is not State.PREPARED or seq < share.next_batch:
            return
        if seq != share.next_batch:
            raise InvalidRequest(f"share {spec.share_id}: batch {seq} came before batch {share.next_batch}")
        number = share.number
        if not await self._write(lambda connection: records.add_batch(connection, number, seq, tasks, last=last)):
            raise InvalidRequest(f"share {spec.share_id} was dropped while batch {seq} came")
        share.next_batch = seq + (1 if tasks else 0)
        share.sealed = share.sealed or last

    def _room_of(self, spec: JobSpec) -> Room | None:
        return next((share.room for share in self._shares.values() if share.spec.id == spec.id), None)

    async def read_list(self, share_id: str, seq: int) -> ListPart | None:
        """One batch of the tasks of a share of this target, as it was accepted; None when there is no such share."""
        share = self._shares.get(share_id)
        if share is None or not share.sealed:
            return None
        tasks = await self._write(lambda connection: records.read_batch(connection, share.number, seq))
        return ListPart(share.spec, tasks, seq + 1 >= share.next_batch)

    async def give_up(self, share_ids: Iterable[str]) -> None:
        """These shares are others' by now: stop and forget them. Unknown ones are harmless; raises DiskError."""
        for share_id in share_ids:
            await self.abort(share_id)
            await self.remove(share_id)

    async def start_share(self, share_id: str) -> None:
        """The job is recorded: begin. Unknown or already started is harmless."""
        share = self._shares.get(share_id)
        if share is None or share.state is not State.PREPARED:
            return
        share.state = State.RUNNING
        self._journal.submit(lambda connection: records.set_state(connection, share, State.RUNNING))
        self._run(share)

    async def drop(self, share_id: str) -> None:
        """Forget a share that was never started."""
        share = self._shares.get(share_id)
        if share is not None and share.state is State.PREPARED:
            await self.remove(share_id)

    async def abort(self, share_id: str) -> None:
        """Stop a share for good: running transfers are dropped, what is committed stays. Raises DiskError.

        Again is harmless, and returns when the end is durable: who has heard of it never asks for it again.
        """
        share = self._shares.get(share_id)
        if share is None or share.state is State.FINISHED:
            return
        share.state = State.ABORTED
        async with share.changing:
            if share.finished_ns:
                return
            await self._lanes.still(share)
            finished_ns = clock.unix_ns()
            is_first = await self._write(
                lambda connection: records.set_state(connection, share, State.ABORTED, finished_ns), forgets=True
            )
            if not is_first:  # its last task ended at the same time
                return
            share.finished_ns = finished_ns
        self._forget(share)
        self._on_ended(share_id)

    async def pause(self, share_id: str, change: int) -> None:
        """Let a share rest: running transfers are dropped, what is half there stays. Idempotent.

        `change` numbers what the job was told to do; what comes after a later one is ignored.
        """
        share = self._shares.get(share_id)
        if share is None or not share.takes(change):
            return
        async with share.changing:
            if share.state not in (State.PREPARED, State.RUNNING) or share.is_ending:
                return
            share.state = State.PAUSED
            await self._lanes.still(share)
            await self._write(lambda connection: records.set_paused(connection, share, paused=True))
            self._story.say([share], "paused")

    async def resume(self, share_id: str, change: int) -> None:
        """Let a share that rests go on; one that was never started begins. Idempotent; `change` as in `pause`."""
        share = self._shares.get(share_id)
        if share is None or not share.takes(change):
            return
        async with share.changing:
            if share.state is State.PREPARED:
                await self.start_share(share_id)
            elif share.state is State.PAUSED:
                # What ended while it came to rest is recorded, and counted, before this is.
                await self._write(lambda connection: records.set_paused(connection, share, paused=False))
                if share.state is State.PAUSED:
                    share.state = State.RUNNING
                    self._story.say([share], "resumed")
                    self._run(share, again=True)

    async def remove(self, share_id: str) -> None:
        """Forget a share that does not run. Unknown is harmless; raises InvalidRequest for a running one."""
        share = self._shares.get(share_id)
        if share is None:
            return
        if share.state is State.ABORTED:
            await self.abort(share_id)  # perhaps not all of it has come to rest yet
        if share.state in (State.RUNNING, State.PAUSED):
            raise InvalidRequest(f'job "{share_id}" is still running')
        # Out of reach before it is gone: whatever comes for it from now on finds nothing that it could begin or add to.
        self._shares.pop(share_id, None)
        try:
            await self._write(lambda connection: records.remove_share(connection, share.number), forgets=True)
        except HaulError:
            self._shares.setdefault(share_id, share)
            raise

    async def status(self, share_ids: Iterable[str], *, tasks: bool, limit: int, after: int) -> list[ShareStatus]:
        """Figures of the known ones among `share_ids`; with `tasks`, up to `limit` ended tasks behind a position."""
        known = [share for share_id in share_ids if (share := self._shares.get(share_id)) is not None]
        return [await self._status(share, tasks=tasks, limit=limit, after=after) for share in known]

    def find(self, share_id: str) -> Share | None:
        """The share of a job, if there is one."""
        return self._shares.get(share_id)

    async def _status(self, share: Share, *, tasks: bool, limit: int, after: int) -> ShareStatus:
        status = ShareStatus(
            share_id=share.id,
            scheduled=share.scheduled,
            finished=share.finished,
            skipped=share.skipped,
            errors=share.errors,
            bytes=share.bytes,
            all_dispatched=share.has_ended or (share.sealed and share.exhausted),
            aborted=share.state is State.ABORTED,
            started_ns=share.started_ns,
            finished_ns=share.finished_ns,
            removed=share.removed,
            current_tasks=heapq.nsmallest(
                MAX_CURRENT_TASKS,
                self._lanes.current_tasks(share),
                key=lambda task: task.start_ns,
            ),
        )
        if not tasks:
            return status
        finished, errors = await self._write(
            lambda connection: tuple(
                records.read_results(connection, share.number, after=after, limit=limit, failed_only=failed_only)
                for failed_only in (False, True)
            )
        )
        return replace(status, finished_tasks=self._named(share, finished), error_tasks=self._named(share, errors))

    def _named(self, share: Share, tasks: Sequence[TaskProgress]) -> Sequence[TaskProgress]:
        if not share.spec.template or not tasks:
            return tasks
        expansion = Expansion(share.spec, self._target_id)
        return [task._replace(name=expansion.names(task.position, task.position + 1)[0]) for task in tasks]

    def _run(self, share: Share, *, again: bool = False) -> None:
        share.fed_at = clock.monotonic()
        share.unlock(self._vault)
        self._budgets.open(share)
        if again:
            self._lanes.retell(share)
            self._feeder.add_again(share)
        else:
            self._feeder.add(share)

    def _forget(self, share: Share) -> None:
        self._story.forget(share)
        self._lanes.forget(share)

    def _share_ended(self, share: Share) -> None:
        self._forget(share)
        self._loop.call_soon_threadsafe(self._on_ended, share.id)

    async def _write(self, work: Callable[[Connection], T], *, forgets: bool = False) -> T:
        future: asyncio.Future[T] = self._loop.create_future()

        def done(value: T, error: HaulError | None) -> None:
            self._loop.call_soon_threadsafe(_settle, future, value, error)

        self._journal.submit(work, done, forgets=forgets)
        return await future


def _settle(future: asyncio.Future[T], value: T, error: HaulError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
