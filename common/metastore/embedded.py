"""The meta store of one machine: one SQLite file (`database`) that every process opens itself, with one thread each.

The thread does whatever waits as one SQLite transaction, so that many callers share its few milliseconds, and looks
for other processes' changes in between. Deciding what a call changes is left to `database`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from common.clock import boottime
from common.errors import HaulError, Unavailable
from common.metastore.base import (
    Change,
    Compare,
    Event,
    KeyValue,
    Lease,
    Listing,
    Operation,
    TransactionResult,
    check_key,
    check_lease_id,
    check_prefix,
    check_transaction,
    check_ttl,
    check_watch,
    is_lease_id,
)
from common.metastore.database import Database, read_boot_id
from common.metastore.subscription import Beginning, Subscription

T = TypeVar("T")

_MAX_GROUP: Final = 64


@dataclass(frozen=True, slots=True)
class _Request:
    """A call that waits for the thread."""

    call: Callable[[Database], Any]
    writes: bool
    future: asyncio.Future[Any]


class EmbeddedStore:
    """A `MetaStore` in a file; the file's directory must exist, and be on a local file system."""

    def __init__(
        self,
        path: Path,
        *,
        poll_seconds: float = 0.05,
        keep_revisions: int = 2_000,
        lock_timeout_seconds: float = 5.0,
        clock: Callable[[], float] = boottime,
        boot_id: Callable[[], str] = read_boot_id,
    ) -> None:
        self._database = Database(path, keep_revisions, lock_timeout_seconds, clock, boot_id)
        self._poll_seconds = poll_seconds
        self._subscriptions: set[Subscription] = set()
        self._worker: _Worker | None = None

    @property
    def incarnation(self) -> str:
        return self._database.incarnation

    async def start(self) -> None:
        worker = _Worker(self._database, self._poll_seconds, self._subscriptions)
        worker.start()
        try:
            await worker.opened
        except BaseException:
            await worker.stop()
            raise
        self._worker = worker

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        for subscription in self._subscriptions:
            subscription.end()
        if worker is not None:
            await worker.stop()

    async def get(self, key: str) -> KeyValue | None:
        check_key(key)
        return await self._run(lambda database: database.get(key), writes=False)

    async def list(self, prefix: str) -> Listing:
        check_prefix(prefix)
        return await self._run(lambda database: database.list(prefix), writes=False)

    async def transaction(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TransactionResult:
        check_transaction(compares, operations)
        return await self._run(lambda database: database.transaction(compares, operations), writes=bool(operations))

    async def grant(self, ttl_seconds: float) -> Lease:
        check_ttl(ttl_seconds)
        return await self._run(lambda database: database.grant(ttl_seconds), writes=True)

    async def keep_alive(self, lease_id: int) -> float:
        check_lease_id(lease_id)
        return await self._run(lambda database: database.keep_alive(lease_id), writes=True)

    async def revoke(self, lease_id: int) -> None:
        if is_lease_id(lease_id):
            await self._run(lambda database: database.revoke(lease_id), writes=True)

    async def watch(self, prefix: str, from_revision: int | None = None) -> AsyncGenerator[Event, None]:
        check_watch(prefix, from_revision)
        subscription = Subscription(prefix)
        self._subscriptions.add(subscription)

        async def begin(first_revision: int | None) -> Beginning:
            return await self._run(lambda database: database.begin_watch(prefix, first_revision), writes=False)

        try:
            async for event in subscription.follow(from_revision, begin):
                yield event
        finally:
            self._subscriptions.discard(subscription)

    async def _run(self, call: Callable[[Database], T], *, writes: bool) -> T:
        if self._worker is None:
            raise _closed()
        return await self._worker.run(call, writes=writes)


class _Worker:
    """The thread that owns the connection; it reaches the event loop only through `call_soon_threadsafe`."""

    def __init__(self, database: Database, poll_seconds: float, subscriptions: set[Subscription]) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._subscriptions = subscriptions
        self._loop = asyncio.get_running_loop()
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._running: Sequence[_Request] = ()
        self._published_revision = 0
        self._must_publish = False
        self._ended = False
        self._all_done = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="metastore", daemon=True)
        self.opened: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """What waits already is still done."""
        self._requests.put(None)
        await self._all_done.wait()
        self._thread.join()

    async def run(self, call: Callable[[Database], T], *, writes: bool) -> T:
        if self._ended:
            raise _closed()
        future: asyncio.Future[T] = self._loop.create_future()
        self._requests.put(_Request(call, writes, future))
        return await future

    def _work(self) -> None:
        try:
            if self._open():
                while self._turn():
                    pass
        finally:
            self._database.close()
            self._post(self._finish)

    def _open(self) -> bool:
        try:
            self._database.open()
        except HaulError as error:
            self._post(_settle, self.opened, error)
            return False
        return self._post(_settle, self.opened, None)

    def _turn(self) -> bool:
        """Does what waits and tells what has changed; false when it was the last time."""
        requests, goes_on = self._take()
        self._running = requests
        if requests and not self._post(_settle_all, requests, self._do(requests)):
            return False
        if self._database.poll() or requests:
            self._must_publish = True
        if self._must_publish:
            self._publish()
        return goes_on and not self._loop.is_closed()

    def _take(self) -> tuple[Sequence[_Request], bool]:
        requests: list[_Request] = []
        try:
            request = self._requests.get(timeout=self._poll_seconds)
            while request is not None:
                requests.append(request)
                if len(requests) == _MAX_GROUP:
                    return requests, True
                request = self._requests.get_nowait()
        except queue.Empty:
            return requests, True
        return requests, False

    def _do(self, requests: Sequence[_Request]) -> Sequence[Any]:
        writes = any(request.writes for request in requests)
        try:
            return self._database.run([request.call for request in requests], writes=writes)
        except Unavailable as error:
            return [
                Unavailable(error.message, maybe_applied=error.maybe_applied and request.writes) for request in requests
            ]
        except HaulError as error:
            return [error] * len(requests)

    def _publish(self) -> None:
        """Offers all changes since the last time to the watches; also ends leases that nobody else has ended."""
        call = self._changes if self._subscriptions else _no_changes
        try:
            (outcome,) = self._database.run([call], writes=False)
        except HaulError:
            return  # the next turn tries again
        assert not isinstance(outcome, HaulError)
        self._published_revision, changes = outcome
        self._must_publish = False
        if changes is None or changes:
            self._post(_offer, self._subscriptions, changes)

    def _changes(self, database: Database) -> tuple[int, Sequence[Change] | None]:
        return database.changes_after(self._published_revision)

    def _post(self, function: Callable[..., None], *arguments: object) -> bool:
        """Has a function called on the event loop; false when that has been closed without closing the store."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return True

    def _finish(self) -> None:
        self._ended = True
        for request in self._running:
            _settle(request.future, _closed())
        while not self._requests.empty():
            if waiting := self._requests.get_nowait():
                _settle(waiting.future, _closed())
        for subscription in self._subscriptions:
            subscription.end()
        self._all_done.set()


def _no_changes(database: Database) -> tuple[int, Sequence[Change] | None]:
    return database.revision(), ()


def _closed() -> Unavailable:
    return Unavailable("the meta store is not open")


def _offer(subscriptions: set[Subscription], changes: Sequence[Change] | None) -> None:
    for subscription in subscriptions:
        if changes is None:
            subscription.lag()
        else:
            subscription.offer(changes)


def _settle_all(requests: Sequence[_Request], outcomes: Sequence[Any]) -> None:
    for request, outcome in zip(requests, outcomes, strict=True):
        _settle(request.future, outcome)


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, HaulError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
