from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.errors import Unavailable
from common.metastore.base import LeaseLost, PutEvent, Resync, WrongIncarnation, put
from common.metastore.embedded import EmbeddedStore
from tests.metastore.conformance import Conformance
from tests.metastore.harnesses import EmbeddedHarness, FakeClock
from tests.metastore.scenario import increment, run, take, told, value_of

ROOT = Path(__file__).parents[2]


class TestEmbedded(Conformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> EmbeddedHarness:
        return EmbeddedHarness(tmp_path / "meta.db", clients=1)


class TestTwoOnOneFile(Conformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> EmbeddedHarness:
        return EmbeddedHarness(tmp_path / "meta.db", clients=2)


@asynccontextmanager
async def opened(path: Path, **settings: Any) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(path, **{"poll_seconds": 0.005} | settings)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


def modes_in(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


@contextmanager
def writer(mode: str, path: Path, name: str, count: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/metastore/writer.py"), mode, str(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_reopening_keeps_everything(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "meta.db") as store:
            incarnation = store.incarnation
            revision = await put(store, "a", b"1")
            before = await store.list("")
        async with opened(tmp_path / "meta.db") as store:
            assert store.incarnation == incarnation
            assert await store.list("") == before
            assert await put(store, "a", b"2") > revision
            async with aclosing(store.watch("", revision)) as events:
                assert [told(event)[2] for event in await take(events, 2)] == [b"1", b"2"]

    run(scenario)


def test_file_is_private_and_nothing_else_is_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "meta.db") as store:
            await put(store, "a", b"1")
            assert modes_in(tmp_path) == {"meta.db": 0o600, "meta.db-journal": 0o600}

    run(scenario)


def test_many_make_the_file_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        stores = [EmbeddedStore(tmp_path / "meta.db") for _ in range(8)]
        await asyncio.gather(*(store.start() for store in stores))
        assert len({store.incarnation for store in stores}) == 1
        await asyncio.gather(*(store.close() for store in stores))
        assert modes_in(tmp_path).keys() == {"meta.db", "meta.db-journal"}

    run(scenario)


def test_close_leaves_no_thread_and_no_task(tmp_path: Path) -> None:
    async def scenario() -> None:
        threads = set(threading.enumerate())
        store = EmbeddedStore(tmp_path / "meta.db")
        await store.start()
        acknowledged = [asyncio.gather(put(store, f"k{number}", b"")) for number in range(10)]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*acknowledged)
        assert set(threading.enumerate()) == threads
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await store.start()
        assert len((await store.list("")).items) == 10
        await store.close()

    run(scenario)


def test_thread_ends_with_its_event_loop(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    asyncio.run(EmbeddedStore(tmp_path / "meta.db").start())
    for thread in set(threading.enumerate()) - threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_other_process_is_seen_by_a_watch(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "meta.db"
        async with opened(path) as store, aclosing(store.watch("a/")) as events:
            assert isinstance(await anext(events), Resync)
            with writer("pairs", path, "other", 10) as process:
                seen = await take(events, 30)
                output, _ = process.communicate(timeout=30)
            assert process.returncode == 0
            acknowledged = sorted((int(line.split()[0]), f"a/{line.split()[1]}") for line in output.splitlines())
            assert [told(event)[:2] for event in seen] == acknowledged

    run(scenario)


def test_counter_shared_with_another_process_is_exact(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "meta.db"
        async with opened(path) as store:
            with writer("increments", path, "counter", 100) as process:
                for _ in range(100):
                    await increment(store, "counter")
                process.communicate(timeout=30)
            assert process.returncode == 0
            assert await value_of(store, "counter") == b"200"

    run(scenario)


def test_killed_writer_loses_nothing_acknowledged_and_nothing_half(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "meta.db"
        acknowledged: dict[str, int] = {}
        async with opened(path) as store:
            for attempt in range(6):
                with writer("pairs", path, str(attempt), 100_000) as process:
                    assert process.stdout is not None
                    lines = [process.stdout.readline() for _ in range(10 + attempt * 7)]
                    process.kill()
                    lines += process.communicate(timeout=30)[0].splitlines(keepends=True)
                acknowledged |= {line.split()[1]: int(line.split()[0]) for line in lines if line.endswith("\n")}
                first = {item.key[2:]: item.mod_revision for item in (await store.list("a/")).items}
                second = {item.key[2:]: item.mod_revision for item in (await store.list("b/")).items}
                assert first == second
                assert acknowledged.items() <= first.items()
                await put(store, "alive", str(attempt).encode())
        assert len(acknowledged) > 100

    run(scenario)


def test_lease_ends_while_all_are_away_but_not_by_a_reboot(tmp_path: Path) -> None:
    async def scenario() -> None:
        path, clock = tmp_path / "meta.db", FakeClock(5000.0)
        async with opened(path, clock=clock, boot_id=lambda: "first") as store:
            short, long = await store.grant(10.0), await store.grant(60.0)
            await put(store, "short", b"", short.id)
            await put(store, "long", b"", long.id)
        clock.now += 30.0
        async with opened(path, clock=clock, boot_id=lambda: "first") as store:
            assert [item.key for item in (await store.list("")).items] == ["long"]
            with pytest.raises(LeaseLost):
                await store.keep_alive(short.id)
        clock.now = 3.0
        async with opened(path, clock=clock, boot_id=lambda: "second") as store:
            clock.now += 59.9
            assert await value_of(store, "long") == b""
            clock.now += 0.2
            assert await value_of(store, "long") is None

    run(scenario)


def test_lease_of_real_time_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "meta.db") as store, aclosing(store.watch("")) as events:
            await anext(events)
            await put(store, "a", b"", (await store.grant(1.0)).id)
            assert isinstance(await anext(events), PutEvent)
            assert told(await anext(events))[1:] == ("a", None)

    run(scenario)


def test_watch_overtaken_by_compaction_begins_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "meta.db"
        async with (
            opened(path, keep_revisions=10) as busy,
            opened(path, poll_seconds=3600.0) as sleepy,
            aclosing(sleepy.watch("")) as events,
        ):
            await anext(events)
            for step in range(50):
                await put(busy, "a", str(step).encode())
            await put(sleepy, "b", b"own")
            # What was written while it was still awake may have been told.
            told_before = 0
            while not isinstance(event := await anext(events), Resync):
                told_before += 1
            assert told_before < 40
            assert [item.value for item in event.snapshot] == [b"49", b"own"]

    run(scenario)


def test_locked_file_is_unavailable_and_recovers(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "meta.db"
        async with opened(path, lock_timeout_seconds=0.05) as store:
            await put(store, "a", b"1")
            other = sqlite3.connect(path, isolation_level=None)
            for lock in ("IMMEDIATE", "EXCLUSIVE"):
                other.execute(f"BEGIN {lock}")
                with pytest.raises(Unavailable, match=r"^the meta store is locked by another process$") as caught:
                    await put(store, "a", b"2")
                assert not caught.value.maybe_applied
                other.execute("ROLLBACK")
                assert await value_of(store, "a") == b"1"
            # A reader keeps the commit itself from happening.
            other.execute("BEGIN")
            other.execute("SELECT * FROM current").fetchall()
            with pytest.raises(Unavailable) as caught:
                await put(store, "a", b"2")
            assert not caught.value.maybe_applied
            other.execute("ROLLBACK")
            assert await value_of(store, "a") == b"1"
            await put(store, "a", b"3")
            other.close()

    run(scenario)


def test_changes_made_while_locked_out_reach_the_watch(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "meta.db"
        async with opened(path, lock_timeout_seconds=0.01) as store, aclosing(store.watch("")) as events:
            await anext(events)
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Unavailable):
                await store.get("a")
            other.execute("ROLLBACK")
            other.close()
            revision = await put(store, "a", b"1")
            assert told(await anext(events)) == (revision, "a", b"1")

    run(scenario)


def test_file_that_has_gone_or_is_another_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "meta.db"
        async with opened(path) as store:
            await put(store, "a", b"1")
            path.unlink()
            with pytest.raises(Unavailable, match=r"^the meta store has failed: ") as caught:
                await put(store, "a", b"2")
            assert str(tmp_path) not in caught.value.message
            async with opened(path):
                with pytest.raises((Unavailable, WrongIncarnation)):
                    await put(store, "a", b"2")
                with pytest.raises(WrongIncarnation):
                    await put(store, "a", b"2")

    run(scenario)


@pytest.mark.parametrize("kind", ["damaged", "foreign", "no directory"])
def test_start_refuses_what_is_not_its_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "meta.db"
    if kind == "damaged":
        path.write_bytes(b"not a database at all" * 100)
    elif kind == "foreign":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (x)")
        other.close()
    else:
        path = tmp_path / "missing" / "meta.db"

    async def scenario() -> None:
        before = set(threading.enumerate())
        store = EmbeddedStore(path)
        with pytest.raises((Unavailable, WrongIncarnation)) as caught:
            await store.start()
        assert str(tmp_path) not in caught.value.message
        assert set(threading.enumerate()) <= before

    run(scenario)
