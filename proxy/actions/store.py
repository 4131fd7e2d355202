"""Records of copies in the meta store: one key each, changed by compare-and-set; ended ones expire after a day.

What a record means is decided in `records`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from common.errors import RequestError, Unavailable
from common.metastore.base import (
    ABSENT,
    Compare,
    DeleteEvent,
    Event,
    MetaStore,
    Put,
    PutEvent,
    Resync,
)
from common.moving import Moving
from common.names import Bucket
from proxy.actions.records import ActionRecord
from proxy.buckets import Buckets, Claim

PREFIX = "actions/"
_ID = re.compile(r"cpy-[A-Za-z0-9_\-]{1,32}\Z")
_KEPT_SECONDS = 86_400.0
_ATTEMPTS = 50


class ActionNotFound(RequestError):
    """No such job; the text names it as AIStore's does."""

    code = "ErrXactNotFound"
    status = 404

    def __init__(self, action_id: str) -> None:
        super().__init__(f'job "{action_id[:64]}" not found')


def is_action_id(text: str) -> bool:
    """Whether this may be the id of a copy."""
    return _ID.match(text) is not None


class ActionStore:
    """All copies of the cluster, as they are and as this proxy has last seen them."""

    def __init__(self, store: MetaStore) -> None:
        self._store = store
        self._seen: dict[str, ActionRecord] = {}

    async def create(self, record: ActionRecord, buckets: Buckets, claim: Claim | None) -> None:
        """Write a new record, and make its destination in the same transaction if that is missing.

        Raises ClaimLost, Unavailable.
        """
        compares, puts = (Compare(PREFIX + record.id, ABSENT),), (Put(PREFIX + record.id, record.pack()),)
        if claim is None:
            result = await self._store.transaction(compares, puts)
        else:
            result = await buckets.write_with(claim, compares, puts)
        if not result.succeeded:
            raise Unavailable("the id of the new job is taken; send the request again")
        self._seen.setdefault(record.id, record)

    async def get(self, action_id: str) -> ActionRecord:
        """The record as it is now; raises ActionNotFound, Unavailable."""
        return (await self._read(action_id))[0]

    async def all(self) -> list[ActionRecord]:
        """All records, the oldest first; raises Unavailable."""
        listing = await self._store.list(PREFIX)
        records = [ActionRecord.unpack(item.value) for item in listing.items]
        return sorted(records, key=lambda record: (record.order.started_ns, record.id))

    def running(self) -> list[ActionRecord]:
        """Those that have not ended, as far as this proxy has seen."""
        return [record for record in self._seen.values() if record.is_running]

    def check_staying(self, bucket: Bucket) -> None:
        """Raise BucketMoves while a bucket is being renamed, as far as this proxy has seen."""
        for record in self.running():
            if record.order.is_move and record.order.source == bucket:
                Moving(record.id, record.order.destination.cname, is_source=True).check(bucket, adds=False)

    async def update(self, action_id: str, change: Callable[[ActionRecord], ActionRecord]) -> ActionRecord:
        """Change a record; one that has ended is not changed any more. Raises ActionNotFound, Unavailable."""
        for _ in range(_ATTEMPTS):
            record, revision = await self._read(action_id)
            if record.ended_ns or (changed := change(record)) == record:
                return record
            lease = await self._store.grant(_KEPT_SECONDS) if changed.ended_ns else None
            put = Put(PREFIX + action_id, changed.pack(), lease.id if lease is not None else None)
            result = await self._store.transaction((Compare(put.key, revision),), (put,))
            if result.succeeded:
                self._seen[action_id] = changed
                return changed
            if lease is not None:
                await self._store.revoke(lease.id)
        raise Unavailable(f"job {action_id} is changing too fast; try again")

    async def on_event(self, event: Event) -> None:
        """Take note of what has changed."""
        match event:
            case Resync():
                records = [ActionRecord.unpack(item.value) for item in event.snapshot]
                self._seen = {record.id: record for record in records}
            case PutEvent():
                record = ActionRecord.unpack(event.item.value)
                self._seen[record.id] = record
            case DeleteEvent():
                self._seen.pop(event.key.removeprefix(PREFIX), None)

    async def _read(self, action_id: str) -> tuple[ActionRecord, int]:
        item = await self._store.get(PREFIX + action_id) if is_action_id(action_id) else None
        if item is None:
            raise ActionNotFound(action_id)
        return ActionRecord.unpack(item.value), item.mod_revision
