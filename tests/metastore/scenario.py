"""How a conformance test is run, and what such tests do again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from common.metastore.base import (
    ABSENT,
    Event,
    MetaStore,
    PutEvent,
    Resync,
    compare_and_set,
)

DEADLINE_SECONDS = 60.0


class Harness(Protocol):
    """Opens the clients of one store, and moves the time that its leases are counted in."""

    racers: int
    """How many may want to change the same key at once: each of them costs all others one call more."""
    lease_seconds: float
    """How long leases of tests live: long where time is moved, short where it has to pass."""
    certain_part: float
    """So much of a lease can have passed when a test looks, and it is certain that the lease has not ended."""

    def opened(self, keep_revisions: int = 10_000) -> AbstractAsyncContextManager[Sequence[MetaStore]]: ...

    async def advance(self, seconds: float) -> None: ...

    def now(self) -> float: ...

    async def compact(self) -> None:
        """Only the `keep_revisions` latest are kept when this returns."""


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within_deadline() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await scenario()

    asyncio.run(within_deadline())


def with_clients(
    harness: Harness, scenario: Callable[[Sequence[MetaStore]], Awaitable[None]], keep_revisions: int = 10_000
) -> None:
    async def opened() -> None:
        async with harness.opened(keep_revisions) as clients:
            await scenario(clients)

    run(opened)


async def increment(store: MetaStore, key: str) -> None:
    item = await store.get(key)
    while True:
        count = int(item.value) if item else 0
        revision = item.mod_revision if item else ABSENT
        result = await compare_and_set(store, key, revision, str(count + 1).encode())
        if result.succeeded:
            return
        item = result.current[key]


async def take(events: AsyncGenerator[Event, None], count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


async def value_of(store: MetaStore, key: str) -> bytes | None:
    item = await store.get(key)
    return item.value if item else None


def told(change: Event) -> tuple[int, str, bytes | None]:
    assert not isinstance(change, Resync)
    return change.revision, change.key, change.item.value if isinstance(change, PutEvent) else None
