"""Lists the sources of jobs, page by page, and gives what is listed to the targets while the listing goes on.

Every piece becomes one more assignment of the job: as with the first, nothing of it runs before the record says so, and
the record says at once who holds it and how far the listing has come. So whichever proxy goes on, nothing is given out
twice and nothing is left out. When a source has been listed to its end, and only then, a synchronised bucket loses what
is gone there. What a piece consists of is decided in `sourcejobs`.
"""

from __future__ import annotations

import asyncio
import secrets
from array import array
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from common import clock
from common.backends.asking import Asking
from common.backends.base import MAX_PAGE, ObjectPage, OriginUnavailable, SourceObject
from common.buckets import BucketRecord
from common.bulkplacement import digests
from common.errors import BucketNotFound, HaulError, InvalidRequest, OriginError, RequestError, RequestTooLarge
from common.lifecycle import TaskScope
from common.links import redact
from common.names import Bucket
from common.shares import JobSpec
from common.vault import Sealed, Vault
from proxy.buckets import Buckets
from proxy.downloads.giving import Giver
from proxy.downloads.jobstore import JobStore
from proxy.downloads.records import JobRecord
from proxy.downloads.requests import DownloadRequest
from proxy.downloads.sourcejobs import Piece, SourceJob, SourceListing, piece_of, removal_tasks
from proxy.downloads.tasks import TaskList
from proxy.leadership import Authority
from proxy.listing import Entry, Listing, PageQuery

_MAX_PIECE = 100_000
_MAX_SURVEYED = 1_000_000
_PATIENCE_SECONDS = 600.0
_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0
_LISTING = "list"
_NAME, _STORED_NS, _SOURCE = 0, 3, 8
"""Where they are in an entry of a listing that tells where objects have come from."""
_log = structlog.get_logger("proxy.downloads.listers")


@dataclass(slots=True)
class Walk:
    """One proxy's way through the source of a job; of a synchronised one it knows, by their digests, all names seen."""

    job: SourceJob
    token: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_whole: bool = True
    """It has begun at the source's beginning."""
    seen: array[int] = field(default_factory=lambda: array("Q"))
    has_ended: bool = False
    begun_ns: int = field(default_factory=clock.unix_ns)
    _followed: set[int] = field(default_factory=set)

    def follow(self, token: str) -> None:
        """Go on there next; raises OriginError where the walk has been there before: it would never end."""
        if token and (hash(token) in self._followed or token == self.token):
            raise OriginError(f"{self.job.shown}: its listing leads in a circle, and is not to be trusted")
        self._followed.add(hash(token))
        self.token, self.has_ended = token, not token


