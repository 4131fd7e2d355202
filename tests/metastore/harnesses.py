"""How each store is opened for the conformance suite, with a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from common.metastore.base import MetaStore
from common.metastore.embedded import EmbeddedStore
from common.metastore.memory import MemoryStore


class FakeClock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class MemoryHarness:
    def __init__(self) -> None:
        self._clock = FakeClock()
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


class EmbeddedHarness:
    def __init__(self, path: Path, clients: int) -> None:
        self._path = path
        self._clients = clients
        self._clock = FakeClock()

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
