"""Turns successive statuses of a job into figures to show: rates, time left, the slowest objects; pure.

Drawing them is left to `cli.downloads.display`. The time is an argument; it is the client's own, because the clocks of
the cluster may differ from it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cli.downloads.status import object_count, stored_bytes
from haul.states import JobStatus, Task

_WINDOW_SECONDS = 10.0
"""Rates are means over this long: shorter jumps, longer lags behind."""
_SHOWN_TASKS = 3


@dataclass(frozen=True, slots=True)
class SlowTask:
    """An object on its way; the rate is None until it has been seen twice."""

    name: str
    downloaded_bytes: int
    total_bytes: int
    bytes_per_second: float | None


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a job at one moment; None where a figure is not known."""

    id: str
    description: str
    done_count: int
    total_count: int
    skipped_count: int
    error_count: int
    active_count: int
    all_known: bool
    fraction: float
    transferred_bytes: int | None
    bytes_per_second: float | None
    objects_per_second: float | None
    seconds_left: float | None
    slowest: tuple[SlowTask, ...]
    silent_targets: tuple[str, ...]
    is_over: bool


@dataclass(frozen=True, slots=True)
class _Sample:
    time: float
    done_count: int
    work: float
    transferred_bytes: int


class Meter:
    """Remembers what is needed to measure one job."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._first_seen: dict[str, tuple[float, int]] = {}
        self._uncounted_bytes = 0
        self._last_tasks: dict[str, Task] = {}

    def update(self, status: JobStatus, now: float) -> View:
        """Take in a status that arrived at `now` (monotonic seconds)."""
        current = {task.name: task for task in status.current}
        transferred = self._transferred(status, current)
        work = status.done_count + sum(_fraction(task) for task in status.current)
        self._samples.append(_Sample(now, status.done_count, work, transferred))
        while len(self._samples) > 2 and now - self._samples[1].time >= _WINDOW_SECONDS:
            self._samples.popleft()
        self._first_seen = {
            name: self._first_seen.get(name, (now, task.downloaded_bytes)) for name, task in current.items()
        }
        total = max(object_count(status), status.done_count)
        # Of many small objects most come and go unseen between two statuses.
        counts_bytes = stored_bytes(status) is not None or total <= 1
        return View(
            id=status.id,
            description=status.description,
            done_count=status.done_count,
            total_count=total,
            skipped_count=status.skipped_count,
            error_count=status.error_count,
            active_count=len(status.current),
            all_known=status.total_count is not None,
            fraction=1.0 if status.is_over and not status.is_aborted else min(1.0, work / total) if total else 0.0,
            transferred_bytes=transferred if counts_bytes else None,
            bytes_per_second=self._per_second("transferred_bytes") if counts_bytes else None,
            objects_per_second=self._per_second("done_count"),
            seconds_left=None if status.is_over else self._seconds_left(total - work),
            slowest=self._slowest(current, now),
            silent_targets=status.silent_targets,
            is_over=status.is_over,
        )

    def _transferred(self, status: JobStatus, current: dict[str, Task]) -> int:
        """All bytes so far; where the cluster does not count them, what was seen of each object."""
        underway = sum(task.downloaded_bytes for task in current.values())
        stored = stored_bytes(status)
        if stored is not None:
            return stored + (0 if status.is_over else underway)
        for name, task in self._last_tasks.items():
            if name not in current:
                self._uncounted_bytes += task.total_bytes or task.downloaded_bytes
        self._last_tasks = current
        return self._uncounted_bytes + underway

    def _per_second(self, figure: str) -> float | None:
        first, last = self._samples[0], self._samples[-1]
        if last.time <= first.time:
            return None
        gained: float = getattr(last, figure) - getattr(first, figure)
        return max(0.0, gained) / (last.time - first.time)

    def _seconds_left(self, work_left: float) -> float | None:
        pace = self._per_second("work")
        return work_left / pace if pace else None

    def _slowest(self, current: dict[str, Task], now: float) -> tuple[SlowTask, ...]:
        def rate(task: Task) -> float | None:
            seen, seen_bytes = self._first_seen[task.name]
            return max(0, task.downloaded_bytes - seen_bytes) / (now - seen) if now > seen else None

        rated = [(task, rate(task)) for task in current.values()]
        # Those with a known rate first, the slowest of them first; of the others the one that started first.
        rated.sort(key=lambda pair: (pair[1] is None, pair[1] or 0.0, _started(pair[0])))
        return tuple(
            SlowTask(task.name, task.downloaded_bytes, task.total_bytes, per_second)
            for task, per_second in rated[:_SHOWN_TASKS]
        )


def _started(task: Task) -> float:
    return task.started.timestamp() if task.started else 0.0


def _fraction(task: Task) -> float:
    """How much of one object has arrived; what has no known size counts when it is finished."""
    return min(1.0, task.downloaded_bytes / task.total_bytes) if task.total_bytes else 0.0