class Listers:
    """The listings that this proxy is going through; `on_listed(job_id)` is called when one has come to its end."""

    def __init__(
        self,
        jobs: JobStore,
        buckets: Buckets,
        listing: Listing,
        asking: Asking,
        giver: Giver,
        vault: Vault,
        scope: TaskScope,
    ) -> None:
        self._jobs = jobs
        self._buckets = buckets
        self._listing = listing
        self._asking = asking
        self._giver = giver
        self._vault = vault
        self._scope = scope
        self._running: set[str] = set()
        self.on_listed: Callable[[str], object] = lambda job_id: None

    async def first(self, job: SourceJob, credentials: Mapping[str, str]) -> tuple[Walk, Piece]:
        """The first page of a job's source; raises what is wrong with it, as `Backend` does."""
        walk = Walk(job, credentials=credentials)
        return walk, await self._piece(walk, 1, patience_seconds=0.0)

    async def whole(self, job: SourceJob, credentials: Mapping[str, str]) -> tuple[Walk, Piece]:
        """All of a source, for a dry run; raises as `first`, and InvalidRequest for more than is kept in memory."""
        walk = Walk(job, credentials=credentials)
        piece = await self._piece(walk, _MAX_SURVEYED, patience_seconds=0.0)
        if not walk.has_ended:
            raise InvalidRequest(f"{job.shown} has more than {_MAX_SURVEYED} objects, too many for a dry run")
        return walk, piece

    async def removals(self, walk: Walk, bucket: Bucket) -> tuple[int, int | None]:
        """How many objects a synchronised bucket would lose, and how many it may; raises Unavailable."""
        try:
            record = await self._buckets.get(bucket)
        except BucketNotFound:
            return 0, None
        gone, present = await self._gone(record, walk, clock.unix_ns())
        return len(gone), walk.job.removals_allowed(present, len(walk.seen))

    def sealed(self, request: DownloadRequest) -> DownloadRequest:
        """The request as it may be written down; raises InvalidRequest where nothing can be sealed."""
        sealed = self._vault.seal({"headers": request.headers, "credentials": request.credentials})
        return replace(request, headers=(), credentials={}, sealed=sealed)

    def started(self, walk: Walk, piece: Piece, spec: JobSpec) -> SourceListing:
        """How far the listing of a job is that begins with this piece."""
        return SourceListing(walk.job, replace(spec, headers=()).pack()).advanced(piece, walk.token)

    def go_on(self, job_id: str, walk: Walk | None = None) -> None:
        """Go on with the listing of a job in the background; again is harmless."""
        if job_id not in self._running:
            self._running.add(job_id)
            self._scope.start(f"list {job_id}", self._run(job_id, walk))

    async def look_after(self, _: Authority) -> None:
        """The leader's chore: go on with the listings that nobody goes through; raises HaulError."""
        for record in self._jobs.running():
            is_waiting = record.is_listing and not record.paused and record.id not in self._running
            if is_waiting and not await self._jobs.is_planned(f"{record.id}.{_LISTING}"):
                self.go_on(record.id)

    async def _run(self, job_id: str, walk: Walk | None) -> None:
        announcement = self._scope.start(f"announce {job_id}.{_LISTING}", self._announce(job_id))
        try:
            await self._list(job_id, walk)
        except RequestError as error:
            _log.info("listing.left", job=job_id, why=error.message)
        finally:
            announcement.cancel()
            self._running.discard(job_id)
        self.on_listed(job_id)

    async def _announce(self, job_id: str) -> None:
        await self._jobs.announce(f"{job_id}.{_LISTING}")

    async def _list(self, job_id: str, walk: Walk | None) -> None:
        """Until the listing is complete, or the job rests or has ended, or another proxy goes on with it.

        Raises RequestError where it cannot go on here; then the leader sees to it.
        """
        delay_seconds = _RETRY_SECONDS
        while True:
            has_all = walk is not None and walk.has_ended
            try:
                record = await self._jobs.get(job_id)
                if record.listing is None or not record.is_running or not record.is_listing or record.paused:
                    return
                walk = await self._step(record, record.listing, walk)
                delay_seconds = _RETRY_SECONDS
            except RequestError:
                raise
            except HaulError as error:
                _log.warning("listing.delayed", job=job_id, error=error.message)
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(2 * delay_seconds, _MAX_RETRY_SECONDS)
                if not has_all:
                    walk = None  # what was seen last may not have been given out

    def _walk(self, listing: SourceListing) -> Walk:
        """Where to go on; what is to be known whole is walked through from its beginning. Raises Sealed."""
        sealed = JobSpec.unpack(listing.spec).sealed
        credentials = self._vault.open(sealed)["credentials"] if sealed else {}
        return Walk(listing.job, listing.token, credentials, is_whole=not listing.token)

    async def _step(self, record: JobRecord, listing: SourceListing, walk: Walk | None) -> Walk:
        """One more piece, or the end; raises InvalidRequest when the job has changed, PeerError, DiskError."""
        if walk is not None and not listing.is_given and walk.token != listing.token:
            raise InvalidRequest(f'job "{record.id}": another proxy has gone on with its listing')
        try:
            if walk is None or (walk.has_ended and not walk.is_whole):
                walk = self._walk(listing)
            if walk.has_ended:
                following, tasks = await self._removals(record, listing, walk)
            else:
                size = min(max(5 * MAX_PAGE, listing.count), _MAX_PIECE)
                piece = await self._piece(walk, size)
                if listing.is_given:
                    return walk
                following, tasks = listing.advanced(piece, walk.token), piece.tasks
        except (RequestError, OriginError, Sealed) as error:
            await self._giver.end(record, listing.failed(error.message))
            return walk or Walk(listing.job)
        try:
            await self._giver.give(record, following, tasks)
        except RequestTooLarge:
            why = f"{listing.job.shown} has more objects than one job can have; fetch it in parts, by prefix"
            await self._giver.end(record, listing.failed(why))
        return walk

    async def _removals(self, record: JobRecord, listing: SourceListing, walk: Walk) -> tuple[SourceListing, TaskList]:
        """What is to be removed in the end; raises as `_gone`."""
        gone, present = await self._gone_of_job(record, listing, walk)
        allowed = walk.job.removals_allowed(present, len(walk.seen))
        if allowed is not None and len(gone) > allowed:
            why = (
                f"{len(gone)} of {present} objects are gone at the source, and 'max_delete' allows {allowed}: "
                "none was removed"
            )
            return listing.failed(why), TaskList([], [])
        removals = removal_tasks(walk.job, gone)
        return replace(listing, count=listing.count + len(removals), is_complete=True), removals

    async def _piece(self, walk: Walk, size: int, patience_seconds: float = _PATIENCE_SECONDS) -> Piece:
        """Pages until there are `size` objects, or many pages, or no more; raises as `Backend` does."""
        job, objects = walk.job, list[SourceObject]()
        for _ in range(max(_MAX_PIECE, size) // MAX_PAGE * 2):
            page = await self._page_patiently(walk, patience_seconds)
            objects += page.objects
            walk.follow(page.token)
            if walk.has_ended or len(objects) >= size:
                break
        if job.is_sync:
            names = [job.name_of(listed.name) for listed in objects]
            walk.seen.frombytes(await asyncio.to_thread(lambda: digests("", names).tobytes()))
        return await asyncio.to_thread(piece_of, job, objects)

    async def _page_patiently(self, walk: Walk, patience_seconds: float) -> ObjectPage:
        """The next page, of a service that does not answer after a while; raises as `Backend` does."""
        deadline, delay_seconds = clock.monotonic() + patience_seconds, _RETRY_SECONDS
        while True:
            try:
                return await self._page(walk)
            except OriginUnavailable as error:
                if clock.monotonic() >= deadline:
                    raise
                _log.warning("listing.delayed", source=walk.job.shown, error=error.message)
                await asyncio.sleep(min(error.retry_after_seconds or delay_seconds, _MAX_RETRY_SECONDS))
                delay_seconds = min(2 * delay_seconds, _MAX_RETRY_SECONDS)

    async def _page(self, walk: Walk) -> ObjectPage:
        job = walk.job
        return await self._asking.ask(
            job.source, lambda backend: backend.page(job.prefix, walk.token), walk.credentials
        )

    async def _gone_of_job(
        self, record: JobRecord, listing: SourceListing, walk: Walk
    ) -> tuple[list[tuple[str, int]], int]:
        """As `_gone`, for a job: what was stored since the source was looked at first may have been there later.

        Raises Unavailable, BucketNotFound, DiskError.
        """
        spec = JobSpec.unpack(listing.spec)
        bucket = await self._buckets.get(spec.bucket)
        if bucket.id != spec.bucket_id:
            return [], 0
        return await self._gone(bucket, walk, min(walk.begun_ns, record.created_ns))

    async def _gone(self, bucket: BucketRecord, walk: Walk, before_ns: int) -> tuple[list[tuple[str, int]], int]:
        """What has come from the source before and is not there any more, and how many objects came before.

        Raises Unavailable, DiskError.
        """
        job, seen = walk.job, np.sort(np.frombuffer(walk.seen, dtype=np.uint64))
        gone: list[tuple[str, int]] = []
        present = 0
        async for entries in self._own_pages(bucket, job):
            old = [entry for entry in entries if entry[_STORED_NS] < before_ns and _is_of(job, entry)]
            present += len(old)
            is_seen = np.isin(digests("", [entry[_NAME] for entry in old]), seen).tolist()
            gone += [(entry[_NAME], entry[_STORED_NS]) for entry, found in zip(old, is_seen, strict=True) if not found]
        return gone, present

    async def _own_pages(self, bucket: BucketRecord, job: SourceJob) -> AsyncIterator[list[Entry]]:
        query = PageQuery(job.own_prefix, with_sources=True, uuid=secrets.token_urlsafe(7))
        while True:
            page = await self._listing.page(bucket, query)
            yield [entry for entry in page.entries if len(entry) > _SOURCE]
            if not page.next_after:
                return
            query = replace(query, after=page.next_after)


def _is_of(job: SourceJob, entry: Entry) -> bool:
    """Whether an object of the cluster has come from the part of the source that the job is about."""
    name: str = entry[_NAME]
    is_wanted = job.wants(name.removeprefix(f"{job.subdir}/" if job.subdir else ""))
    return is_wanted and bool(entry[_SOURCE] == redact(job.link_of(name)))
