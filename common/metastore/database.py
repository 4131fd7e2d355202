"""The SQLite file of the embedded meta store: revisions, leases, compaction; threads are left to `embedded`.

Every process of the machine that needs the store opens the file itself. Rollback journal (TRUNCATE) with
synchronous=EXTRA, because what was acknowledged then survives a power loss, and because WAL with several writers can
corrupt the file in SQLite before 3.51.3. A row of `log` is one changed key; a transaction's revision is the number
(`seq`) of its last row, so that revisions grow strictly, even across compactions, and need no counter beside the log.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from common.clock import monotonic
from common.errors import HaulError, Unavailable
from common.metastore.base import (
    Change,
    Compare,
    DeleteEvent,
    KeyValue,
    Lease,
    LeaseLost,
    Listing,
    Operation,
    Put,
    PutEvent,
    Resync,
    TransactionResult,
    WrongIncarnation,
)
from common.metastore.subscription import Beginning

T = TypeVar("T")

_APPLICATION_ID: Final = 0x4861756C  # "Haul"
_SCHEMA_VERSION: Final = 1
_LOCK_RETRY_SECONDS: Final = 0.0003
_SCHEMA: Final = (
    """CREATE TABLE store (
        id INTEGER PRIMARY KEY CHECK (id = 1), incarnation TEXT NOT NULL, boot_id TEXT NOT NULL,
        compacted_rev INTEGER NOT NULL)""",
    """CREATE TABLE log (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, rev INTEGER NOT NULL, key BLOB NOT NULL, value BLOB, lease INTEGER,
        create_rev INTEGER NOT NULL, prev_rev INTEGER NOT NULL, deleted INTEGER NOT NULL, UNIQUE (key, prev_rev))""",
    """CREATE TABLE current (
        key BLOB PRIMARY KEY, value BLOB NOT NULL, lease INTEGER,
        create_rev INTEGER NOT NULL, mod_rev INTEGER NOT NULL)""",
    "CREATE INDEX current_by_lease ON current (lease) WHERE lease IS NOT NULL",
    "CREATE TABLE leases (id INTEGER PRIMARY KEY, ttl_seconds REAL NOT NULL, ends_at REAL NOT NULL)",
    "CREATE INDEX leases_by_end ON leases (ends_at)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_ITEM: Final = "SELECT key, value, create_rev, mod_rev, lease FROM current"


def read_boot_id() -> str:
    """Names the time since the machine was started last; `boottime` of two different ones cannot be compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Database:
    """One connection to the file, to be used by one thread."""

    def __init__(
        self,
        path: Path,
        keep_revisions: int,
        lock_timeout_seconds: float,
        clock: Callable[[], float],
        boot_id: Callable[[], str],
    ) -> None:
        self._path = path
        self._keep_revisions = keep_revisions
        self._lock_timeout_seconds = lock_timeout_seconds
        self._clock = clock
        self._boot_id = boot_id
        self._connection: sqlite3.Connection | None = None
        self._data_version = -1
        self._now = 0.0
        self.incarnation = ""

    def open(self) -> None:
        """Makes the file when there is none; `run` makes good a lost connection later on, but never a lost file."""
        try:
            if not self._path.exists():
                _create_file(self._path)
            self._connect()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise _unavailable(error) from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def run(self, calls: Sequence[Callable[[Database], T]], *, writes: bool) -> Sequence[T | HaulError]:
        """Does the calls, in order, in one SQLite transaction; each has its own result or error.

        `Unavailable` when the transaction as a whole has failed: then no call has happened, or it is unknown.
        """
        commits = False
        try:
            connection = self._connection or self._connect()
            self._begin(connection, writes)
            outcomes = [self._outcome(call) for call in calls]
            commits = True
            self._when_unlocked(connection, "COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            raise _unavailable(error, maybe_applied=commits and writes and not _is_locked(error)) from error
        return outcomes

    def poll(self) -> bool:
        """Whether another process may have changed something since the last call, or a lease has ended; never waits."""
        try:
            connection = self._connection or self._connect()
            (data_version,) = connection.execute("PRAGMA data_version").fetchone()
            changed = data_version != self._data_version or self._lease_has_ended(connection)
            self._data_version = data_version
        except (sqlite3.Error, OSError, HaulError) as error:
            self._give_up(error)
            return False
        return changed

    def get(self, key: str) -> KeyValue | None:
        row = self._open_connection.execute(f"{_ITEM} WHERE key = ?", (key.encode(),)).fetchone()
        return _item(row) if row else None

    def list(self, prefix: str) -> Listing:
        rows = self._open_connection.execute(f"{_ITEM} WHERE key >= ? AND key < ? ORDER BY key", _key_range(prefix))
        return Listing(self.revision(), tuple(_item(row) for row in rows))

    def revision(self) -> int:
        row = self._open_connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
        return int(row[0]) if row else 0

    def transaction(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TransactionResult:
        current = {compare.key: self.get(compare.key) for compare in compares}
        for compare in compares:
            item = current[compare.key]
            if (item.mod_revision if item else 0) != compare.mod_revision:
                return TransactionResult(False, self.revision(), current)
        for lease_id in {operation.lease_id for operation in operations if isinstance(operation, Put)} - {None}:
            self._require_lease(lease_id)
        return TransactionResult(True, self._apply(operations))

    def grant(self, ttl_seconds: float) -> Lease:
        lease_id = secrets.randbelow(1 << 62) + 1
        row = (lease_id, ttl_seconds, self._now + ttl_seconds)
        self._open_connection.execute("INSERT INTO leases VALUES (?, ?, ?)", row)
        return Lease(lease_id, ttl_seconds)

    def keep_alive(self, lease_id: int) -> float:
        ttl_seconds = self._require_lease(lease_id)
        self._open_connection.execute("UPDATE leases SET ends_at = ? WHERE id = ?", (self._now + ttl_seconds, lease_id))
        return ttl_seconds

    def revoke(self, lease_id: int) -> None:
        connection = self._open_connection
        if not connection.execute("DELETE FROM leases WHERE id = ?", (lease_id,)).rowcount:
            return
        rows = connection.execute(f"{_ITEM} WHERE lease = ? ORDER BY key", (lease_id,)).fetchall()
        items = [_item(row) for row in rows]
        self._append([(item, None) for item in items])

    def begin_watch(self, prefix: str, first_revision: int | None) -> Beginning:
        current_revision = self.revision()
        if first_revision is None or not self._compacted_revision() < first_revision <= current_revision + 1:
            listing = self.list(prefix)
            return Beginning(listing.revision, (Resync(listing.revision, listing.items),))
        before = self._open_connection.execute(
            "SELECT seq FROM log WHERE seq < ? AND rev < ? ORDER BY seq DESC LIMIT 1", (first_revision, first_revision)
        ).fetchone()
        return Beginning(current_revision, self._changes(before[0] if before else 0, *_key_range(prefix)))

    def changes_after(self, revision: int) -> tuple[int, Sequence[Change] | None]:
        """The current revision, and all changes since another; None when they are no longer there."""
        if self._compacted_revision() > revision:
            return self.revision(), None
        return self.revision(), self._changes(revision, *_key_range(""))

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("no connection")
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        # Not our own file descriptor anywhere: closing one would drop SQLite's locks of this whole process.
        uri = f"file:{quote(str(self._path.absolute()))}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
        try:
            # Spilling needs the exclusive lock in the middle of a transaction, where waiting for it would be no good.
            for pragma in ("journal_mode = TRUNCATE", "synchronous = EXTRA", "cache_spill = OFF"):
                self._when_unlocked(connection, f"PRAGMA {pragma}")
            self._when_unlocked(connection, "BEGIN IMMEDIATE")
            incarnation = self._prepare(connection)
            self._when_unlocked(connection, "COMMIT")
        except BaseException:
            connection.close()
            raise
        self.incarnation = incarnation
        self._connection = connection
        self._data_version = -1
        return connection

    def _give_up(self, error: BaseException) -> None:
        """Rolls back by closing; only a lock met outside of a transaction leaves the connection as good as new."""
        if self._connection is None or self._connection.in_transaction or not _is_locked(error):
            self.close()

    def _prepare(self, connection: sqlite3.Connection) -> str:
        """Makes the tables of a new file; gives every lease its full time when the machine has been restarted."""
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (schema_version,) = connection.execute("PRAGMA user_version").fetchone()
        boot_id = self._boot_id()
        is_empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if is_empty and application_id == schema_version == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO store VALUES (1, ?, ?, 0)", (secrets.token_hex(16), boot_id))
        elif (application_id, schema_version) != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise WrongIncarnation("the meta store's file was not written by this version of Haul")
        incarnation, seen_boot_id = connection.execute("SELECT incarnation, boot_id FROM store").fetchone()
        if self.incarnation not in {"", incarnation}:
            raise WrongIncarnation("another meta store has taken the place of the one that was opened")
        if seen_boot_id != boot_id:
            connection.execute("UPDATE leases SET ends_at = ttl_seconds + ?", (self._clock(),))
            connection.execute("UPDATE store SET boot_id = ?", (boot_id,))
        return str(incarnation)

    def _when_unlocked(self, connection: sqlite3.Connection, statement: str) -> None:
        """SQLite's own waiting sleeps up to 100 ms at a time: whoever has waited longest would wait longest again."""
        deadline = monotonic() + self._lock_timeout_seconds
        while True:
            try:
                connection.execute(statement).fetchone()
            except sqlite3.OperationalError as error:
                if not _is_locked(error) or monotonic() >= deadline:
                    raise
                time.sleep(_LOCK_RETRY_SECONDS)
            else:
                return

    def _begin(self, connection: sqlite3.Connection, writes: bool) -> None:
        """Begins a transaction in which no lease is left that has ended."""
        if not writes:
            connection.execute("BEGIN")
            self._when_unlocked(connection, "SELECT 1 FROM store")
            if not self._lease_has_ended(connection):
                return
            connection.execute("COMMIT")
        self._when_unlocked(connection, "BEGIN IMMEDIATE")
        # Read while the lock is held: a lease is counted from here, so waiting for the lock makes none end early.
        self._now = self._clock()
        for (lease_id,) in connection.execute("SELECT id FROM leases WHERE ends_at <= ?", (self._now,)).fetchall():
            self.revoke(lease_id)

    def _outcome(self, call: Callable[[Database], T]) -> T | HaulError:
        try:
            return call(self)
        except HaulError as error:
            return error

    def _lease_has_ended(self, connection: sqlite3.Connection) -> bool:
        ended = connection.execute("SELECT 1 FROM leases WHERE ends_at <= ? LIMIT 1", (self._clock(),)).fetchone()
        return ended is not None

    def _require_lease(self, lease_id: int | None) -> float:
        row = self._open_connection.execute("SELECT ttl_seconds FROM leases WHERE id = ?", (lease_id,)).fetchone()
        if row is None:
            raise LeaseLost(lease_id or 0)
        return float(row[0])

    def _apply(self, operations: Sequence[Operation]) -> int:
        changes: list[tuple[KeyValue, Put | None]] = []
        for operation in operations:
            item = self.get(operation.key)
            if isinstance(operation, Put):
                changes.append((item or KeyValue(operation.key, b"", 0, 0), operation))
            elif item is not None:
                changes.append((item, None))
        return self._append(changes)

    def _append(self, changes: Sequence[tuple[KeyValue, Put | None]]) -> int:
        """Writes what becomes of keys (None: they go) to the log and the current view; the revision."""
        connection = self._open_connection
        seq = self.revision()
        revision = seq + len(changes)
        for old, new in changes:
            seq += 1
            key = old.key.encode()
            previous = old.mod_revision or self._last_logged_revision(key)
            created = old.create_revision or revision
            value, lease = (new.value, new.lease_id) if new else (None, None)
            row = (seq, revision, key, value, lease, created, previous, new is None)
            connection.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            if new is None:
                connection.execute("DELETE FROM current WHERE key = ?", (key,))
            else:
                item = (key, value, lease, created, revision)
                connection.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?, ?, ?)", item)
        self._compact(revision)
        return revision

    def _last_logged_revision(self, key: bytes) -> int:
        """For a key that is made anew while the log still has how it went."""
        (revision,) = self._open_connection.execute("SELECT max(rev) FROM log WHERE key = ?", (key,)).fetchone()
        return revision or 0

    def _compact(self, revision: int) -> None:
        keep_after = revision - self._keep_revisions
        # In steps: deleting a row with every row that comes would double the work of each transaction.
        if keep_after - self._compacted_revision() <= self._keep_revisions // 8:
            return
        self._open_connection.execute("DELETE FROM log WHERE seq <= ? AND rev <= ?", (keep_after, keep_after))
        self._open_connection.execute("UPDATE store SET compacted_rev = ?", (keep_after,))

    def _compacted_revision(self) -> int:
        (revision,) = self._open_connection.execute("SELECT compacted_rev FROM store").fetchone()
        return int(revision)

    def _changes(self, after_seq: int, first_key: bytes, end_key: bytes) -> Sequence[Change]:
        rows = self._open_connection.execute(
            "SELECT deleted, key, value, create_rev, rev, lease FROM log"
            " WHERE seq > ? AND key >= ? AND key < ? ORDER BY seq",
            (after_seq, first_key, end_key),
        )
        return [DeleteEvent(row[1].decode(), row[4]) if row[0] else PutEvent(_item(row[1:])) for row in rows]


def _create_file(path: Path) -> None:
    """Makes an empty file that only its owner can read, durably; harmless when another process is quicker."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _item(row: tuple[bytes, bytes, int, int, int | None]) -> KeyValue:
    key, value, create_revision, mod_revision, lease_id = row
    return KeyValue(key.decode(), value, create_revision, mod_revision, lease_id)


def _key_range(prefix: str) -> tuple[bytes, bytes]:
    """The first key of a prefix and the first one after them all; no byte of UTF-8 is 255, so adding one is safe."""
    encoded = prefix.encode()
    return encoded, encoded[:-1] + bytes((encoded[-1] + 1,)) if encoded else b"\xff"


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }


def _unavailable(error: sqlite3.Error | OSError, *, maybe_applied: bool = False) -> Unavailable:
    """Without paths: SQLite's texts have none, and of the system's only the reason is taken."""
    if _is_locked(error):
        return Unavailable("the meta store is locked by another process")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return Unavailable(f"the meta store has failed: {reason}", maybe_applied=maybe_applied)
