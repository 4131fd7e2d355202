"""The lanes of a target as one: they come and go with its mountpaths, and are woken, told and stopped together.

What a lane does is left to `lane`, which mountpaths there are to `target.storage`. Belongs to the event loop, but for
what says otherwise.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable

from common import clock
from common.names import Bucket
from common.shares import TaskProgress
from target.downloads.feeder import Feeder
from target.downloads.lane import Lane
from target.downloads.scheduler import Scheduler
from target.downloads.share import Share
from target.storage.mountpaths import Mountpaths, Slot


class Lanes:
    """One for each mountpath that objects are placed on, by the number of its slot."""

    def __init__(self, scheduler: Scheduler, mountpaths: Mountpaths, make_lane: Callable[[Slot], Lane]) -> None:
        self._scheduler = scheduler
        self._mountpaths = mountpaths
        self._make_lane = make_lane
        self._lanes: dict[int, Lane] = {}
        self._denied: list[tuple[str, int]] = []
        self._feeder: Feeder

    def __repr__(self) -> str:
        return f"<Lanes {sorted(self._lanes)}>"

    def start(self, feeder: Feeder) -> None:
        """Begin with the mountpaths that there are; all lanes are fed by `feeder`."""
        self._feeder = feeder
        for slot in self._mountpaths.view.placed:
            self.add(slot)

    def usable(self) -> dict[int, int]:
        """The lanes that tasks may go to, with the digests of their mountpaths; any thread."""
        return {slot.number: slot.mountpath.digest for slot in self._mountpaths.view.placed}

    def stop(self) -> None:
        """End all of them; what is staged already is still committed and recorded. Not for the event loop: it waits."""
        for lane in self._lanes.values():
            lane.stop()

    def add(self, slot: Slot) -> None:
        """A mountpath is used from now on."""
        lane = self._lanes[slot.number] = self._make_lane(slot)
        lane.deny_endpoints(self._denied)
        lanes = self._scheduler.use(self.usable())
        lane.start(self._feeder, self.wake)
        self.wake(lanes)

    def place_anew(self) -> None:
        """Other mountpaths are usable than before: what waits goes to the lane that it belongs to now."""
        self.wake(self._scheduler.use(self.usable()))

    async def remove(self, number: int, *, at_once: bool = False) -> None:
        """A mountpath that is not usable any more is let go of; what was on its way there begins anew elsewhere.

        What has come whole is still committed, unless `at_once`, for a disk that has failed.
        """
        lane = self._lanes.get(number)
        if lane is None:
            return
        self.place_anew()
        await asyncio.to_thread(lane.stop, at_once=at_once)
        del self._lanes[number]
        now = clock.monotonic()
        lanes = {self._scheduler.retry(task, now, 0.0) for task in lane.leave()}
        self.wake(lanes | self._scheduler.take(number, 0, now)[1])

    def orders(self) -> dict[int, set[int]]:
        """What every lane has ordered and not heard the end of."""
        return {number: set(lane.orders) for number, lane in self._lanes.items()}

    def is_fetched_into(self, bucket: Bucket) -> bool:
        """Whether anything that is ordered now goes into a bucket."""
        return any(lane.orders.has_of(bucket) for lane in self._lanes.values())

    def wake(self, numbers: Iterable[int]) -> None:
        """There may be something to do for these; unknown ones are harmless. Any thread."""
        for number in numbers:
            lane = self._lanes.get(number)
            if lane is not None:
                lane.wake()

    def wake_all(self) -> None:
        """What held them back may be over."""
        self.wake(list(self._lanes))

    def deny_endpoints(self, endpoints: Iterable[tuple[str, int]]) -> None:
        """Addresses and ports that are never an origin, for these lanes and those to come."""
        self._denied = list(endpoints)
        for lane in self._lanes.values():
            lane.deny_endpoints(self._denied)

    async def still(self, share: Share) -> None:
        """Until nothing of a share that must not go on is queued, fetched or committed any more."""
        self._scheduler.withdraw(share)
        loop, stopped = asyncio.get_running_loop(), []
        for lane in self._lanes.values():
            stopped.append(future := loop.create_future())
            lane.cancel(share, functools.partial(loop.call_soon_threadsafe, _settle, future))
        await asyncio.gather(*stopped)
        self._scheduler.withdraw(share)

    def retell(self, share: Share) -> None:
        """The share's terms have changed."""
        for lane in self._lanes.values():
            lane.retell(share)

    def forget(self, share: Share) -> None:
        """The share has ended; any thread."""
        for lane in list(self._lanes.values()):
            lane.forget(share)

    def current_tasks(self, share: Share) -> list[TaskProgress]:
        """A share's running fetches as they were half a second ago at most."""
        return [task for lane in self._lanes.values() for task in lane.orders.current_tasks(share)]


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
