"""All large objects of a carrier: begun, continued after a break, looked after while they arrive, finished.

How the streams of one work is left to `download`, what its file does to `target.storage.partial`; small objects never
come here. Used by the carrier's thread; claiming and hashing may go on beside it on one other.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from common import clock
from common.errors import HaulError, Retry
from target.carriers.download import Download, StartOver, Stream, is_unsatisfiable
from target.carriers.fetch import Fetch
from target.storage.digests import OWN
from target.storage.mountpath import Mountpath
from target.storage.partial import Identity, PartialFile
from target.storage.writer import Staged
from target.transfer import outcomes
from target.transfer.request import Completion, FetchError, FetchRequest, Receipt, ResponseHead, TransferEngine
from target.transfer.verification import strong_validator

LOOK_SECONDS = 0.05
"""How often the streams are looked after while something large arrives."""
_MAX_LEFT = 64
"""So many of the files that failed attempts have left stay open; the others are closed, and found by their names."""
_MAX_RESTARTS = 3
_INLINE_HASH_BYTES = 4 << 20


class Carrier(Protocol):
    """What happens to a fetch in the end."""

    def release(self, fetch: Fetch) -> None:
        """It needs no connection any more."""

    def fail(self, fetch: Fetch, error: HaulError, *, gained_bytes: int = 0) -> None:
        """It is over, without an object; so much of it can be gone on with."""

    def commit(self, staged: Staged, fetch: Fetch) -> None:
        """Its bytes are whole and right."""

    def borrow(self, fetch: Fetch, connections: int) -> None:
        """Ask for more connections; `granted` is called with the answer."""


class LargeObjects:
    """The large objects that are being fetched, hashed, or left half-fetched by a failed attempt."""

    def __init__(self, carrier: Carrier, mountpath: Mountpath, engine: TransferEngine) -> None:
        self._carrier = carrier
        self._mountpath = mountpath
        self._engine = engine
        self._running: dict[int, Fetch] = {}
        self._hashing: list[Fetch] = []
        self._restarts: dict[str, int] = {}
        self._unresumable: set[str] = set()
        self._threads = ThreadPoolExecutor(1, "advance")
        self._left: dict[str, PartialFile] = {}
        self._put_down: dict[str, tuple[PartialFile, Future[None]]] = {}

    @property
    def has_left(self) -> bool:
        """Whether failed attempts have left anything that the next ones can go on with."""
        return bool(self._left or self._put_down)

    @property
    def is_busy(self) -> bool:
        """Whether `look_after` has anything to do."""
        return bool(self._running or self._hashing)

    def begin(self, fetch: Fetch, head: ResponseHead, size: int, request: FetchRequest) -> Stream | None:
        """The sink for a 200 of so many bytes, None when it could not be continued: no strong validator, no ranges."""
        validator = strong_validator(head)
        if not validator or fetch.work_name in self._unresumable:
            return None
        identity = Identity(
            fetch.job.terms.job_id,
            fetch.link_digest,
            validator,
            size,
            head.etag,
            head.last_modified,
            tuple(fetch.digests.items()),
        )
        part = self._mountpath.new_part(
            fetch.job.bucket, fetch.job.terms.bucket_id, fetch.name, fetch.work_name, identity, fetch.algorithms
        )
        self._drop_left(fetch.work_name)
        splits = head.headers.get("accept-ranges", "").lower() == "bytes"
        download = Download(fetch, part, request, self._engine, clock.monotonic(), splits=splits)
        self._running[fetch.id] = fetch
        return download.take_whole()

    def go_on(self, fetch: Fetch, request: FetchRequest) -> bool:
        """Continue what an earlier attempt has left, if there is something; raises DiskError."""
        part = self._left.pop(fetch.work_name, None) or self._find(fetch)
        if part is None:
            return False
        download = Download(fetch, part, request, self._engine, clock.monotonic(), splits=True)
        self._running[fetch.id] = fetch
        if part.is_complete:
            self._received(fetch)
        else:
            download.resume()
        return True

    def stream_ended(self, fetch: Fetch, stream: Stream, completion: Completion) -> None:
        """A stream of a download has come to its end, or broke."""
        download = fetch.download
        if download is None or stream not in download.streams:
            return
        result = completion.result
        try:
            error = download.ended(stream, clock.monotonic(), None if isinstance(result, Receipt) else result)
        except HaulError as disk_error:
            error = disk_error
        if error is not None:
            self._give_up(fetch, error)
        elif download.part.is_complete and not download.streams:
            self._received(fetch)

    def granted(self, order_id: int, connections: int) -> None:
        """The lane lends so many connections."""
        fetch = self._running.get(order_id)
        if fetch is not None and fetch.download is not None:
            fetch.download.granted(connections, clock.monotonic())
            fetch.download.spread()

    def look_after(self, now: float) -> None:
        """Claim, hash, ask for connections, finish what is whole."""
        for fetch in list(self._running.values()):
            download = fetch.download
            assert download is not None
            timeout = fetch.job.terms.timeout_seconds
            if timeout and now - fetch.started_at >= timeout:
                self._give_up(fetch, outcomes.deadline_exceeded(fetch.link, timeout))
                continue
            self._advance(download)
            if not download.asked_for:
                wanted = download.wants(now)
                if wanted:
                    download.asked_for = wanted
                    self._carrier.borrow(fetch, wanted)
            download.spread()
        for fetch in list(self._hashing):
            self._finish_when_hashed(fetch)

    def progress(self, fetch: Fetch) -> tuple[int, int]:
        """Bytes that are there, bytes of the object."""
        assert fetch.download is not None
        return fetch.download.part.received_bytes, fetch.download.part.size

    def cancel(self, fetch: Fetch) -> None:
        """Stop fetching; what is there stays for another attempt."""
        if self._running.pop(fetch.id, None) is not None and fetch.download is not None:
            fetch.download.cancel()
            self._leave(fetch, fetch.download.part)

    def forget(self, job_id: str) -> None:
        """The job has ended: nobody will go on with what it has left."""
        for work_name in [name for name, part in self._left.items() if part.identity.job == job_id]:
            self._left.pop(work_name).discard()
        for work_name in [name for name, (part, _) in self._put_down.items() if part.identity.job == job_id]:
            self._threads.submit(self._put_down.pop(work_name)[0].remove)

    def close(self) -> None:
        """Let go of all files, which stay."""
        for fetch in list(self._running.values()):
            self.cancel(fetch)
        self._threads.shutdown()
        for part in (*self._left.values(), *(fetch.download.part for fetch in self._hashing if fetch.download)):
            part.keep()

    def _find(self, fetch: Fetch) -> PartialFile | None:
        put_down = self._put_down.pop(fetch.work_name, None)
        if put_down is not None:
            put_down[1].result()
        elif not fetch.job.terms.has_history:
            return None
        part = self._mountpath.left_part(
            fetch.job.bucket, fetch.job.terms.bucket_id, fetch.name, fetch.work_name, fetch.expected_digests
        )
        identity = part.identity if part is not None else None
        if part is None or identity is None:
            return None
        if (identity.job, identity.link_digest) != (fetch.job.terms.job_id, fetch.link_digest):
            part.discard()
            return None
        return part

    def _advance(self, download: Download) -> None:
        part = download.part
        if not part.wants_advance(len(download.streams)):
            return
        part.begin_advance()
        if part.syncs or part.hash_backlog_bytes > _INLINE_HASH_BYTES:
            self._threads.submit(part.advance).add_done_callback(lambda _: self._engine.wake())
        else:
            part.advance()

    def _received(self, fetch: Fetch) -> None:
        del self._running[fetch.id]
        self._carrier.release(fetch)
        self._hashing.append(fetch)
        self._finish_when_hashed(fetch)

    def _finish_when_hashed(self, fetch: Fetch) -> None:
        download = fetch.download
        assert download is not None
        part, identity = download.part, download.part.identity
        self._advance(download)
        if part.failure is not None:
            self._hashing.remove(fetch)
            part.discard()
            self._carrier.fail(fetch, part.failure)
            return
        if not part.is_hashed or part.is_advancing:
            return
        self._hashing.remove(fetch)
        try:
            fetch.digests = dict(identity.digests)
            verified = fetch.verify(part.size, part.digest)
            stored = fetch.metadata(
                part.size, part.digest(OWN), verified, identity.etag, identity.last_modified, sized=True
            )
            staged = part.finish(stored, fetch)
        except HaulError as error:
            part.discard()
            self._carrier.fail(fetch, error)
            return
        self._carrier.commit(staged, fetch)

    def _give_up(self, fetch: Fetch, error: HaulError) -> None:
        download = fetch.download
        assert download is not None
        del self._running[fetch.id]
        download.cancel()
        part = download.part
        if isinstance(error, StartOver) and error.ignores_ranges:
            self._drop(part)
            self._unresumable.add(fetch.work_name)
            self._carrier.fail(fetch, error)
        elif isinstance(error, StartOver) or is_unsatisfiable(error):
            self._drop(part)
            restarts = self._restarts[fetch.work_name] = self._restarts.get(fetch.work_name, 0) + 1
            if restarts > _MAX_RESTARTS:
                text = f"{error.message} (for the {restarts}th time)"
                error = FetchError("changed", text, retry=Retry.NEVER)
            elif not isinstance(error, StartOver):
                error = StartOver(error.message)
            self._carrier.fail(fetch, error)
        elif part.failure is not None:
            self._drop(part)
            self._carrier.fail(fetch, part.failure)
        else:
            self._leave(fetch, part)
            self._carrier.fail(fetch, error, gained_bytes=download.gained_bytes)

    def _leave(self, fetch: Fetch, part: PartialFile) -> None:
        self._left[fetch.work_name] = part
        while len(self._left) > _MAX_LEFT:
            work_name = next(iter(self._left))
            part = self._left.pop(work_name)
            self._put_down[work_name] = part, self._threads.submit(part.keep)

    def _drop_left(self, work_name: str) -> None:
        left = self._left.pop(work_name, None)
        if left is not None:
            left.keep()

    def _drop(self, part: PartialFile) -> None:
        """Remove the file after what may still be going on with it."""
        self._threads.submit(part.discard)
