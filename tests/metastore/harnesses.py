"""How each store is opened for the conformance suite, with a clock that tests move."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from common.metastore.base import MetaStore
from common.metastore.embedded import EmbeddedStore
from common.metastore.etcd.store import EtcdStore
from common.metastore.etcd.timing import Timing
from common.metastore.memory import MemoryStore
from tests.etcd import Etcd

_PATIENT = Timing(call_seconds=20.0, attempt_seconds=5.0)
"""What a call does is the subject here, and not when a disk that is slow to sync is given up."""


class FakeClock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class _MovedTime:
    """What harnesses have in common that move a store's clock; what is compacted is so at once."""

    racers = 20
    lease_seconds = 10.0
    certain_part = 0.999

    def __init__(self) -> None:
        self._clock = FakeClock()

    def now(self) -> float:
        return self._clock.now

    async def compact(self) -> None:
        pass


class MemoryHarness(_MovedTime):
    def __init__(self) -> None:
        super().__init__()
        self._store: MemoryStore | None = None

    @asynccontextmanager
    async def opened(self, keep_revisions: int = 10_000) -> AsyncIterator[Sequence[MetaStore]]:
        self._store = MemoryStore(keep_revisions=keep_revisions, clock=self._clock)
        await self._store.start()
        yield [self._store]
        await self._store.close()

    async def advance(self, seconds: float) -> None:
        """Any call makes the store look at its clock, which otherwise a timer of real time does."""
        assert self._store is not None
        self._clock.now += seconds
        await self._store.list("")


class EmbeddedHarness(_MovedTime):
    def __init__(self, path: Path, clients: int) -> None:
        super().__init__()
        self._path = path
        self._clients = clients

    @asynccontextmanager
    async def opened(self, keep_revisions: int = 10_000) -> AsyncIterator[Sequence[MetaStore]]:
        stores = [
            EmbeddedStore(self._path, poll_seconds=0.005, keep_revisions=keep_revisions, clock=self._clock)
            for _ in range(self._clients)
        ]
        async with AsyncExitStack() as stack:
            for store in stores:
                stack.push_async_callback(store.close)
            await asyncio.gather(*(store.start() for store in stores))
            yield stores

    async def advance(self, seconds: float) -> None:
        self._clock.now += seconds


class EtcdHarness:
    """One client for each member; every test has an empty part of the same etcd."""

    racers = 4
    lease_seconds = 4.0
    certain_part = 0.4

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self._keep_revisions = 0

    @asynccontextmanager
    async def opened(self, keep_revisions: int = 10_000) -> AsyncIterator[Sequence[MetaStore]]:
        self._keep_revisions = keep_revisions
        cluster_id = secrets.token_hex(4)
        urls = self._etcd.urls
        stores = [EtcdStore(urls[first:] + urls[:first], cluster_id, timing=_PATIENT) for first in range(len(urls))]
        async with AsyncExitStack() as stack:
            for store in stores:
                stack.push_async_callback(store.close)
            await asyncio.gather(*(store.start() for store in stores))
            yield stores
        # No lease of this test may end in another one, which would see its revision.
        self._etcd.call(0, "/v3/kv/deleterange", key="AA==", range_end="AA==")

    async def advance(self, seconds: float) -> None:
        """A lease can only be waited for."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        return time.monotonic()

    async def compact(self) -> None:
        revision = self._etcd.revision() - self._keep_revisions
        await asyncio.to_thread(self._etcd.call, 0, "/v3/kv/compaction", revision=revision, physical=True)
