"""Job records in the meta store: one key per job, changed by compare-and-set, because any proxy may change it.

What was seen of them is kept, so that jobs can be shown while the store is away. What a record means is decided in
`proxy.downloads.records`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import structlog

from common.errors import HaulError, JobNotFound, PeerError, Unavailable
from common.metastore.base import (
    ABSENT,
    Compare,
    Delete,
    DeleteEvent,
    Event,
    Lease,
    MetaStore,
    Put,
    PutEvent,
    Resync,
    TransactionResult,
    create,
)
from proxy.downloads.idempotency import RequestKey
from proxy.downloads.records import JobRecord, dropped
from proxy.leadership import check_guard

PREFIX = "jobs/"
_PLANNING_PREFIX = "planning/"
_REQUESTS_PREFIX = "requests/"
_JOB_ID = re.compile(r"[A-Za-z0-9_\-]{1,64}(\.[a-z0-9]{1,32})?\Z")
_TOMBSTONE_SECONDS = 86_400.0
_PLANNING_SECONDS = 30.0
_ANNOUNCE_AGAIN_SECONDS = 1.0
_ATTEMPTS = 50
_FEW = 16
"""More jobs than these are read faster all at once."""
_PATIENCE_SECONDS = 1.0
"""Who only wants to see a job is shown the record as it was last seen, when the store has not answered by then."""
T = TypeVar("T")
_log = structlog.get_logger("proxy.downloads.jobstore")
Write = Callable[[Sequence[Compare], Sequence[Put]], Awaitable[TransactionResult]]
"""Makes a transaction that may have more in it than what it is given."""


class JobStore:
    """All jobs of the cluster, as they are and as this proxy has last seen them."""

    def __init__(self, store: MetaStore) -> None:
        self._store = store
        self._seen: dict[str, JobRecord] = {}
        self._followed_revision = 0

    async def get(self, job_id: str) -> JobRecord:
        """The job as it is now; raises JobNotFound, Unavailable."""
        record, _ = await self._read(job_id)
        if record.gone:
            raise JobNotFound(job_id)
        return record

    async def look(self, job_id: str) -> JobRecord:
        """The job to be shown: as it is now, or as it was last seen when the store is away.

        Raises JobNotFound, and Unavailable when it was never seen.
        """
        return await self._patiently(self.get(job_id), lambda: self._seen_job(job_id))

    async def look_at_all(self) -> list[JobRecord]:
        """All jobs to be shown, the oldest first; as they were last seen when the store is away."""
        return await self._patiently(self.all(), lambda: _in_order(self._seen.values()))

    def running(self) -> list[JobRecord]:
        """Jobs that have not ended, as far as this proxy has seen."""
        return [record for record in self._seen.values() if record.is_running]

    async def _patiently(self, asking: Coroutine[Any, Any, T], seen: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await asking
        except TimeoutError:
            return seen()
        except Unavailable:
            return seen()

    def _seen_job(self, job_id: str) -> JobRecord:
        record = self._seen.get(job_id)
        if record is None:
            raise Unavailable(f"the meta store does not answer, and job {job_id[:64]} has not been seen here")
        if record.gone:
            raise JobNotFound(job_id)
        return record

    async def started_as(self, key: RequestKey) -> str:
        """The id of the job that was started under a client's key; empty when there is none.

        Raises InvalidRequest when the client has used the key for something else; Unavailable.
        """
        item = await self._store.get(_REQUESTS_PREFIX + key.name)
        return "" if item is None else key.job_id(item.value)

    async def commit(self, record: JobRecord, write: Write, key: RequestKey | None = None) -> JobRecord:
        """Write a new job; returns what is in the store now: a tombstone if the job was dropped in between.

        `write` does it, and may make something else in the same transaction. A `key` is kept for a day; raises
        Unavailable when another job has been started under it in between.
        """
        own = PREFIX + record.id
        compares, puts = [Compare(own, ABSENT)], [Put(own, record.pack())]
        lease: Lease | None = None
        if key is not None:
            name = _REQUESTS_PREFIX + key.name
            lease = await self._store.grant(_TOMBSTONE_SECONDS)
            compares.append(Compare(name, ABSENT))
            puts.append(Put(name, key.pack(record.id), lease.id))
        try:
            result = await write(compares, puts)
        except HaulError as error:
            if lease is not None and not getattr(error, "maybe_applied", False):
                await self._store.revoke(lease.id)
            raise
        if lease is not None and not result.succeeded:
            await self._store.revoke(lease.id)
        current = result.current.get(own)
        if result.succeeded:
            return record
        if current is None:
            raise Unavailable("the job is being started by another request with its Idempotency-Key; send it again")
        return JobRecord.unpack(current.value)

    async def find(self, job_id: str) -> JobRecord | None:
        """The job or its tombstone, None when there is neither; raises Unavailable."""
        try:
            return (await self._read(job_id))[0]
        except JobNotFound:
            return None

    async def find_all(self, job_ids: Collection[str]) -> dict[str, JobRecord]:
        """Those of these jobs, and their tombstones, that there are; raises Unavailable."""
        if len(job_ids) > _FEW:
            listing = await self._store.list(PREFIX)
            records = (JobRecord.unpack(item.value) for item in listing.items)
            return {record.id: record for record in records if record.id in job_ids}
        found = [await self.find(job_id) for job_id in job_ids]
        return {record.id: record for record in found if record is not None}

    async def is_planned(self, job_id: str) -> bool:
        """Whether some proxy is still planning the job."""
        return await self._store.get(_planning_key(job_id)) is not None

    async def announce(self, job_id: str) -> None:
        """Tell the other proxies that a job is being planned, until the task is cancelled; a failure is logged.

        What another proxy has announced meanwhile stays its own. After a failure it is announced anew.
        """
        while True:
            try:
                lease = await self._store.grant(_PLANNING_SECONDS)
                try:
                    while True:
                        await create(self._store, _planning_key(job_id), b"", lease.id)
                        await asyncio.sleep(_PLANNING_SECONDS / 3)
                        await self._store.keep_alive(lease.id)
                finally:
                    await self._store.revoke(lease.id)
            except PeerError as error:
                _log.warning("downloads.not_announced", job=job_id, error=error.message)
            await asyncio.sleep(_ANNOUNCE_AGAIN_SECONDS)

    async def drop(self, job_id: str) -> JobRecord:
        """Keep a job from being committed, for a day; returns what is there: the tombstone, or the job after all."""
        lease = await self._store.grant(_TOMBSTONE_SECONDS)
        result = await create(self._store, _key(job_id), dropped(job_id).pack(), lease.id)
        current = result.current.get(_key(job_id))
        return dropped(job_id) if result.succeeded or current is None else JobRecord.unpack(current.value)

    async def update(
        self, job_id: str, change: Callable[[JobRecord], JobRecord], guard: Compare | None = None
    ) -> JobRecord:
        """Change a job, tombstones too; raises JobNotFound when there is nothing, Unavailable.

        With a `guard` only as long as that holds: a leader's key; raises Fenced.
        """
        key = _key(job_id)
        for _ in range(_ATTEMPTS):
            record, revision = await self._read(job_id)
            changed = change(record)
            if changed == record:
                return record
            compares = (Compare(key, revision), *((guard,) if guard else ()))
            result = await self._store.transaction(compares, (Put(key, changed.pack()),))
            if result.succeeded:
                if result.revision > self._followed_revision:  # else the watch has told of it, and perhaps of more
                    self._seen[job_id] = changed
                return changed
            if guard is not None:
                check_guard(result, guard)
        raise Unavailable(f"job {job_id} is changing too fast; try again")

    async def forget(self, record: JobRecord) -> None:
        """Delete a tombstone that everybody has been told of; harmless when it has changed since."""
        try:
            current, revision = await self._read(record.id)
        except JobNotFound:
            return
        if current == record:
            await self._store.transaction((Compare(_key(record.id), revision),), (Delete(_key(record.id)),))

    async def all(self) -> list[JobRecord]:
        """All jobs, the oldest first; raises Unavailable."""
        listing = await self._store.list(PREFIX)
        return _in_order(JobRecord.unpack(item.value) for item in listing.items)

    def pending_for(self, target_id: str) -> list[str]:
        """Jobs whose abort or removal a target has not heard of, as far as this proxy has seen."""
        return [record.id for record in self._seen.values() if target_id in record.pending]

    def unsettled(self) -> list[JobRecord]:
        """Jobs that some target has not heard the latest of, as far as this proxy has seen."""
        return [record for record in self._seen.values() if record.pending]

    async def on_event(self, event: Event) -> None:
        """Take note of what has changed."""
        self._followed_revision = event.revision
        match event:
            case Resync():
                records = [JobRecord.unpack(item.value) for item in event.snapshot]
                self._seen = {record.id: record for record in records}
            case PutEvent():
                record = JobRecord.unpack(event.item.value)
                self._seen[record.id] = record
            case DeleteEvent():
                self._seen.pop(event.key.removeprefix(PREFIX), None)

    async def _read(self, job_id: str) -> tuple[JobRecord, int]:
        item = await self._store.get(_key(job_id))
        if item is None:
            raise JobNotFound(job_id)
        return JobRecord.unpack(item.value), item.mod_revision


def _in_order(records: Iterable[JobRecord]) -> list[JobRecord]:
    return sorted((record for record in records if not record.gone), key=lambda r: (r.created_ns, r.id))


def _planning_key(job_id: str) -> str:
    return _PLANNING_PREFIX + _key(job_id).removeprefix(PREFIX)


def _key(job_id: str) -> str:
    if not _JOB_ID.match(job_id):
        raise JobNotFound(job_id[:64])
    return PREFIX + job_id
