"""Real etcd servers that are killed, paused, restarted, filled up, wiped and put back."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from common.errors import Unavailable
from common.metastore.base import (
    MAX_VALUE_BYTES,
    DeleteEvent,
    LeaseLost,
    MetaStore,
    PutEvent,
    Resync,
    WrongIncarnation,
    create,
    put,
)
from common.metastore.etcd.store import EtcdStore
from tests.etcd import Etcd
from tests.metastore import nemesis
from tests.metastore.scenario import run, take, told, value_of

T = TypeVar("T")
_CAN_WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture
def etcd(shared: Etcd) -> Iterator[Etcd]:
    """Three members, all of them well at the beginning of a test."""
    yield shared
    shared.mend()


@asynccontextmanager
async def opened(urls: Sequence[str], cluster_id: str = "c") -> AsyncIterator[EtcdStore]:
    store = EtcdStore(urls, cluster_id)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def until_done(call: Callable[[], Awaitable[T]]) -> T:
    """What a call gives once the store is there again; nobody does anything for it."""
    async with asyncio.timeout(_CAN_WAIT_SECONDS):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.05)


async def why_unavailable(store: MetaStore) -> str:
    with pytest.raises(Unavailable) as caught:
        await store.get("a")
    return caught.value.message


class Load:
    """Workers that create keys, each once, and keep in mind what was acknowledged and what may have been done."""

    def __init__(self, stores: Sequence[MetaStore]) -> None:
        self._stores = stores
        self.acknowledged: dict[str, int] = {}
        self.unknown: set[str] = set()
        self.is_over = False

    async def work(self, worker: int) -> None:
        store = self._stores[worker % len(self._stores)]
        step = 0
        while not self.is_over:
            key = f"load/{worker}/{step}"
            step += 1
            try:
                result = await create(store, key, b"x")
                # Nobody else makes it, and nothing is sent twice.
                assert result.succeeded
                self.acknowledged[key] = result.revision
            except Unavailable as error:
                if error.maybe_applied:
                    self.unknown.add(key)

    async def further(self, count: int) -> None:
        """Until that many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(_CAN_WAIT_SECONDS):
            while True:
                if len(self.acknowledged) >= wanted:
                    return
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["kill", "pause"])
@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_a_member_lost_under_load_loses_nothing_and_nothing_comes_twice(etcd: Etcd, whom: str, how: str) -> None:
    async def scenario() -> None:
        leader = await asyncio.to_thread(etcd.leader)
        victim = leader if whom == "leader" else (leader + 1) % 3
        # Everybody uses the member that is lost.
        urls = [etcd.urls[(victim + number) % 3] for number in range(3)]
        async with (
            opened(urls, f"{whom}{how}") as one,
            opened(urls, f"{whom}{how}") as other,
            aclosing(other.watch("load/")) as events,
        ):
            assert isinstance(await anext(events), Resync)
            load = Load([one, other])
            working = asyncio.gather(*(load.work(worker) for worker in range(4)))
            await load.further(50)
            getattr(etcd, how)(victim)
            await load.further(100)
            if how == "kill":
                etcd.start(victim)
            else:
                etcd.resume(victim)
            await load.further(100)
            load.is_over = True
            await working
            there = {item.key: item.mod_revision for item in (await one.list("load/")).items}
            assert load.acknowledged.items() <= there.items()
            assert there.keys() <= load.acknowledged.keys() | load.unknown
            seen = [told(event)[:2] for event in await take(events, len(there))]
            assert seen == sorted((revision, key) for key, revision in there.items())

    run(scenario)


def test_seeded_misfortunes(etcd: Etcd) -> None:
    async def scenario() -> None:
        record, happened = await nemesis.run(etcd, seconds=8.0, seed=random.randrange(1 << 32))
        assert happened
        assert record.acknowledged

    run(scenario)


def test_all_paused_is_told_in_time_and_goes_on_by_itself(etcd: Etcd) -> None:
    async def scenario() -> None:
        async with opened(etcd.urls, "paused") as store, aclosing(store.watch("")) as events:
            assert isinstance(await anext(events), Resync)
            await put(store, "a", b"1")
            assert told(await anext(events))[1:] == ("a", b"1")
            etcd.pause()
            for _ in range(2):
                began = time.monotonic()
                outcomes = await asyncio.gather(put(store, "a", b"2"), store.get("a"), return_exceptions=True)
                assert time.monotonic() - began < 10.0
                assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
            etcd.resume()
            await until_done(lambda: put(store, "b", b"3"))
            assert await value_of(store, "b") == b"3"

    run(scenario)


