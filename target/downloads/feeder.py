"""Keeps every lane's queue filled, piece by piece, so that memory is bounded by a window.

One thread; shares take turns. A share is fed while any lane has few of its tasks, so a stuck lane does not starve the
others; what it leaves behind is bounded by MAX_QUEUED. Where the tasks come from is left to `tasklist`, which task runs
next to `scheduler`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from common import bulkplacement
from common.errors import DiskFailure, HaulError
from common.links import origin_of
from common.shares import TaskSpec
from target.downloads import journal as records
from target.downloads.journal import Journal
from target.downloads.scheduler import Scheduler
from target.downloads.share import Share
from target.downloads.story import Story
from target.downloads.task import Task
from target.downloads.tasklist import Piece, TaskLists

LOW_PER_LANE = 256
MAX_QUEUED = 65_536
_log = structlog.get_logger("target.feeder")


class Feeder:
    """Feeds shares into the scheduler.

    `usable_lanes()` gives the lanes that tasks may go to with their mountpaths' digests, `on_tasks(lanes)` wakes lanes,
    `on_exhausted(share)` says that all is queued.
    """

    def __init__(
        self,
        target_id: str,
        usable_lanes: Callable[[], Mapping[int, int]],
        journal: Journal,
        scheduler: Scheduler,
        story: Story,
        on_tasks: Callable[[set[int]], None],
        on_exhausted: Callable[[Share], None],
    ) -> None:
        self._usable_lanes = usable_lanes
        self._journal = journal
        self._scheduler = scheduler
        self._story = story
        self._on_tasks = on_tasks
        self._on_exhausted = on_exhausted
        self._lists = TaskLists(target_id, journal)
        self._shares: deque[Share] = deque()
        self._again: deque[Share] = deque()
        self._changed = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the piece in hand."""
        self._stopping = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, share: Share) -> None:
        """Begin to feed a share."""
        self._shares.append(share)
        self._changed.set()

    def add_again(self, share: Share) -> None:
        """Feed a share from its beginning: what has ended is left out. Nothing of it may be running."""
        self._again.append(share)
        self._changed.set()

    def nudge(self, share: Share) -> None:
        """Some of the share's tasks have been taken: feed more if it has become hungry."""
        if not share.exhausted and not self._changed.is_set() and self._is_hungry(share):
            self._changed.set()

    def _run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            while self._again:
                self._rewind(self._again.popleft())
            share = self._next_hungry()
            if share is None:
                self._changed.wait()
                continue
            try:
                self._feed(share)
            except HaulError as error:
                _log.error("share.not_fed", job=share.id, error=error.message)
                self._changed.wait(1.0)

    def _rewind(self, share: Share) -> None:
        share.cursor, share.exhausted, share.has_history = 0, False, True
        share.scheduled = share.finished + share.errors
        if share not in self._shares:
            self._shares.append(share)

    def _next_hungry(self) -> Share | None:
        for _ in range(len(self._shares)):
            share = self._shares[0]
            if share.exhausted or share.is_stopped:
                self._shares.popleft()
                self._lists.forget(share)
                continue
            self._shares.rotate(-1)
            if self._is_hungry(share):
                return share
        return None

    def _feed(self, share: Share) -> None:
        piece = self._lists.piece(share, share.cursor)
        placed = self._place(share, self._without_ended(share, piece))
        share.cursor = piece.cursor
        share.scheduled += len(placed)
        if placed:
            origins = {task.origin for task in placed}
            self._story.uses(share, self._scheduler.limits(origins))
            self._on_tasks(self._scheduler.offer(placed))
        if piece.is_last:
            share.exhausted = True
            self._on_exhausted(share)

    def _without_ended(self, share: Share, piece: Piece) -> Sequence[TaskSpec]:
        if not share.has_history or not piece.tasks:
            return piece.tasks
        ended = self._journal.call(
            lambda connection: records.ended_positions(connection, share.number, piece.begin, piece.end)
        )
        return [task for task in piece.tasks if task.position not in ended]

    def _place(self, share: Share, tasks: Sequence[TaskSpec]) -> list[Task]:
        if not tasks:
            return []
        digests = bulkplacement.digests(share.spec.bucket.uname, (task.name for task in tasks))
        usable = self._usable_lanes()
        if not usable:
            raise DiskFailure("no mountpath can be used")
        numbers = list(usable)
        lanes = [numbers[owner] for owner in bulkplacement.owners(digests, list(usable.values())).tolist()]
        if share.spec.template:
            origin = origin_of(tasks[0].link)
            return [
                Task(share, position, name, link, origin, lane)
                for (position, name, link, *_), lane in zip(tasks, lanes, strict=True)
            ]
        return [
            Task(share, position, name, link, origin_of(link), lane, expected, removes_ns)
            for (position, name, link, expected, removes_ns), lane in zip(tasks, lanes, strict=True)
        ]

    def _is_hungry(self, share: Share) -> bool:
        fewest = min((share.queued_in(lane) for lane in self._usable_lanes()), default=0)
        return fewest < LOW_PER_LANE and sum(share.queued) < MAX_QUEUED
