"""Fetches single objects for those who wait for them, by the lanes that carry out jobs; each object once at a time.

What is fetched is a job of one task that no journal knows: a target that ends forgets it, and who waits asks again.
When to fetch, and what a failure means to a client, is left to `outside`.
"""

from __future__ import annotations

import asyncio
import secrets
from itertools import count
from typing import NamedTuple

from common import clock, placement
from common.backends.base import OriginUnavailable
from common.errors import DiskFailure
from common.links import origin_of
from common.names import Bucket
from common.shares import PRIORITIES, JobSpec
from target.downloads.lanes import Lanes
from target.downloads.scheduler import Scheduler
from target.downloads.share import Share, State
from target.downloads.task import Result, Task

Key = tuple[Bucket, int, str]
_PATIENCE_SECONDS = 60.0
"""Who waits for what has not begun for so long is sent away; it is still fetched when that becomes possible."""


class _Running(NamedTuple):
    """One object on its way."""

    share: Share
    ended: asyncio.Future[Result]


class Fetching:
    """The objects that somebody waits for; used on the event loop."""

    def __init__(self, lanes: Lanes, scheduler: Scheduler, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._lanes = lanes
        self._patience_seconds = patience_seconds
        self._scheduler = scheduler
        self._running: dict[Key, _Running] = {}
        self._numbers = count(-1, -1)
        """Those in the journal are positive."""

    async def fetch(self, bucket: Bucket, bucket_id: int, name: str, link: str) -> Result:
        """Have an object fetched from a source's link, unless what is stored from there is the same; how that ended.

        Raises DiskFailure when there is no disk for it, OriginUnavailable when it has not begun for too long.
        """
        key = bucket, bucket_id, name
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = self._begin(key, link)
        while True:
            try:
                async with asyncio.timeout(self._patience_seconds):
                    return await asyncio.shield(running.ended)
            except TimeoutError:
                if not self._lanes.current_tasks(running.share):
                    raise OriginUnavailable(f'"{link}" still waits to be fetched: its service is busy') from None

    def _begin(self, key: Key, link: str) -> _Running:
        bucket, bucket_id, name = key
        usable = self._lanes.usable()
        if not usable:
            raise DiskFailure("no mountpath can be used")
        lane = list(usable)[placement.choose(placement.digest(bucket.uname + name), list(usable.values()))]
        loop = asyncio.get_running_loop()
        share = self._share(bucket, bucket_id)
        share.settle = lambda result: loop.call_soon_threadsafe(self._ended, key, result)
        task = Task(share, 0, name, link, origin_of(link), lane)
        self._lanes.wake(self._scheduler.offer([task]))
        return _Running(share, loop.create_future())

    def _share(self, bucket: Bucket, bucket_id: int) -> Share:
        job_id = f"get-{secrets.token_hex(6)}"
        spec = JobSpec(job_id, "single", "", bucket, bucket_id, 1, (), priority=PRIORITIES[-1])
        share = Share(next(self._numbers), spec, state=State.RUNNING, started_ns=clock.unix_ns())
        share.fed_at = clock.monotonic()
        share.sealed = share.exhausted = True
        return share

    def _ended(self, key: Key, result: Result) -> None:
        self._running.pop(key).ended.set_result(result)
        self._lanes.forget(result.task.share)
