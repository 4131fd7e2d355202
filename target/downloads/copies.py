"""Lists of tasks that other targets hold, kept here too, so that a list outlives the target that works it off.

Who keeps whose copy, and when one is not needed any more, is decided by the proxies. The lists, with all their secrets,
lie in this target's journal; a copy that is forgotten is gone from it altogether.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from sqlite3 import Connection
from typing import NamedTuple

from common.errors import InvalidRequest
from common.shares import JobSpec, TaskSpec
from target.downloads.journal import Journal, pack_tasks, unpack_tasks


class ListPart(NamedTuple):
    """One batch of a list of tasks; `is_last` when nothing comes after it."""

    spec: JobSpec
    tasks: Sequence[TaskSpec]
    is_last: bool


class Copies:
    """The copies that this target keeps."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def add(self, spec: JobSpec, holder: str, seq: int, tasks: Sequence[TaskSpec], *, last: bool) -> None:
        """Record one numbered batch durably; again is harmless. Raises InvalidRequest for a gap, DiskError."""
        await asyncio.to_thread(self._add, spec, holder, seq, tasks, last)

    def _add(self, spec: JobSpec, holder: str, seq: int, tasks: Sequence[TaskSpec], last: bool) -> None:
        fits = self._journal.call(lambda connection: _add_batch(connection, spec, holder, seq, tasks, last))
        if not fits:
            raise InvalidRequest(f"copy of share {spec.share_id}: batch {seq} came too early")

    async def read(self, share_id: str, holder: str, seq: int) -> ListPart | None:
        """One batch of a copy; None when there is no such copy, or it never became whole. Raises DiskError."""
        return await asyncio.to_thread(
            self._journal.call, lambda connection: _read_batch(connection, share_id, holder, seq)
        )

    async def kept(self) -> list[tuple[str, str]]:
        """Everything that is kept here: (share id, holder). Raises DiskError."""
        return await asyncio.to_thread(self._journal.call, _list)

    async def forget(self, copies: Iterable[tuple[str, str]]) -> None:
        """Forget copies; what is not there is forgotten already. Raises DiskError."""
        keys = list(copies)
        if keys:
            await asyncio.to_thread(self._journal.call, lambda connection: _remove(connection, keys), forgets=True)


def _add_batch(
    connection: Connection, spec: JobSpec, holder: str, seq: int, tasks: Sequence[TaskSpec], last: bool
) -> bool:
    key = (spec.share_id, holder)
    connection.execute("INSERT OR IGNORE INTO copies VALUES (?, ?, ?, 0, 0)", (*key, spec.pack()))
    (next_seq,) = connection.execute("SELECT next_seq FROM copies WHERE share = ? AND holder = ?", key).fetchone()
    if seq > next_seq:
        return False
    if seq == next_seq and tasks:
        connection.execute("INSERT INTO copied_batches VALUES (?, ?, ?, ?)", (*key, seq, pack_tasks(tasks)))
        connection.execute("UPDATE copies SET next_seq = ? WHERE share = ? AND holder = ?", (seq + 1, *key))
    if last:
        connection.execute("UPDATE copies SET sealed = 1 WHERE share = ? AND holder = ?", key)
    return True


def _read_batch(connection: Connection, share_id: str, holder: str, seq: int) -> ListPart | None:
    key = (share_id, holder)
    row = connection.execute("SELECT spec, next_seq, sealed FROM copies WHERE share = ? AND holder = ?", key).fetchone()
    if row is None or not row[2]:
        return None
    packed = connection.execute(
        "SELECT tasks FROM copied_batches WHERE share = ? AND holder = ? AND seq = ?", (*key, seq)
    ).fetchone()
    return ListPart(JobSpec.unpack(row[0]), [] if packed is None else unpack_tasks(packed[0]), seq + 1 >= row[1])


def _list(connection: Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT share, holder FROM copies ORDER BY share, holder").fetchall()


def _remove(connection: Connection, keys: Iterable[tuple[str, str]]) -> None:
    for key in keys:
        connection.execute("DELETE FROM copied_batches WHERE share = ? AND holder = ?", key)
        connection.execute("DELETE FROM copies WHERE share = ? AND holder = ?", key)
