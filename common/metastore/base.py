"""The meta store as its users see it: interface, values, errors, limits; storing is left to the implementations.

Its words are etcd's, so that etcd can stand behind it: every transaction that changes something gets the next
revision, all its changes share that revision, and a key remembers the revisions that made it and changed it last.
Revisions grow strictly; they need not be consecutive. Nothing per object belongs in here.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from common.errors import InvalidRequest, PeerError, RequestTooLarge, Retry

# etcd refuses more than 128 operations and requests above 1.5 MiB; what works with one store must work with all.
MAX_KEY_BYTES: Final = 512
MAX_VALUE_BYTES: Final = 256 << 10
MAX_TRANSACTION_OPERATIONS: Final = 100
MAX_TRANSACTION_BYTES: Final = 1 << 20
MAX_TTL_SECONDS: Final = 366 * 86_400.0
MAX_INT64: Final = (1 << 63) - 1

ABSENT: Final = 0
"""As the revision of a `Compare`: the key does not exist."""


class LeaseLost(PeerError):
    """The lease has expired or was revoked, and its keys are gone; the holder must stop acting on it."""

    retry = Retry.NEVER

    def __init__(self, lease_id: int) -> None:
        super().__init__(f"lease {lease_id} has expired or was revoked")
        self.lease_id = lease_id


class WrongIncarnation(PeerError):
    """Another store has taken the place of the one that was opened: earlier revisions and leases mean nothing in it."""

    retry = Retry.NEVER


class TooLarge(RequestTooLarge):
    """A key, a value or a transaction is above the limits that hold for every implementation."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it is at one moment."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease_id: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys under a prefix as of `revision`, sorted by key."""

    revision: int
    items: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Demands that the key was last changed by `mod_revision`, or does not exist (`ABSENT`)."""

    key: str
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Sets a key; without `lease_id` the key is freed from the lease it may have had."""

    key: str
    value: bytes
    lease_id: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes a key; removing one that does not exist changes nothing."""

    key: str


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What a transaction did: all of it at `revision`, or nothing, and then `current` has every compared key."""

    succeeded: bool
    revision: int
    current: Mapping[str, KeyValue | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lease:
    """A granted lease; the store may grant more time than was asked for, never less."""

    id: int
    ttl_seconds: float


@dataclass(frozen=True, slots=True)
class Resync:
    """Forget what the watch has told so far: this is everything under the prefix as of `revision`."""

    revision: int
    snapshot: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class PutEvent:
    """A key was set."""

    item: KeyValue

    @property
    def revision(self) -> int:
        return self.item.mod_revision

    @property
    def key(self) -> str:
        return self.item.key


@dataclass(frozen=True, slots=True)
class DeleteEvent:
    """A key was removed, by an operation or with its lease."""

    key: str
    revision: int


Change = PutEvent | DeleteEvent
Event = Resync | Change


class MetaStore(Protocol):
    """A small, strictly consistent store shared by all proxies of a cluster.

    Every call may raise `Unavailable`; with `maybe_applied` a write may have happened all the same. Calls above the
    limits raise `TooLarge` and change nothing.
    """

    @property
    def incarnation(self) -> str:
        """Names this store's history; known once it has been started."""

    async def start(self) -> None: ...

    async def close(self) -> None:
        """Ends all watches, and lets go of every thread, file and connection."""

    async def get(self, key: str) -> KeyValue | None: ...

    async def list(self, prefix: str) -> Listing: ...

    async def transaction(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TransactionResult:
        """Does all operations at one revision if all compares hold, else nothing; a dead lease raises `LeaseLost`."""

    async def grant(self, ttl_seconds: float) -> Lease: ...

    async def keep_alive(self, lease_id: int) -> float:
        """Starts the lease's time anew; the seconds that remain, counted from a moment after the call was made."""

    async def revoke(self, lease_id: int) -> None:
        """Ends a lease and deletes its keys, at one revision; harmless when it has ended already."""

    def watch(self, prefix: str, from_revision: int | None = None) -> AsyncGenerator[Event, None]:
        """The changes under a prefix, in the order of their revisions, none left out and none twice.

        `from_revision` is the first revision wanted. Without it, and whenever the store no longer has the changes
        since then, the next event is a `Resync`. Ends when the store is closed; raises `Unavailable` when it cannot
        begin or begin again, and the caller then watches anew.
        """


async def put(store: MetaStore, key: str, value: bytes, lease_id: int | None = None) -> int:
    """Sets a key whatever it was; the revision."""
    return (await store.transaction((), (Put(key, value, lease_id),))).revision


async def create(store: MetaStore, key: str, value: bytes, lease_id: int | None = None) -> TransactionResult:
    """Sets a key only if it does not exist; `current[key]` is what was there."""
    return await store.transaction((Compare(key, ABSENT),), (Put(key, value, lease_id),))


async def compare_and_set(
    store: MetaStore, key: str, mod_revision: int, value: bytes, lease_id: int | None = None
) -> TransactionResult:
    """Sets a key only if nobody has changed it since `mod_revision`; `current[key]` is what it is instead."""
    return await store.transaction((Compare(key, mod_revision),), (Put(key, value, lease_id),))


async def delete(store: MetaStore, key: str) -> int:
    """Removes a key if it exists; the revision."""
    return (await store.transaction((), (Delete(key),))).revision


def check_key(key: str) -> int:
    """Refuses what is no key; its size in bytes."""
    if not key:
        raise InvalidRequest("a key of the meta store must not be empty")
    return check_prefix(key)


def check_prefix(prefix: str) -> int:
    """Refuses what cannot begin a key; its size in bytes."""
    try:
        size_bytes = len(prefix.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("a key of the meta store must be valid unicode") from None
    if size_bytes > MAX_KEY_BYTES:
        raise TooLarge(f"a key of the meta store has {size_bytes} bytes, and at most {MAX_KEY_BYTES} are accepted")
    return size_bytes


def check_transaction(compares: Sequence[Compare], operations: Sequence[Operation]) -> None:
    """Refuses a transaction above the limits, and one that changes a key twice."""
    if max(len(compares), len(operations)) > MAX_TRANSACTION_OPERATIONS:
        raise TooLarge(
            f"a transaction of the meta store has at most {MAX_TRANSACTION_OPERATIONS} operations and compares"
        )
    total_bytes = sum(check_key(compare.key) for compare in compares)
    for operation in operations:
        total_bytes += check_key(operation.key)
        if isinstance(operation, Put):
            total_bytes += _check_put(operation)
    if total_bytes > MAX_TRANSACTION_BYTES:
        raise TooLarge(f"a transaction has {total_bytes} bytes, and at most {MAX_TRANSACTION_BYTES} are accepted")
    if len({operation.key for operation in operations}) < len(operations):
        raise InvalidRequest("a transaction of the meta store must not change a key twice")


def _check_put(operation: Put) -> int:
    size_bytes = len(operation.value)
    if size_bytes > MAX_VALUE_BYTES:
        raise TooLarge(f"a value of the meta store has {size_bytes} bytes, and at most {MAX_VALUE_BYTES} are accepted")
    if operation.lease_id is not None:
        check_lease_id(operation.lease_id)
    return size_bytes


def is_lease_id(lease_id: int) -> bool:
    """Whether a store can have granted a lease of that number."""
    return 0 < lease_id <= MAX_INT64


def check_lease_id(lease_id: int) -> None:
    """A number that no store grants is that of a lost lease."""
    if not is_lease_id(lease_id):
        raise LeaseLost(lease_id)


def check_ttl(ttl_seconds: float) -> None:
    """Refuses what is no time to live."""
    if not (math.isfinite(ttl_seconds) and 0 < ttl_seconds <= MAX_TTL_SECONDS):
        raise InvalidRequest("the time of a lease must be above 0 and at most 366 days")


def check_watch(prefix: str, from_revision: int | None) -> None:
    """Refuses what cannot be watched."""
    check_prefix(prefix)
    if from_revision is not None and not 0 < from_revision <= MAX_INT64:
        raise InvalidRequest("the first revision of a watch must be a positive number")
