"""The durable record of this target's shares: what was assigned, what has ended, what is still to do.

SQLite in WAL mode with `synchronous=FULL`, one connection in one thread, group commits: whatever waits when the thread
is free becomes one transaction, and callers hear of it only after the commit (design.md §3; measured with power losses:
WAL with FULL lost nothing). What the records mean is left to `service`.
"""

from __future__ import annotations

import functools
import queue
import sqlite3
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgpack
import structlog

from common import failpoints
from common.errors import DiskFailure, HaulError, NoSpace
from common.links import shown_link
from common.shares import JobSpec, TaskProgress, TaskSpec
from target.carriers.messages import FAILED, FINISHED, REMOVED, SKIPPED
from target.downloads.share import Room, Share, State
from target.downloads.task import Result

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shares (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    spec BLOB NOT NULL,
    state TEXT NOT NULL,
    sealed INTEGER NOT NULL,
    started_ns INTEGER NOT NULL,
    finished_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    share INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    tasks BLOB NOT NULL,
    PRIMARY KEY (share, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copies (
    share TEXT NOT NULL,
    holder TEXT NOT NULL,
    spec BLOB NOT NULL,
    next_seq INTEGER NOT NULL,
    sealed INTEGER NOT NULL,
    PRIMARY KEY (share, holder)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copied_batches (
    share TEXT NOT NULL,
    holder TEXT NOT NULL,
    seq INTEGER NOT NULL,
    tasks BLOB NOT NULL,
    PRIMARY KEY (share, holder, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    share INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT,
    outcome INTEGER NOT NULL,
    downloaded INTEGER NOT NULL,
    total INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (share, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS story (
    share INTEGER NOT NULL,
    line INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    origin TEXT NOT NULL,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (share, line)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS failures ON results (share, position) WHERE outcome = 2;
"""
_GROUP = 512
_ROWS_AT_ONCE = 64
_RETRY_FULL_SECONDS = 1.0

T = TypeVar("T")
Done = Callable[[Any, HaulError | None], None]
_log = structlog.get_logger("target.journal")


class StoryLine(NamedTuple):
    """One decision about an origin, or without one something about the share; connections before and after it."""

    at_ns: int
    origin: str
    before: int
    after: int
    why: str


class Ended(NamedTuple):
    """How a task has ended; bytes and times as in `Result`."""

    outcome: int
    total: int
    start_ns: int
    end_ns: int
    error: str
    attempts: int


class _Entry(NamedTuple):
    work: Callable[[sqlite3.Connection], Any]
    done: Done | None
    forgets: bool = False


class Journal:
    """The journal file and its thread; `start` first, `stop` last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._connection: sqlite3.Connection

    def start(self) -> list[Share]:
        """Open or create the file and return every share that it holds, with its figures; starts the thread."""
        self._path.touch(mode=0o600, exist_ok=True)
        self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_SCHEMA)
        _add_missing_columns(self._connection)
        shares = _load(self._connection)
        self._thread.start()
        return shares

    def stop(self) -> None:
        """Commit what waits and close; safe to call twice."""
        self._stopping.set()
        self._entries.put(None)
        if self._thread.is_alive():
            self._thread.join()
            self._connection.close()

    def submit(
        self, work: Callable[[sqlite3.Connection], Any], done: Done | None = None, *, forgets: bool = False
    ) -> None:
        """Run `work` inside the next transaction; `done(value, error)` is called on the journal's thread after it.

        With `forgets`, what the transaction replaces or deletes is gone from the write-ahead log, too.
        """
        self._entries.put(_Entry(work, done, forgets))

    def call(self, work: Callable[[sqlite3.Connection], T], *, forgets: bool = False) -> T:
        """`submit`, and wait; for threads only. Raises DiskFailure or NoSpace."""
        outcome: queue.SimpleQueue[tuple[Any, HaulError | None]] = queue.SimpleQueue()
        self.submit(work, lambda value, error: outcome.put((value, error)), forgets=forgets)
        value, error = outcome.get()
        if error is not None:
            raise error
        result: T = value
        return result

    def _run(self) -> None:
        while True:
            entry = self._entries.get()
            if entry is None:
                return
            group = [entry]
            ended = False
            while len(group) < _GROUP:
                try:
                    entry = self._entries.get_nowait()
                except queue.Empty:
                    break
                if entry is None:
                    ended = True
                    break
                group.append(entry)
            self._commit(group)
            if ended:
                return

    def _commit(self, group: list[_Entry]) -> None:
        values: list[Any] = [None] * len(group)
        failure: HaulError | None = None
        while True:
            try:
                values = self._transact(group)
            except (sqlite3.Error, HaulError, ValueError, TypeError, LookupError) as error:
                self._roll_back()
                full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
                _log.exception("journal.commit_failed", entries=len(group))
                if full and not self._stopping.wait(_RETRY_FULL_SECONDS):
                    continue
                failure = (
                    NoSpace("the journal's disk is full") if full else DiskFailure("the journal cannot be written")
                )
            break
        for entry, value in zip(group, values, strict=True):
            if entry.done is not None:
                entry.done(value, failure)

    def _transact(self, group: Sequence[_Entry]) -> list[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        changes = self._connection.total_changes
        values = [entry.work(self._connection) for entry in group]
        changes = self._connection.total_changes - changes
        if changes:
            failpoints.hit("journal.before_commit")
        self._connection.execute("COMMIT")
        if changes:
            failpoints.hit("journal.after_commit")
        if any(entry.forgets for entry in group):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return values

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _add_missing_columns(connection: sqlite3.Connection) -> None:
    """A journal that an older target has left goes on."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(results)")}
    if "attempts" not in columns:
        connection.execute("ALTER TABLE results ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1")


def _load(connection: sqlite3.Connection) -> list[Share]:
    """All shares; what belongs to none is removed, because one stray row must not keep a target from its work."""
    shares: dict[int, Share] = {}
    orphans: set[int] = set()
    rooms: dict[str, Room] = {}
    rows = connection.execute("SELECT number, spec, state, sealed, started_ns, finished_ns FROM shares ORDER BY number")
    for number, spec, state, sealed, started_ns, finished_ns in rows:
        unpacked = JobSpec.unpack(spec)
        room = rooms.setdefault(unpacked.id, Room(unpacked.connections))
        share = Share(number, unpacked, state=State(state), started_ns=started_ns, room=room)
        share.sealed, share.finished_ns, share.has_history = bool(sealed), finished_ns, True
        shares[number] = share
    counts = connection.execute("SELECT share, outcome, count(*), sum(downloaded) FROM results GROUP BY share, outcome")
    for number, outcome, tasks, size_bytes in counts:
        if number in shares:
            count_result(shares[number], outcome, tasks, size_bytes)
        else:
            orphans.add(number)
    for share in shares.values():
        share.scheduled = share.finished + share.errors
    for number, next_seq in connection.execute("SELECT share, max(seq) + 1 FROM batches GROUP BY share"):
        if number in shares:
            shares[number].next_batch = next_seq
        else:
            orphans.add(number)
    for number in orphans:
        _log.warning("journal.orphans_removed", share=number)
        remove_share(connection, number)
    return list(shares.values())


def count_result(share: Share, outcome: int, tasks: int, size_bytes: int) -> None:
    """Add ended tasks to a share's figures."""
    if outcome == FAILED:
        share.errors += tasks
    else:
        share.finished += tasks
        share.bytes += size_bytes
        share.skipped += tasks if outcome == SKIPPED else 0
        share.removed += tasks if outcome == REMOVED else 0


def add_share(connection: sqlite3.Connection, spec: JobSpec, started_ns: int) -> int:
    """Record a share, or find it recorded; returns its number."""
    connection.execute(
        "INSERT OR IGNORE INTO shares (id, spec, state, sealed, started_ns, finished_ns) VALUES (?, ?, ?, 0, ?, 0)",
        (spec.share_id, spec.pack(), State.PREPARED.value, started_ns),
    )
    number: int = connection.execute("SELECT number FROM shares WHERE id = ?", (spec.share_id,)).fetchone()[0]
    return number


def add_batch(connection: sqlite3.Connection, number: int, seq: int, tasks: Sequence[TaskSpec], *, last: bool) -> bool:
    """Record one numbered batch of tasks; again is harmless. The last one seals the share. False: no such share."""
    if connection.execute("SELECT 1 FROM shares WHERE number = ?", (number,)).fetchone() is None:
        return False
    if tasks:
        row = (number, seq, len(tasks), pack_tasks(tasks))
        connection.execute("INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?)", row)
    if last:
        connection.execute("UPDATE shares SET sealed = 1 WHERE number = ?", (number,))
    return True


def read_batch(connection: sqlite3.Connection, number: int, seq: int) -> list[TaskSpec]:
    """The tasks of one batch; empty when there is no such batch."""
    row = connection.execute("SELECT tasks FROM batches WHERE share = ? AND seq = ?", (number, seq)).fetchone()
    return [] if row is None else unpack_tasks(row[0])


def set_state(connection: sqlite3.Connection, share: Share, state: State, finished_ns: int = 0) -> bool:
    """Record a share's state; one that ends forgets its secrets. False: it has ended before, and stays as it is."""
    changed = connection.execute(
        "UPDATE shares SET state = ?, finished_ns = ? WHERE number = ? AND finished_ns = 0",
        (state.value, finished_ns, share.number),
    )
    if not changed.rowcount:
        return False
    if finished_ns:
        spec = share.spec.without_secrets()
        connection.execute("UPDATE shares SET spec = ? WHERE number = ?", (spec.pack(), share.number))
        _cut_secrets(connection, share.number)
    return True


def set_paused(connection: sqlite3.Connection, share: Share, *, paused: bool) -> None:
    """Record that a share that has not ended rests, or goes on."""
    state = State.PAUSED if paused else State.RUNNING
    connection.execute("UPDATE shares SET state = ? WHERE number = ? AND finished_ns = 0", (state.value, share.number))


def _cut_secrets(connection: sqlite3.Connection, number: int) -> None:
    """Keep of the links what may be shown; those that were more end with a question mark."""
    for (seq,) in connection.execute("SELECT seq FROM batches WHERE share = ?", (number,)).fetchall():
        tasks = read_batch(connection, number, seq)
        shown = [task._replace(link=shown_link(task.link)) for task in tasks]
        if shown != tasks:
            connection.execute(
                "UPDATE batches SET tasks = ? WHERE share = ? AND seq = ?", (pack_tasks(shown), number, seq)
            )


def pack_tasks(tasks: Sequence[TaskSpec]) -> bytes:
    """Tasks as they are kept: msgpack, compressed."""
    return zlib.compress(msgpack.packb(tasks), level=1)


def unpack_tasks(packed: bytes) -> list[TaskSpec]:
    """The tasks that `pack_tasks` packed."""
    return [TaskSpec.from_plain(task) for task in msgpack.unpackb(zlib.decompress(packed))]


def remove_share(connection: sqlite3.Connection, number: int) -> None:
    """Forget a share altogether."""
    for table, key in (("results", "share"), ("batches", "share"), ("story", "share"), ("shares", "number")):
        connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (number,))  # noqa: S608 - constants above


def add_results(connection: sqlite3.Connection, results: Sequence[Result]) -> None:
    """Record the ends of tasks; a result that is there already stays."""
    for begin in range(0, len(results), _ROWS_AT_ONCE):
        values: list[object] = []
        rows = results[begin : begin + _ROWS_AT_ONCE]
        for task, outcome, downloaded, total, end_ns, error in rows:
            share = task.share
            name = None if share.spec.template else task.name
            values += (share.number, task.position, name, outcome, downloaded, total, task.start_ns, end_ns, error)
            values.append(task.attempts)
        connection.execute(_insert_results(len(rows)), values)


@functools.cache
def _insert_results(rows: int) -> str:
    """One statement for many rows: each step of a statement gives the interpreter lock away and wants it back."""
    places = ",".join(["(?,?,?,?,?,?,?,?,?,?)"] * rows)
    return f"INSERT OR IGNORE INTO results VALUES {places}"  # noqa: S608 - nothing but places for values


def read_ended(
    connection: sqlite3.Connection, number: int, begin: int, end: int, *, failed_only: bool
) -> dict[int, Ended]:
    """How the tasks between two positions have ended, by position."""
    condition = f"AND outcome = {FAILED}" if failed_only else ""
    rows = connection.execute(
        "SELECT position, outcome, total, start_ns, end_ns, error, attempts FROM results "  # noqa: S608 - a constant
        f"WHERE share = ? AND position >= ? AND position < ? {condition}",
        (number, begin, end),
    )
    return {position: Ended(*fields) for position, *fields in rows}


def add_line(connection: sqlite3.Connection, number: int, limit: int, line: StoryLine) -> None:
    """Add to a share's story, which keeps the newest lines up to `limit`."""
    connection.execute(
        "INSERT INTO story SELECT ?, coalesce(max(line), 0) + 1, ?, ?, ?, ?, ? FROM story WHERE share = ?",
        (number, *line, number),
    )
    connection.execute(
        "DELETE FROM story WHERE share = ? AND line <= (SELECT max(line) FROM story WHERE share = ?) - ?",
        (number, number, limit),
    )


def read_story(connection: sqlite3.Connection, number: int) -> list[StoryLine]:
    """A share's story, the oldest line first."""
    rows = connection.execute(
        "SELECT at_ns, origin, before, after, why FROM story WHERE share = ? ORDER BY line", (number,)
    )
    return [StoryLine(*row) for row in rows]


def ended_positions(connection: sqlite3.Connection, number: int, begin: int, end: int) -> set[int]:
    """Which tasks between two positions have ended."""
    rows = connection.execute(
        "SELECT position FROM results WHERE share = ? AND position >= ? AND position < ?", (number, begin, end)
    )
    return {position for (position,) in rows}


def read_results(
    connection: sqlite3.Connection, number: int, *, after: int, limit: int, failed_only: bool
) -> list[TaskProgress]:
    """Ended tasks by position; the names of a range job are empty, its template has them."""
    condition = f"AND outcome = {FAILED}" if failed_only else f"AND outcome >= {FINISHED}"
    rows = connection.execute(
        "SELECT position, coalesce(name, ''), downloaded, total, start_ns, end_ns, error FROM results "  # noqa: S608 - one of two constants
        f"WHERE share = ? AND position > ? {condition} ORDER BY position LIMIT ?",
        (number, after, limit),
    )
    return [TaskProgress(*row) for row in rows]