def test_quorum_lost_applies_nothing_and_comes_back_by_itself(etcd: Etcd) -> None:
    async def scenario() -> None:
        async with opened(etcd.urls, "quorum") as store:
            lease = await store.grant(60.0)
            await put(store, "a", b"1", lease.id)
            etcd.kill(1)
            etcd.kill(2)
            # From when the member that is left has noticed, it is certain that nothing has happened.
            outcomes = []
            for _ in range(3):
                with pytest.raises(Unavailable) as caught:
                    await put(store, "a", b"2", lease.id)
                outcomes.append(caught.value.maybe_applied)
            assert outcomes[-1] is False
            async with asyncio.timeout(_CAN_WAIT_SECONDS):
                while "has no leader: most of its members are away" not in await why_unavailable(store):
                    pass
            calls = (store.get("a"), store.list(""), store.keep_alive(lease.id))
            refused = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in refused] == [Unavailable] * 3
            etcd.start(1)
            etcd.start(2)
            await until_done(lambda: store.keep_alive(lease.id))
            revision = await until_done(lambda: put(store, "b", b"3"))
            assert revision == (await store.list("")).revision
            if not any(outcomes):
                assert await value_of(store, "a") == b"1"

    run(scenario)


def test_a_watch_whose_changes_were_compacted_while_its_member_was_away(etcd: Etcd) -> None:
    async def scenario() -> None:
        async with opened(etcd.urls, "compacted") as store, aclosing(store.watch("")) as events:
            assert isinstance(await anext(events), Resync)
            await put(store, "a", b"0")
            assert isinstance(await anext(events), PutEvent)
            etcd.kill(0)
            for step in range(20):
                revision = await until_done(lambda step=step: put(store, "a", b"%d" % step))
            await asyncio.to_thread(etcd.call, 1, "/v3/kv/compaction", revision=revision, physical=True)
            # What has come over the old stream before it was cut is told first.
            while not isinstance(event := await anext(events), Resync):
                pass
            assert [item.value for item in event.snapshot] == [b"19"]
            await put(store, "a", b"20")
            assert told(await anext(events))[1:] == ("a", b"20")

    run(scenario)


def test_a_restart_starts_all_leases_anew(tmp_path: Path) -> None:
    """So a node that dies while its etcd restarts is noticed after up to twice the time of its lease."""

    async def scenario(etcd: Etcd) -> None:
        async with opened(etcd.urls) as store:
            lease = await store.grant(2.0)
            await put(store, "node", b"", lease.id)
            await asyncio.sleep(1.0)
            etcd.kill(0)
            killed_at = time.monotonic()
            etcd.start(0)
            assert await until_done(lambda: value_of(store, "node")) is not None
            async with aclosing(store.watch("")) as events:
                while not isinstance(event := await anext(events), DeleteEvent):
                    assert isinstance(event, Resync)
                assert time.monotonic() - killed_at >= 2.0
            with pytest.raises(LeaseLost):
                await store.keep_alive(lease.id)

    with Etcd(tmp_path, members=1) as etcd:
        run(lambda: scenario(etcd))


def test_a_full_database_is_called_so_and_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    async def fill(store: EtcdStore) -> Unavailable:
        for _ in range(200):
            try:
                await put(store, "large", bytes(MAX_VALUE_BYTES))
            except Unavailable as error:
                return error
        raise AssertionError("it is never full")

    async def scenario(etcd: Etcd) -> None:
        async with opened(etcd.urls) as store:
            lease = await store.grant(60.0)
            await put(store, "small", b"1", lease.id)
            error = await fill(store)
            assert "database is full (NOSPACE alarm of etcd)" in error.message
            with pytest.raises(Unavailable, match="NOSPACE"):
                await put(store, "other", b"1")
            with pytest.raises(Unavailable, match="NOSPACE"):
                await store.grant(5.0)
            assert await value_of(store, "small") == b"1"
            assert await value_of(store, "other") is None
            assert await store.keep_alive(lease.id) > 0
            etcd.call(0, "/v3/kv/compaction", revision=etcd.revision(), physical=True)
            etcd.call(0, "/v3/maintenance/defragment")
            (alarm,) = etcd.call(0, "/v3/maintenance/alarm", action="GET")["alarms"]
            etcd.call(0, "/v3/maintenance/alarm", action="DEACTIVATE", **alarm)
            await until_done(lambda: put(store, "other", b"1"))

    with Etcd(tmp_path, members=1, options=["--quota-backend-bytes=16777216"]) as etcd:
        run(lambda: scenario(etcd))


@pytest.mark.parametrize("how", ["wiped", "put back"])
def test_an_etcd_that_has_lost_what_it_told_is_refused(how: str, tmp_path: Path) -> None:
    async def scenario(etcd: Etcd) -> None:
        async with opened(etcd.urls) as store:
            await put(store, "a", b"1")
            etcd.kill(0)
            shutil.copytree(etcd.directory / "m0", tmp_path / "backup")
            etcd.start(0)
            for number in range(10):
                await until_done(lambda number=number: put(store, f"k{number}", b"2"))
            etcd.kill(0)
            shutil.rmtree(etcd.directory / "m0")
            if how == "put back":
                shutil.copytree(tmp_path / "backup", etcd.directory / "m0")
            etcd.start(0)
            with pytest.raises(WrongIncarnation):
                await until_done(lambda: store.get("a"))
            with pytest.raises(WrongIncarnation):
                await put(store, "a", b"3")
        async with opened(etcd.urls) as other:
            assert (other.incarnation == store.incarnation) is (how == "put back")
            assert await value_of(other, "a") == (b"1" if how == "put back" else None)

    with Etcd(tmp_path / "etcd", members=1) as etcd:
        run(lambda: scenario(etcd))
