"""Seeded misfortunes of three etcds under load: `python -m tests.metastore.nemesis --seconds 60 --seed 1`.

Clients read, write and compare-and-set one key, and others create keys under a watch, while members are killed and
paused, the leader, most of them and all of them, too. Then: what was seen of the key could have happened
(`history`), everything acknowledged is there, and the watch has told all of it once and in order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from common.errors import Unavailable
from common.metastore.base import ABSENT, MetaStore, PutEvent, Resync, compare_and_set, create, put
from common.metastore.etcd.store import EtcdStore
from tests.etcd import Etcd
from tests.metastore.history import Seen, violations

_KEY = "register"
_SET = "set/"
_LAST = f"{_SET}last"
T = TypeVar("T")


@dataclass
class Record:
    """What the clients saw."""

    history: list[Seen] = field(default_factory=list)
    unknown: set[bytes] = field(default_factory=set)
    acknowledged: dict[str, int] = field(default_factory=dict)
    maybe: set[str] = field(default_factory=set)
    unavailable: int = 0
    slowest_seconds: float = 0.0


class Client:
    """One of those who use the store at the same time."""

    def __init__(self, number: int, store: MetaStore, record: Record, chance: random.Random) -> None:
        self._number = number
        self._store = store
        self._record = record
        self._chance = chance
        self._calls = 0

    async def turn(self) -> None:
        self._calls += 1
        began = time.monotonic()
        try:
            await self._chance.choice((self._read, self._write, self._swap, self._create))(began)
        except Unavailable:
            self._record.unavailable += 1
        self._record.slowest_seconds = max(self._record.slowest_seconds, time.monotonic() - began)

    async def _read(self, began: float) -> None:
        item = await self._store.get(_KEY)
        revision, value = (item.mod_revision, item.value) if item else (ABSENT, b"")
        self._record.history.append(Seen(began, time.monotonic(), revision, value, is_write=False))

    async def _write(self, began: float) -> None:
        value = self._value()
        revision = await self._maybe(put(self._store, _KEY, value), lambda: self._record.unknown.add(value))
        self._record.history.append(Seen(began, time.monotonic(), revision, value, is_write=True))

    async def _swap(self, _: float) -> None:
        item = await self._store.get(_KEY)
        replaced = item.mod_revision if item else ABSENT
        value = self._value()
        began = time.monotonic()
        swapping = compare_and_set(self._store, _KEY, replaced, value)
        result = await self._maybe(swapping, lambda: self._record.unknown.add(value))
        if result.succeeded:
            self._record.history.append(
                Seen(began, time.monotonic(), result.revision, value, is_write=True, replaced=replaced)
            )

    async def _create(self, _: float) -> None:
        key = f"{_SET}{self._number}/{self._calls}"
        result = await self._maybe(create(self._store, key, b""), lambda: self._record.maybe.add(key))
        assert result.succeeded, f"{key} was made twice"
        self._record.acknowledged[key] = result.revision

    async def _maybe(self, call: Awaitable[T], note: Callable[[], None]) -> T:
        try:
            return await call
        except Unavailable as error:
            if error.maybe_applied:
                note()
            raise

    def _value(self) -> bytes:
        return f"{self._number}.{self._calls}".encode()


class Nemesis:
    """Takes members away, and gives them back."""

    def __init__(self, etcd: Etcd, chance: random.Random) -> None:
        self._etcd = etcd
        self._chance = chance

    async def turn(self) -> str:
        how = self._chance.choice(("kill", "pause"))
        count = self._chance.choice((1, 1, 1, 2, 3))
        victims = self._chance.sample(range(3), count)
        for victim in victims:
            getattr(self._etcd, how)(victim)
        await asyncio.sleep(self._chance.uniform(0.1, 2.5))
        for victim in victims:
            if how == "kill":
                self._etcd.start(victim)
            else:
                self._etcd.resume(victim)
        await asyncio.sleep(self._chance.uniform(0.1, 2.5))
        return f"{how} {victims}"


async def follow(store: MetaStore) -> list[str]:
    """The keys of the set in the order in which a watch tells of them, over all that befalls it, up to the last."""
    told: list[str] = []
    revision: int | None = None
    while _LAST not in told:
        try:
            async with aclosing(store.watch(_SET, revision)) as events:
                while _LAST not in told[-1:]:
                    event = await anext(events)
                    if isinstance(event, Resync):
                        news = [item for item in event.snapshot if item.key not in told]
                        told += [item.key for item in sorted(news, key=lambda item: item.mod_revision)]
                    else:
                        assert isinstance(event, PutEvent)
                        told.append(event.key)
                    revision = event.revision + 1
        except Unavailable:
            await asyncio.sleep(0.05)
    return told


async def run(etcd: Etcd, seconds: float, seed: int, clients: int = 6) -> tuple[Record, list[str]]:
    """Raises AssertionError for what must not be; what was seen, and what has happened."""
    chance = random.Random(seed)
    record, happened = Record(), list[str]()
    async with AsyncExitStack() as stack:
        stores = []
        for number in range(3):
            store = EtcdStore(etcd.urls[number:] + etcd.urls[:number], f"n{seed}")
            await store.start()
            stack.push_async_callback(store.close)
            stores.append(store)
        end = time.monotonic() + seconds

        async def use(number: int) -> None:
            client = Client(number, stores[number % 3], record, random.Random(f"{seed}.{number}"))
            while time.monotonic() < end:
                await client.turn()

        async def torment() -> None:
            nemesis = Nemesis(etcd, chance)
            while time.monotonic() < end:
                happened.append(await nemesis.turn())

        following = asyncio.gather(follow(stores[0]))
        await asyncio.gather(torment(), *(use(number) for number in range(clients)))
        await asyncio.to_thread(etcd.mend)
        await _make_last(stores[1])
        (told,) = await following
        there = {item.key: item.mod_revision for item in (await stores[2].list(_SET)).items}
    wrong = violations(record.history, frozenset(record.unknown))
    assert not wrong, f"seed {seed}: {wrong[:3]}"
    assert record.acknowledged.items() <= there.items(), f"seed {seed}: acknowledged keys are lost"
    assert there.keys() <= record.acknowledged.keys() | record.maybe | {_LAST}, f"seed {seed}"
    assert told == sorted(there, key=lambda key: there[key]), f"seed {seed}: the watch has told something else"
    return record, happened


async def _make_last(store: MetaStore) -> None:
    while True:
        try:
            await create(store, _LAST, b"")
        except Unavailable:
            await asyncio.sleep(0.05)
        else:
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Etcd(Path(directory)) as etcd:
        record, happened = asyncio.run(run(etcd, options.seconds, options.seed))
    print(
        f"seed {options.seed}: {len(happened)} misfortunes, {len(record.history)} calls on the key, "
        f"{len(record.acknowledged)} keys made, {len(record.unknown) + len(record.maybe)} writes unanswered, "
        f"{record.unavailable} calls refused, the slowest took {record.slowest_seconds:.2f} s; nothing wrong"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
