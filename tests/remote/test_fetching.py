"""Waiting for an object that is fetched: who waits for too long is sent away, who comes later gets it."""

from __future__ import annotations

import asyncio

import pytest

from common.backends.base import OriginUnavailable
from common.errors import DiskFailure
from common.names import Bucket
from common.shares import TaskProgress
from target.carriers.messages import FINISHED
from target.downloads.concurrency import ConcurrencySettings
from target.downloads.hosts import HostSettings
from target.downloads.scheduler import Scheduler
from target.downloads.share import Share
from target.downloads.task import Result, Task
from target.remote.fetching import Fetching

OBJECT = Bucket("b", "aws"), 7, "name", "s3://b/name"


class Lanes:
    """One lane, whose carrier does what a test wants."""

    def __init__(self) -> None:
        self.digests = {0: 1}
        self.running: list[TaskProgress] = []
        self.forgotten: list[Share] = []
        self.looked_again = asyncio.Event()
        """Somebody has found that it is being fetched, and goes on waiting."""

    def usable(self) -> dict[int, int]:
        return self.digests

    def wake(self, numbers: set[int]) -> None:
        assert numbers == {0}

    def forget(self, share: Share) -> None:
        self.forgotten.append(share)

    def current_tasks(self, share: Share) -> list[TaskProgress]:
        if self.running:
            self.looked_again.set()
        return self.running


def fetching_with(lanes: Lanes, patience_seconds: float) -> tuple[Fetching, Scheduler]:
    scheduler = Scheduler(1, HostSettings(ConcurrencySettings()))
    return Fetching(lanes, scheduler, patience_seconds), scheduler  # type: ignore[arg-type]


def end(task: Task) -> None:
    assert task.share.settle is not None
    task.share.settle(Result(task, FINISHED, 5, 5, 1))


def test_who_waits_for_too_long_is_sent_away_and_who_comes_later_gets_it() -> None:
    async def check() -> None:
        lanes = Lanes()
        fetching, scheduler = fetching_with(lanes, 0.01)
        with pytest.raises(OriginUnavailable, match="s3://b/name"):
            await fetching.fetch(*OBJECT)
        [task], _ = scheduler.take(0, 10, 0.0)
        lanes.running = [TaskProgress(0, "name", 0, 0, 1, 0)]
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(fetching.fetch(*OBJECT))
            await lanes.looked_again.wait()
            end(task)
        assert waiting.result().outcome == FINISHED
        assert scheduler.take(0, 10, 0.0)[0] == []
        assert lanes.forgotten == [task.share]

    asyncio.run(check())


def test_who_goes_away_does_not_take_it_from_the_others() -> None:
    async def check() -> None:
        fetching, scheduler = fetching_with(Lanes(), 30.0)
        async with asyncio.TaskGroup() as group:
            first, second = (group.create_task(fetching.fetch(*OBJECT)) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            [task], _ = scheduler.take(0, 10, 0.0)
            end(task)
        assert first.cancelled()
        assert second.result().outcome == FINISHED

    asyncio.run(check())


def test_without_a_disk_nothing_is_fetched() -> None:
    async def check() -> None:
        lanes = Lanes()
        lanes.digests = {}
        with pytest.raises(DiskFailure):
            await fetching_with(lanes, 30.0)[0].fetch(*OBJECT)

    asyncio.run(check())
