"""The meta store in memory, for tests; keeping anything beyond the process is left to the other implementations."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

from common.clock import boottime
from common.errors import Unavailable
from common.metastore.base import (
    Change,
    Compare,
    DeleteEvent,
    Event,
    KeyValue,
    Lease,
    LeaseLost,
    Listing,
    Operation,
    Put,
    PutEvent,
    Resync,
    TransactionResult,
    check_key,
    check_lease_id,
    check_prefix,
    check_transaction,
    check_ttl,
    check_watch,
)
from common.metastore.subscription import Beginning, Subscription


class MemoryStore:
    """A `MetaStore` made of dictionaries; all calls belong to one event loop."""

    def __init__(self, *, keep_revisions: int = 2_000, clock: Callable[[], float] = boottime) -> None:
        self._keep_revisions = keep_revisions
        self._clock = clock
        self._incarnation = secrets.token_hex(16)
        self._revision = 0
        self._compacted_revision = 0
        self._items: dict[str, KeyValue] = {}
        self._log: deque[tuple[int, Sequence[Change]]] = deque()
        self._leases: dict[int, tuple[float, float]] = {}  # lease -> (granted seconds, end on the clock)
        self._subscriptions: set[Subscription] = set()
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._open = False

    @property
    def incarnation(self) -> str:
        return self._incarnation

    async def start(self) -> None:
        self._open = True
        self._expire_leases()

    async def close(self) -> None:
        self._open = False
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        for subscription in self._subscriptions:
            subscription.end()

    async def get(self, key: str) -> KeyValue | None:
        check_key(key)
        await self._enter()
        return self._items.get(key)

    async def list(self, prefix: str) -> Listing:
        check_prefix(prefix)
        await self._enter()
        return self._listing(prefix)

    async def transaction(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TransactionResult:
        check_transaction(compares, operations)
        await self._enter()
        current = {compare.key: self._items.get(compare.key) for compare in compares}
        for compare in compares:
            item = current[compare.key]
            if (item.mod_revision if item else 0) != compare.mod_revision:
                return TransactionResult(False, self._revision, current)
        for operation in operations:
            if isinstance(operation, Put) and operation.lease_id is not None and operation.lease_id not in self._leases:
                raise LeaseLost(operation.lease_id)
        self._apply(operations)
        return TransactionResult(True, self._revision)

    async def grant(self, ttl_seconds: float) -> Lease:
        check_ttl(ttl_seconds)
        await self._enter()
        lease_id = secrets.randbelow(1 << 62) + 1
        self._leases[lease_id] = (ttl_seconds, self._clock() + ttl_seconds)
        self._expire_leases()
        return Lease(lease_id, ttl_seconds)

    async def keep_alive(self, lease_id: int) -> float:
        check_lease_id(lease_id)
        await self._enter()
        if lease_id not in self._leases:
            raise LeaseLost(lease_id)
        ttl_seconds = self._leases[lease_id][0]
        self._leases[lease_id] = (ttl_seconds, self._clock() + ttl_seconds)
        return ttl_seconds

    async def revoke(self, lease_id: int) -> None:
        await self._enter()
        self._revoke(lease_id)

    async def watch(self, prefix: str, from_revision: int | None = None) -> AsyncGenerator[Event, None]:
        check_watch(prefix, from_revision)
        subscription = Subscription(prefix)
        self._subscriptions.add(subscription)

        async def begin(first_revision: int | None) -> Beginning:
            await self._enter()
            return self._beginning(prefix, first_revision)

        try:
            async for event in subscription.follow(from_revision, begin):
                yield event
        finally:
            self._subscriptions.discard(subscription)

    async def _enter(self) -> None:
        """Lets others go first, as every store that does real work would, so that races show in tests."""
        await asyncio.sleep(0)
        if not self._open:
            raise Unavailable("the meta store is not open")
        self._expire_leases()

    def _listing(self, prefix: str) -> Listing:
        return Listing(self._revision, tuple(self._items[key] for key in sorted(self._items) if key.startswith(prefix)))

    def _beginning(self, prefix: str, first_revision: int | None) -> Beginning:
        if first_revision is None or not self._compacted_revision < first_revision <= self._revision + 1:
            listing = self._listing(prefix)
            return Beginning(listing.revision, (Resync(listing.revision, listing.items),))
        changes = [
            change
            for revision, group in self._log
            if revision >= first_revision
            for change in group
            if change.key.startswith(prefix)
        ]
        return Beginning(self._revision, changes)

    def _apply(self, operations: Sequence[Operation]) -> None:
        revision = self._revision + 1
        changes: list[Change] = []
        for operation in operations:
            old = self._items.pop(operation.key, None)
            if isinstance(operation, Put):
                created = old.create_revision if old else revision
                item = KeyValue(operation.key, operation.value, created, revision, operation.lease_id)
                self._items[operation.key] = item
                changes.append(PutEvent(item))
            elif old is not None:
                changes.append(DeleteEvent(operation.key, revision))
        self._publish(revision, changes)

    def _publish(self, revision: int, changes: Sequence[Change]) -> None:
        if not changes:
            return
        self._revision = revision
        self._log.append((revision, changes))
        while len(self._log) > self._keep_revisions:
            self._compacted_revision = self._log.popleft()[0]
        for subscription in self._subscriptions:
            subscription.offer(changes)

    def _revoke(self, lease_id: int) -> None:
        if self._leases.pop(lease_id, None) is None:
            return
        revision = self._revision + 1
        keys = sorted(key for key, item in self._items.items() if item.lease_id == lease_id)
        for key in keys:
            del self._items[key]
        self._publish(revision, [DeleteEvent(key, revision) for key in keys])

    def _expire_leases(self) -> None:
        now = self._clock()
        for lease_id in [lease_id for lease_id, (_, end) in self._leases.items() if end <= now]:
            self._revoke(lease_id)
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
            self._expiry_timer = None
        if self._leases:
            wait_seconds = min(end for _, end in self._leases.values()) - now
            self._expiry_timer = asyncio.get_running_loop().call_later(wait_seconds, self._expire_leases)
