"""What one lane has ordered and not heard the end of: which task an order is of, how far it has come.

What is ordered, and what follows from an end, is left to `lane`; only its thread changes anything here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from common.names import Bucket
from common.shares import TaskProgress
from target.downloads.share import Share
from target.downloads.task import Task


@dataclass(slots=True, eq=False)
class Leaving:
    """A share whose fetches are being dropped; `done` is called when nothing of it is left.

    The carrier must have dropped them by `obeys_by`; once it has, that is infinity.
    """

    share: Share
    done: Callable[[], object]
    obeys_by: float


class Orders:
    """`fetching` have a connection; `committing` have come whole, and are being made durable; both by order id."""

    def __init__(self) -> None:
        self._ids = count()
        self._progress: dict[int, tuple[int, int]] = {}
        self.fetching: dict[int, Task] = {}
        self.committing: dict[int, Task] = {}

    def __repr__(self) -> str:
        return f"<Orders: {len(self.fetching)} fetching, {len(self.committing)} committing>"

    def __iter__(self) -> Iterator[int]:
        return iter([*self.fetching, *self.committing])

    def add(self, task: Task) -> int:
        """A task is ordered; returns the order's id."""
        order_id = next(self._ids)
        self.fetching[order_id] = task
        return order_id

    def received(self, order_ids: Iterable[int]) -> list[Task]:
        """These have come whole; returns their tasks, whose connections are free."""
        tasks = []
        for order_id in order_ids:
            task = self.committing[order_id] = self.fetching.pop(order_id)
            tasks.append(task)
        return tasks

    def fetching_of(self, number: int) -> list[int]:
        """Orders of one share that still have a connection."""
        return [order_id for order_id, task in self.fetching.items() if task.share.number == number]

    def has(self, share: Share) -> bool:
        """Whether anything of a share is on its way."""
        return any(task.share is share for tasks in (self.fetching, self.committing) for task in tasks.values())

    def has_of(self, bucket: Bucket) -> bool:
        """Whether anything that goes into a bucket is on its way; any thread."""
        tasks = [*list(self.fetching.values()), *list(self.committing.values())]
        return any(task.share.spec.bucket == bucket for task in tasks)

    def gained(self, gains: Iterable[tuple[Task, int]]) -> dict[str, int]:
        """What has come from each origin since the last time, given what each attempt has brought so far."""
        sizes: dict[str, int] = {}
        for task, gained_bytes in gains:
            sizes[task.origin] = sizes.get(task.origin, 0) + gained_bytes - task.moved_bytes
            task.moved_bytes = gained_bytes
        return sizes

    def progressed(self, moved: Sequence[tuple[int, int, int, int]]) -> dict[str, int]:
        """Take over how far the orders have come that take their time; returns what has come from each origin."""
        self._progress = {order_id: (received, expected) for order_id, received, expected, _ in moved}
        running = ((self.fetching.get(order_id), gained) for order_id, _, _, gained in moved)
        return self.gained((task, gained) for task, gained in running if task is not None)

    def lost(self) -> None:
        """Nothing more will be heard of any."""
        self._progress.clear()

    def current_tasks(self, share: Share) -> list[TaskProgress]:
        """A share's running fetches as they were half a second ago at most; any thread."""
        progress = self._progress
        return [
            TaskProgress(task.position, task.name, *progress.get(order_id, (0, 0)), task.start_ns, 0)
            for order_id, task in list(self.fetching.items())
            if task.share is share
        ]
