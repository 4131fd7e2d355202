"""All buckets of the cluster as this proxy knows them: kept in the meta store, cached here, told to the targets.

What a record holds is decided in `common.buckets`. Every record has its own key; a counter beside them gives the table
its version and new buckets their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import structlog

from common import clock
from common.buckets import BucketRecord, BucketTable
from common.errors import BucketNotFound, PeerError, Unavailable
from common.metastore.base import ABSENT, Compare, Delete, Event, MetaStore, Operation, Put, Resync, TransactionResult
from common.moving import Moving
from common.names import Bucket
from proxy.membership import Membership
from proxy.peers import Peers

PREFIX = "buckets/"
_COUNTER = PREFIX + "counter"
_PUSH_SECONDS = 2.0
_DESTROY_SECONDS = 30.0
_ATTEMPTS = 50
_log = structlog.get_logger("proxy.buckets")


class ClaimLost(PeerError):
    """Somebody else has made the claimed bucket, or buckets were destroyed since: claim it again."""

    def __init__(self, cname: str) -> None:
        super().__init__(f'bucket "{cname}" is being made and destroyed at this moment; try again')


@dataclass(frozen=True, slots=True)
class Claim:
    """A bucket that something is about to be written for; one that is missing exists only once that is written.

    `table` is the table in which the bucket was missing and its id was taken, None if the bucket exists.
    """

    record: BucketRecord
    table: BucketTable | None = None

    def holds_in(self, table: BucketTable) -> bool:
        """Whether the bucket may be made under its id: it is still missing, and was missing all the time.

        A bucket's later incarnation must have the higher id. Whether any was destroyed, or changed, is seen from the
        version, which counts all changes, and the number of buckets.
        """
        if self.table is None or self.record.bucket.uname in table.records:
            return False
        return table.version - len(table.records) == self.table.version - len(self.table.records)


class Buckets:
    """The bucket table: reads from memory, misses and changes go to the store."""

    def __init__(self, store: MetaStore, membership: Membership, peers: Peers) -> None:
        self._store = store
        self._membership = membership
        self._peers = peers
        self._table = BucketTable()

    def __repr__(self) -> str:
        return f"<Buckets {self._table!r}>"

    @property
    def table(self) -> BucketTable:
        """The table as it was last seen; at most a moment old."""
        return self._table

    async def refresh(self) -> BucketTable:
        """Read the table anew; raises Unavailable."""
        table = (await self._read())[0]
        if table.version >= self._table.version:
            self._table = table
        return table

    async def on_event(self, event: Event) -> None:
        """Something changed in the store; every change of the table changes its counter."""
        if isinstance(event, Resync) or event.key == _COUNTER:
            await self.refresh()

    async def get(self, bucket: Bucket) -> BucketRecord:
        """The bucket's record; another proxy may have made it a moment ago. Raises BucketNotFound, Unavailable."""
        record = self._table.records.get(bucket.uname)
        return record if record is not None else (await self.refresh()).get(bucket)

    async def claim(self, bucket: Bucket, properties: Mapping[str, Any] | None = None) -> Claim:
        """The bucket as it is in the store now; of one that is missing only the id is taken. Raises Unavailable.

        One that is missing is to have these properties.
        """
        for _ in range(_ATTEMPTS):
            item = await self._store.get(PREFIX + bucket.uname)
            if item is not None:
                return Claim(_unpack(bucket.uname, item.value))
            table, counter_revision = await self._read()
            if bucket.uname in table.records:
                continue
            record = table.with_bucket(bucket, clock.unix_ns(), properties or {}).records[bucket.uname]
            claimed = replace(table, last_id=record.id)
            compare = Compare(_COUNTER, counter_revision)
            if (await self._store.transaction((compare,), (self._counter(claimed),))).succeeded:
                return Claim(record, claimed)
        raise Unavailable("the bucket table is changing too fast; try again")

    async def write_with(self, claim: Claim, compares: Sequence[Compare], puts: Sequence[Put]) -> TransactionResult:
        """Write something that needs a claimed bucket, and make the bucket in the same transaction if it is missing.

        A bucket is made only if the write is done. Raises ClaimLost, Unavailable.
        """
        if claim.table is None:
            return await self._store.transaction(compares, puts)
        record = claim.record
        for _ in range(_ATTEMPTS):
            table, counter_revision = await self._read()
            if not claim.holds_in(table):
                raise ClaimLost(record.bucket.cname)
            records = {**table.records, record.bucket.uname: record}
            changed = replace(table, version=table.version + 1, records=records)
            both = (*compares, Compare(_COUNTER, counter_revision))
            operations = (*puts, self._counter(changed), Put(PREFIX + record.bucket.uname, _pack(record)))
            result = await self._store.transaction(both, operations)
            if result.succeeded:
                self._take(changed)
                return result
            if any(_revision(result, compare.key) != compare.mod_revision for compare in compares):
                return result
        raise Unavailable("the bucket table is changing too fast; try again")

    async def tell(self) -> None:
        """Tell the targets the table as it was last seen."""
        await self._push(self._table)

    async def create(self, bucket: Bucket, properties: Mapping[str, Any]) -> BucketRecord:
        """Make a bucket; raises BucketExists, Unavailable."""
        for _ in range(_ATTEMPTS):
            table, counter_revision = await self._read()
            changed = table.with_bucket(bucket, clock.unix_ns(), properties)
            record = changed.records[bucket.uname]
            operations = (self._counter(changed), Put(PREFIX + bucket.uname, _pack(record)))
            if await self._change(changed, counter_revision, operations):
                return record
        raise Unavailable("the bucket table is changing too fast; try again")

    async def destroy(self, bucket: Bucket, bucket_id: int | None = None) -> None:
        """Remove a bucket and what is in it, with an id only that incarnation; raises BucketNotFound, Unavailable.

        The bucket is gone once the record is; a target that does not answer lets go of the objects when it returns.
        """
        for _ in range(_ATTEMPTS):
            table, counter_revision = await self._read()
            record = table.get(bucket)
            if bucket_id not in (None, record.id):
                raise BucketNotFound(bucket.cname)
            changed = table.without_bucket(bucket)
            operations = (self._counter(changed), Delete(PREFIX + bucket.uname))
            if await self._change(changed, counter_revision, operations):
                await self._destroy_objects(record)
                return
        raise Unavailable("the bucket table is changing too fast; try again")

    async def set_properties(self, bucket: Bucket, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Change a bucket's properties, given those that it has.

        Raises BucketNotFound, Unavailable, and BucketMoves while it is being renamed: its other name has them already.
        """
        for _ in range(_ATTEMPTS):
            table, counter_revision = await self._read()
            moving = table.get(bucket).moving
            if moving is not None and moving.is_source:
                moving.check(bucket, adds=False)
            changed = table.with_properties(bucket, change(table.get(bucket).properties))
            put = Put(PREFIX + bucket.uname, _pack(changed.records[bucket.uname]))
            if await self._change(changed, counter_revision, (self._counter(changed), put)):
                return
        raise Unavailable("the bucket table is changing too fast; try again")

    async def mark(self, bucket: Bucket, bucket_id: int, moving: Moving) -> None:
        """Have an incarnation of a bucket marked as moving, also for the targets; what is closed stays so.

        Raises BucketNotFound, Unavailable.
        """

        def marked(now: Moving | None) -> Moving:
            return now if now is not None and now.job == moving.job and now.is_closed else moving

        await self._mark(bucket, bucket_id, marked)

    async def unmark(self, bucket: Bucket, bucket_id: int, job: str) -> None:
        """Take away the mark of a job that has ended; raises BucketNotFound, Unavailable."""
        await self._mark(bucket, bucket_id, lambda now: None if now is not None and now.job == job else now)

    async def _mark(self, bucket: Bucket, bucket_id: int, change: Callable[[Moving | None], Moving | None]) -> None:
        known = self._table.records.get(bucket.uname)
        if known is not None and known.id == bucket_id and change(known.moving) == known.moving:
            return
        for _ in range(_ATTEMPTS):
            table, counter_revision = await self._read()
            record = table.get(bucket)
            if record.id != bucket_id:
                raise BucketNotFound(bucket.cname)
            moving = change(record.moving)
            if moving == record.moving:
                return
            changed = table.with_moving(bucket, moving)
            put = Put(PREFIX + bucket.uname, _pack(changed.records[bucket.uname]))
            if await self._change(changed, counter_revision, (self._counter(changed), put)):
                return
        raise Unavailable("the bucket table is changing too fast; try again")

    async def empty(self, bucket: Bucket) -> None:
        """Remove what is in a bucket, and keep its properties: it is another one then. Raises as `destroy` does."""
        for _ in range(_ATTEMPTS):
            table, counter_revision = await self._read()
            record = table.get(bucket)
            changed = table.without_bucket(bucket).with_bucket(bucket, clock.unix_ns(), record.properties)
            put = Put(PREFIX + bucket.uname, _pack(changed.records[bucket.uname]))
            if await self._change(changed, counter_revision, (self._counter(changed), put)):
                await self._destroy_objects(record)
                return
        raise Unavailable("the bucket table is changing too fast; try again")

    def message(self, table: BucketTable) -> dict[str, Any]:
        """The table as targets are told; `last_id` lets them tell a destroyed bucket from one newer than the table."""
        return {
            "version": table.version,
            "last_id": table.last_id,
            "buckets": table.ids(),
            "backends": table.backends(),
            "access": table.restricted(),
            "moving": table.moving(),
        }

    async def _change(self, changed: BucketTable, counter_revision: int, operations: tuple[Operation, ...]) -> bool:
        result = await self._store.transaction((Compare(_COUNTER, counter_revision),), operations)
        if not result.succeeded:
            return False
        self._take(changed)
        await self._push(changed)
        return True

    def _take(self, changed: BucketTable) -> None:
        if changed.version > self._table.version:
            self._table = changed

    async def _push(self, table: BucketTable) -> None:
        calls = {node: self.message(table) for node in self._membership.online_targets()}
        _, errors = await self._peers.call_each(calls, "/intra/v1/buckets", _PUSH_SECONDS)
        _log_failures("buckets.not_told", errors)

    async def _destroy_objects(self, record: BucketRecord) -> None:
        body = {"bucket": record.bucket.uname, "bucket_id": record.id}
        calls = dict.fromkeys(self._membership.online_targets(), body)
        _, errors = await self._peers.call_each(calls, "/intra/v1/buckets/destroy", _DESTROY_SECONDS)
        _log_failures("buckets.objects_left", errors)

    def _counter(self, table: BucketTable) -> Put:
        return Put(_COUNTER, msgpack.packb([table.version, table.last_id]))

    async def _read(self) -> tuple[BucketTable, int]:
        """The table at one revision of the store, and the revision of its counter."""
        listing = await self._store.list(PREFIX)
        version, last_id, counter_revision = 0, 0, ABSENT
        records: dict[str, BucketRecord] = {}
        for item in listing.items:
            if item.key == _COUNTER:
                version, last_id, *_ = msgpack.unpackb(item.value)
                counter_revision = item.mod_revision
            else:
                record = _unpack(item.key.removeprefix(PREFIX), item.value)
                records[record.bucket.uname] = record
        return BucketTable(version, last_id, records), counter_revision


def _pack(record: BucketRecord) -> bytes:
    moving = record.moving.to_wire() if record.moving is not None else None
    packed: bytes = msgpack.packb([record.id, record.created_ns, dict(record.properties), moving])
    return packed


def _unpack(uname: str, value: bytes) -> BucketRecord:
    bucket_id, created_ns, properties, *later = msgpack.unpackb(value)  # a newer proxy may have appended more
    moving = Moving.from_wire(later[0]) if later and later[0] is not None else None
    return BucketRecord(Bucket.from_uname(uname), bucket_id, created_ns, properties, moving)


def _log_failures(event: str, errors: Mapping[str, Exception]) -> None:
    for target, error in errors.items():
        _log.warning(event, target=target, error=str(error), peer_is_silent=isinstance(error, PeerError))


def _revision(result: TransactionResult, key: str) -> int:
    item = result.current.get(key)
    return ABSENT if item is None else item.mod_revision
