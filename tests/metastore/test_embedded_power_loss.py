"""Loss of power under the embedded meta store: an ext4 that is shut down without its journal being flushed."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.errors import Unavailable
from common.metastore.base import ABSENT, MetaStore, compare_and_set, put
from tests.metastore.scenario import value_of
from tests.metastore.test_embedded import opened, writer
from tests.storage.disks import ext4, lose_power

LOSSES = 5
WRITERS = 3
pytestmark = pytest.mark.timeout(300)


@dataclass
class Acknowledged:
    """What the writers of all rounds have been told is done."""

    pairs: dict[str, int] = field(default_factory=dict)
    """Revisions by value; each is written under two keys at once, and never again."""
    count: int = 0
    """One key's value, that is changed again and again."""
    revision: int = 0
    leases: list[int] = field(default_factory=list)

    def take(self, lines: Sequence[str]) -> None:
        for revision, value in (line.split() for line in lines if line.endswith("\n")):
            self.pairs[value] = int(revision)
            self.revision = max(self.revision, int(revision))


async def count(store: MetaStore, acknowledged: Acknowledged) -> None:
    """Change one key by compare-and-set until the store is no more."""
    with suppress(Unavailable):
        while True:
            item = await store.get("counter")
            value, revision = (int(item.value), item.mod_revision) if item else (0, ABSENT)
            result = await compare_and_set(store, "counter", revision, str(value + 1).encode())
            assert result.succeeded
            acknowledged.count = value + 1
            acknowledged.revision = max(acknowledged.revision, result.revision)


def read_lines(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(number)]


async def write_until_the_power_is_lost(path: Path, name: str, lines: int, acknowledged: Acknowledged) -> None:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(writer("pairs", path, f"{name}.{number}", 100_000)) for number in range(WRITERS)
        ]
        async with opened(path) as store, asyncio.TaskGroup() as group:
            acknowledged.leases.append((await store.grant(3600.0)).id)
            group.create_task(count(store, acknowledged))
            for process in processes:
                acknowledged.take(await asyncio.to_thread(read_lines, process, lines))
            lose_power(path.parent)
            for process in processes:
                rest, _ = await asyncio.to_thread(process.communicate, timeout=60)
                acknowledged.take(rest.splitlines(keepends=True))


async def check(path: Path, acknowledged: Acknowledged) -> None:
    """Everything acknowledged is there, nothing is half, and revisions go on from where they were."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    async with opened(path) as store:
        assert (await store.list("")).revision >= acknowledged.revision
        pairs = {prefix: (await store.list(prefix)).items for prefix in ("a/", "b/")}
        first, second = ({item.key[2:]: item.mod_revision for item in items} for items in pairs.values())
        assert first == second, "both keys of a transaction or none"
        assert acknowledged.pairs.items() <= first.items()
        assert all(item.value == item.key[2:].encode() for items in pairs.values() for item in items)
        # The one that was not answered may have been made.
        assert int(await value_of(store, "counter") or b"0") - acknowledged.count in (0, 1)
        for lease in acknowledged.leases:
            await store.keep_alive(lease)
        assert await put(store, "alive", b"") > max(acknowledged.revision, *first.values())


def test_what_was_acknowledged_is_there_after_one_loss_of_power_after_the_other(tmp_path: Path) -> None:
    image, disk = tmp_path / "image", tmp_path / "disk"
    acknowledged = Acknowledged()
    for loss in range(LOSSES):
        before = len(acknowledged.pairs), acknowledged.count
        with ext4(image, disk):
            asyncio.run(write_until_the_power_is_lost(disk / "meta.db", str(loss), 5 + 7 * loss, acknowledged))
        assert (len(acknowledged.pairs), acknowledged.count) > before
        with ext4(image, disk):
            asyncio.run(check(disk / "meta.db", acknowledged))


@pytest.mark.parametrize("writes", [0, 1])
def test_a_new_store_is_there_after_a_loss_of_power_right_after_it_was_made(writes: int, tmp_path: Path) -> None:
    """Its history, too: to nodes another one would be another store."""
    image, disk = tmp_path / "image", tmp_path / "disk"

    async def make(path: Path) -> str:
        async with opened(path) as store:
            for number in range(writes):
                await put(store, f"k{number}", b"x")
            lose_power(disk)
            return store.incarnation

    async def look(path: Path) -> tuple[str, int]:
        async with opened(path) as store:
            return store.incarnation, len((await store.list("k")).items)

    for attempt in range(LOSSES):
        path = disk / f"{attempt}.db"
        with ext4(image, disk):
            incarnation = asyncio.run(make(path))
        with ext4(image, disk):
            assert asyncio.run(look(path)) == (incarnation, writes)
