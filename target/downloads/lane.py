"""What works for one mountpath: takes tasks, fetches them into work files, has those committed.

One thread, one libcurl multi handle. What runs next is decided in `scheduler`, whether to try again in `retry`, how
bytes arrive in `target.transfer`, how they become an object in `target.storage`.
"""

from __future__ import annotations

import functools
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from common import clock
from common.errors import HaulError
from common.links import redact
from common.placement import digest
from common.shares import TaskProgress
from target.downloads.feeder import Feeder
from target.downloads.recorder import Recorder
from target.downloads.retry import RetryPolicy
from target.downloads.scheduler import Scheduler
from target.downloads.share import Share
from target.downloads.task import FAILED, FINISHED, SKIPPED, Result, Task
from target.downloads.turns import Turns
from target.storage.committer import Committer
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Mountpath
from target.storage.writer import ObjectWriter, Staged
from target.transfer.engine import Engine
from target.transfer.request import Completion, FetchError, FetchRequest, Receipt, ResponseHead

_IDLE_SECONDS = 60.0
_BUSY_TRANSFERS = 8
_GROUP = 64
_GATHER_SECONDS = 0.004
_log = structlog.get_logger("target.lane")


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Bounds of one lane, and how often it tries."""

    max_transfers: int = 64
    max_staged: int = 512
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Lane:
    """The thread of one mountpath; `start` first, `stop` last."""

    def __init__(
        self,
        number: int,
        mountpath: Mountpath,
        engine: Engine,
        committer: Committer,
        scheduler: Scheduler,
        recorder: Recorder,
        settings: LaneSettings,
        turns: Turns,
    ) -> None:
        self._number = number
        self._mountpath = mountpath
        self._engine = engine
        self._committer = committer
        self._scheduler = scheduler
        self._recorder = recorder
        self._settings = settings
        self._turns = turns
        self._syncs = True
        self._feeder: Feeder
        self._wake_lanes: Callable[[set[int]], None]
        self._random = random.Random()  # noqa: S311 - jitter needs no cryptography
        self._active: dict[Task, ObjectWriter | None] = {}
        self._cancellations: deque[tuple[Share, Callable[[], object]]] = deque()
        self._group: list[Staged] = []
        self._group_due = 0.0
        self._staged_count = 0
        self._committed_count = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"lane-{number}", daemon=True)

    def __repr__(self) -> str:
        return f"<Lane {self._number}: {len(self._active)} transfers, {self._uncommitted} to commit>"

    def start(self, feeder: Feeder, wake_lanes: Callable[[set[int]], None]) -> None:
        """Start the thread; `wake_lanes` is given numbers of other lanes."""
        self._feeder = feeder
        self._wake_lanes = wake_lanes
        self._syncs = self._mountpath.syncs
        self._thread.start()

    def stop(self) -> None:
        """Drop the running transfers (their tasks stay to be done) and end the thread."""
        self._stopping = True
        self._engine.wake()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """There may be something to take; any thread."""
        self._engine.wake()

    def cancel(self, share: Share, done: Callable[[], object]) -> None:
        """Drop the share's running transfers, then call `done` on the lane's thread; any thread."""
        self._cancellations.append((share, done))
        self._engine.wake()

    def current_tasks(self, share: Share) -> list[TaskProgress]:
        """The share's running transfers as they are at this moment; any thread."""
        running = [task for task in list(self._active) if task.share is share]
        return [
            TaskProgress(task.position, task.name, *self._engine.progress(task), task.start_ns, 0) for task in running
        ]

    @property
    def _uncommitted(self) -> int:
        return self._staged_count - self._committed_count

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._engine.wait(self._wait_seconds())
                turn = self._turns.take() if len(self._active) >= _BUSY_TRANSFERS else None
                for completion in self._engine.collect():
                    self._complete_surely(completion)
                self._cancel_requested()
                self._start_tasks()
                self._engine.flush()
                self._commit_group()
                if turn is not None:
                    self._turns.give_back(turn)
        except Exception:
            _log.exception("lane.died", lane=self._number)
            raise
        finally:
            self._commit_group()
            for writer in self._active.values():
                if writer is not None:
                    writer.discard()
            self._engine.close()

    def _wait_seconds(self) -> float:
        if self._group:
            return max(0.0, self._group_due - clock.monotonic())
        due = self._scheduler.next_due(self._number, clock.monotonic())
        return _IDLE_SECONDS if due is None else min(due, _IDLE_SECONDS)

    def _start_tasks(self) -> None:
        settings = self._settings
        room = min(settings.max_transfers - len(self._active), settings.max_staged - self._uncommitted)
        tasks, lanes = self._scheduler.take(self._number, room, clock.monotonic())
        if lanes:
            self._wake_lanes(lanes)
        for task in tasks:
            try:
                self._start(task)
            except HaulError as error:
                self._active.pop(task, None)
                self._failed(task, error)
        if tasks:
            for share in {task.share for task in tasks}:
                self._feeder.nudge(share)

    def _start(self, task: Task) -> None:
        share = task.share
        task.attempt += 1
        if task.start_ns == 0:
            task.start_ns = clock.unix_ns()
        stored = self._mountpath.stored_metadata(share.spec.bucket, share.spec.bucket_id, task.name)
        conditional: tuple[str, ...] = ()
        if stored is not None:
            if share.has_history and stored.job == share.id and stored.link_digest == digest(task.link):
                self._end_at_once(task, FINISHED, stored.size)
                return
            conditional = _conditions(stored, task.link)
        self._active[task] = None
        self._engine.start(
            task,
            FetchRequest(task.link, share.request_headers, conditional, share.spec.timeout_seconds, share.budget),
            functools.partial(self._open_writer, task),
        )

    def _open_writer(self, task: Task, head: ResponseHead) -> ObjectWriter:
        spec = task.share.spec
        writer = self._mountpath.writer(spec.bucket, spec.bucket_id, task.name, head.content_length)
        self._active[task] = writer
        return writer

    def _complete_surely(self, completion: Completion) -> None:
        """A mistake of ours costs one object, with its name, and not the lane with all that wait for it."""
        task = completion.token
        assert isinstance(task, Task)
        try:
            self._complete(task, completion.result)
        except Exception as error:  # noqa: BLE001 - see above
            _log.exception("lane.task_failed", job=task.share.id, name=task.name)
            text = f"internal error ({type(error).__name__})"
            self._recorder.record([Result(task, FAILED, 0, 0, clock.unix_ns(), text)])

    def _complete(self, task: Task, result: Receipt | HaulError) -> None:
        writer = self._active.pop(task)
        if isinstance(result, HaulError):
            if writer is not None:
                writer.discard()
            self._failed(task, result)
            return
        self._scheduler.release(task, clock.monotonic())
        if result.status == 304:
            self._recorder.record([Result(task, SKIPPED, 0, 0, clock.unix_ns())])
            return
        assert writer is not None, "the engine opens a sink for every 200"
        try:
            staged = writer.finish(_metadata_of(task, writer, result), task)
        except HaulError as error:
            self._retry_or_fail(task, error)
            return
        self._staged_count += 1
        if self._syncs or writer.is_streamed:
            self._committer.submit(staged, self._committed)
            return
        if not self._group:
            self._group_due = clock.monotonic() + _GATHER_SECONDS
        self._group.append(staged)

    def _commit_group(self) -> None:
        """Where nothing is synced, commit here: another thread would cost more than it saves."""
        full = len(self._group) >= _GROUP or not self._active
        if self._group and (full or clock.monotonic() >= self._group_due):
            group, self._group = self._group, []
            failed = self._committer.commit(group)
            self._committed([(staged, failed.get(staged)) for staged in group])

    def _committed(self, group: Sequence[tuple[Staged, HaulError | None]]) -> None:
        """On the thread that commits: a whole group has become durable, or has failed."""
        was_full = self._uncommitted >= self._settings.max_staged
        end_ns = clock.unix_ns()
        results = []
        for staged, error in group:
            task = staged.token
            assert isinstance(task, Task)
            if error is None:
                results.append(Result(task, FINISHED, staged.metadata.size, staged.metadata.size, end_ns))
            else:
                self._retry_or_fail(task, error)
        if results:
            self._recorder.record(results)
        self._committed_count += len(group)
        if was_full or len(results) < len(group):
            self._engine.wake()

    def _failed(self, task: Task, error: HaulError) -> None:
        """An attempt has failed while it held its connection."""
        if isinstance(error, FetchError):
            self._scheduler.release(
                task,
                clock.monotonic(),
                went_well=not error.slows_host,
                retry_after_seconds=error.retry_after_seconds,
            )
        else:
            self._scheduler.release(task, clock.monotonic())
        self._retry_or_fail(task, error)

    def _retry_or_fail(self, task: Task, error: HaulError) -> None:
        delay = self._settings.retry.delay(task.attempt, error, self._random.random())
        if delay is not None:
            self._scheduler.retry(task, clock.monotonic() + delay)
        else:
            self._recorder.record([Result(task, FAILED, 0, 0, clock.unix_ns(), error.message)])

    def _end_at_once(self, task: Task, outcome: int, size_bytes: int) -> None:
        self._scheduler.release(task, clock.monotonic())
        self._recorder.record([Result(task, outcome, size_bytes, size_bytes, clock.unix_ns())])
        self._engine.wake()

    def _cancel_requested(self) -> None:
        while self._cancellations:
            share, done = self._cancellations.popleft()
            for task in [task for task in self._active if task.share is share]:
                self._engine.cancel(task)
                writer = self._active.pop(task)
                if writer is not None:
                    writer.discard()
                self._scheduler.release(task, clock.monotonic())
            done()


def _conditions(stored: ObjectMetadata, link: str) -> tuple[str, ...]:
    """Ask only for a newer version of what is stored from the very same link."""
    if stored.link_digest != digest(link):
        return ()
    if stored.etag:
        return (f"If-None-Match: {stored.etag}",)
    if stored.last_modified:
        return (f"If-Modified-Since: {stored.last_modified}",)
    return ()


def _metadata_of(task: Task, writer: ObjectWriter, receipt: Receipt) -> ObjectMetadata:
    head = receipt.head
    return ObjectMetadata(
        size=writer.size,
        checksum=writer.checksum,
        stored_ns=clock.unix_ns(),
        source=redact(task.link),
        link_digest=digest(task.link),
        etag=head.etag,
        last_modified=head.last_modified,
        grade="size" if head.content_length is not None else "none",
        job=task.share.id,
    )
