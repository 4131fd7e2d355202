"""What works for one mountpath: fetches what its lane orders into work files, has those committed, and reports.

One process, one libcurl multi handle. What to fetch and whether to try again is decided by the lane in the target's
process (`target.downloads`); how bytes arrive is left to `target.transfer`, how they become an object to
`target.storage`. It ends when its lane does.
"""

from __future__ import annotations

import functools
import socket
from collections import deque
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import structlog

from common import clock, failpoints
from common.errors import HaulError
from common.links import redact
from common.names import Bucket
from common.placement import digest
from target.carriers import messages
from target.carriers.allowance import ASK_SECONDS, Allowance
from target.carriers.channel import Channel
from target.carriers.messages import (
    FINISHED,
    SKIPPED,
    Ended,
    Failure,
    Greeting,
    Moved,
    Order,
    Terms,
    failure_of,
)
from target.storage.committer import Committer
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Durability, Mountpath
from target.storage.writer import ObjectWriter, Staged
from target.transfer.egress import EgressGuard
from target.transfer.engine import Engine
from target.transfer.request import Completion, FetchRequest, Receipt, ResponseHead, TransferEngine, TransferSettings

_IDLE_SECONDS = 60.0
_GROUP = 16
_GATHER_SECONDS = 0.002
_PROGRESS_SECONDS = 0.5
_FAREWELL_SECONDS = 10.0
_log = structlog.get_logger("target.carrier")


def carry(connection: socket.socket) -> None:
    """Serve one lane until it says no more; the whole life of a carrier's process."""
    channel = Channel(connection)
    greeting = Greeting(*channel.first()[1])
    failpoints.kill_too(greeting.target_pid)
    mountpath = Mountpath(greeting.mountpath, Durability(greeting.durability))
    try:
        mountpath.attach(greeting.mountpath_id)
    except HaulError as error:
        channel.send(messages.UNUSABLE, error.message)
        channel.drain(_FAREWELL_SECONDS)
        return
    guard = EgressGuard([ip_network(cidr) for cidr in greeting.allow_origins])
    engine = Engine(TransferSettings(ca_file=greeting.ca_file), guard)
    committer = Committer(mountpath)
    committer.start()
    channel.send(messages.READY)
    Carrier(channel, mountpath, engine, committer, guard).run()


class _Job:
    """A job's terms as they are used."""

    __slots__ = ("allowance", "asked_at", "bucket", "finds_nothing", "terms")

    def __init__(self, terms: Terms, mountpath: Mountpath) -> None:
        self.terms = terms
        self.bucket = Bucket.from_uname(terms.bucket)
        self.allowance = Allowance(terms.bytes_per_second) if terms.bytes_per_second else None
        self.asked_at = 0.0
        self.finds_nothing = mountpath.is_empty(self.bucket, terms.bucket_id)
        """Looking for a stored object is no use; missing one that came since costs a fetch, nothing else."""


class _Fetch:
    """An order that is being carried out."""

    __slots__ = ("id", "is_stored", "job", "link", "link_digest", "name", "started_at", "writer")

    def __init__(self, order: Order, job: _Job, started_at: float) -> None:
        self.id = order.id
        self.name = order.name
        self.link = order.link
        self.link_digest = digest(order.link)
        self.job = job
        self.started_at = started_at
        self.is_stored = False
        self.writer: ObjectWriter | None = None

    def __repr__(self) -> str:
        return f"<_Fetch {self.id} {self.name!r}>"


class Carrier:
    """The loop of a carrier; one thread, and the committer's where a disk is waited for."""

    def __init__(
        self,
        channel: Channel,
        mountpath: Mountpath,
        engine: TransferEngine,
        committer: Committer,
        guard: EgressGuard,
    ) -> None:
        self._channel = channel
        self._mountpath = mountpath
        self._engine = engine
        self._committer = committer
        self._guard = guard
        self._jobs: dict[int, _Job] = {}
        self._limited: set[int] = set()
        self._active: dict[int, _Fetch] = {}
        self._group: list[Staged] = []
        self._committed: deque[Sequence[tuple[Staged, HaulError | None]]] = deque()
        self._released: list[int] = []
        self._ended: list[Ended] = []
        self._failed: list[Failure] = []
        self._gathering_since = 0.0
        self._progress_due_at = 0.0

    def run(self) -> None:
        """Serve until the lane has ended; what is staged then is still committed and reported."""
        self._engine.watch(self._channel.fileno())
        try:
            self._obey()
            while not self._channel.ended:
                self._report()
                self._engine.wait(self._wait_seconds())
                for completion in self._engine.collect():
                    self._complete_surely(completion)
                if self._engine.heard():
                    self._obey()
                self._engine.flush()
                self._account()
        finally:
            for fetch in self._active.values():
                if fetch.writer is not None:
                    fetch.writer.discard()
            self._active.clear()
            self._engine.close()
            self._commit_group()
            self._committer.stop()
            self._take_committed()
            self._send_report()
            self._channel.drain(_FAREWELL_SECONDS)

    def _wait_seconds(self) -> float:
        if self._channel.has_unsent:
            return _GATHER_SECONDS
        if self._group or self._released or self._ended or self._failed:
            return max(0.0, self._gathering_since + _GATHER_SECONDS - clock.monotonic())
        if self._limited:
            return ASK_SECONDS
        return _PROGRESS_SECONDS if self._active else _IDLE_SECONDS

    def _obey(self) -> None:
        for kind, *content in self._channel.receive():
            self._obey_one(kind, content)

    def _obey_one(self, kind: int, content: Sequence[Any]) -> None:
        match kind:
            case messages.FETCH:
                now = clock.monotonic()
                for fields in content[0]:
                    self._start_surely(Order(*fields), now)
            case messages.TERMS:
                terms = Terms(*content[0])
                self._jobs[terms.number] = _Job(terms, self._mountpath)
                if terms.bytes_per_second:
                    self._limited.add(terms.number)
            case messages.CANCEL:
                self._cancel(content[0])
            case messages.GRANT:
                job = self._jobs.get(content[0])
                if job is not None and job.allowance is not None:
                    job.allowance.grant(content[1])
            case messages.FORGET:
                self._jobs.pop(content[0], None)
                self._limited.discard(content[0])
            case messages.DENY:
                self._guard.deny_endpoints((ip, port) for ip, port in content[0])
            case _:
                raise ValueError(f"a lane has said {kind}, which no carrier knows")

    def _start_surely(self, order: Order, now: float) -> None:
        fetch = _Fetch(order, self._jobs[order.number], now)
        try:
            self._start(fetch)
        except HaulError as error:
            self._active.pop(fetch.id, None)
            self._fail(fetch, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours costs one object, and not all that wait
            self._active.pop(fetch.id, None)
            self._fail_inexplicably(fetch, error)

    def _start(self, fetch: _Fetch) -> None:
        job, terms = fetch.job, fetch.job.terms
        conditional: tuple[str, ...] = ()
        if not job.finds_nothing:
            stored = self._mountpath.stored_metadata(job.bucket, terms.bucket_id, fetch.name)
            if stored is not None:
                fetch.is_stored = True
                if stored.link_digest == fetch.link_digest:
                    if terms.has_history and stored.job == terms.job_id:
                        self._release(fetch)
                        self._end(Ended(fetch.id, FINISHED, stored.size, stored.size))
                        return
                    conditional = _conditions(stored)
        self._active[fetch.id] = fetch
        self._engine.start(
            fetch,
            FetchRequest(fetch.link, terms.headers, conditional, terms.timeout_seconds, job.allowance),
            functools.partial(self._open_writer, fetch),
        )

    def _open_writer(self, fetch: _Fetch, head: ResponseHead) -> ObjectWriter:
        fetch.writer = self._mountpath.writer(
            fetch.job.bucket, fetch.job.terms.bucket_id, fetch.name, head.content_length
        )
        return fetch.writer

    def _complete_surely(self, completion: Completion) -> None:
        fetch = completion.token
        assert isinstance(fetch, _Fetch)
        self._active.pop(fetch.id, None)
        try:
            self._complete(fetch, completion.result)
        except Exception as error:  # noqa: BLE001 - a mistake of ours costs one object, and not all that wait
            self._fail_inexplicably(fetch, error)

    def _complete(self, fetch: _Fetch, result: Receipt | HaulError) -> None:
        writer = fetch.writer
        if isinstance(result, HaulError):
            if writer is not None:
                writer.discard()
            self._fail(fetch, result)
            return
        self._release(fetch)
        if result.status == 304:
            self._end(Ended(fetch.id, SKIPPED, 0, 0))
            return
        assert writer is not None, "the engine opens a sink for every 200"
        try:
            staged = writer.finish(_metadata_of(fetch, writer, result), fetch)
        except HaulError as error:
            self._fail(fetch, error)
            return
        staged.seems_new = not fetch.is_stored
        if self._mountpath.syncs or writer.is_streamed:
            self._committer.submit(staged, self._group_committed)
        else:
            self._group.append(staged)

    def _group_committed(self, group: Sequence[tuple[Staged, HaulError | None]]) -> None:
        """On the committer's thread: a group has become durable, or has failed."""
        self._committed.append(group)
        self._engine.wake()

    def _take_committed(self) -> None:
        while self._committed:
            for staged, error in self._committed.popleft():
                fetch = staged.token
                assert isinstance(fetch, _Fetch)
                if error is None:
                    size = staged.metadata.size
                    self._end(Ended(fetch.id, FINISHED, size, size))
                else:
                    self._fail(fetch, error)

    def _commit_group(self) -> None:
        """Where nothing is synced, commit here: another thread would cost more than it saves."""
        if self._group:
            group, self._group = self._group, []
            failed = self._committer.commit(group)
            self._committed.append([(staged, failed.get(staged)) for staged in group])

    def _release(self, fetch: _Fetch) -> None:
        self._note()
        self._released.append(fetch.id)

    def _end(self, ended: Ended) -> None:
        self._note()
        self._ended.append(ended)

    def _fail(self, fetch: _Fetch, error: HaulError) -> None:
        self._note()
        self._failed.append(failure_of(fetch.id, error))

    def _fail_inexplicably(self, fetch: _Fetch, error: Exception) -> None:
        _log.exception("carrier.order_failed", job=fetch.job.terms.job_id, name=fetch.name)
        if fetch.writer is not None:
            fetch.writer.discard()
        self._note()
        self._failed.append(Failure(fetch.id, f"internal error ({type(error).__name__})", may_pass=False))

    def _note(self) -> None:
        if not self._released and not self._ended and not self._failed:
            self._gathering_since = clock.monotonic()

    def _report(self) -> None:
        """Commit and report what has gathered, when it is enough, old enough, or nothing else is going on."""
        self._take_committed()
        count = len(self._released) + len(self._failed)
        now = clock.monotonic()
        if (
            count >= min(_GROUP, len(self._active) // 2 + 1)
            or not self._active
            or now >= self._gathering_since + _GATHER_SECONDS
        ):
            self._commit_group()
            self._take_committed()
            self._send_report()
        if self._active and now >= self._progress_due_at:
            self._progress_due_at = now + _PROGRESS_SECONDS
            self._send_progress(now)
        self._channel.flush()

    def _send_report(self) -> None:
        if self._released or self._ended or self._failed:
            self._channel.send(messages.REPORT, self._released, self._ended, self._failed)
            self._released, self._ended, self._failed = [], [], []

    def _send_progress(self, now: float) -> None:
        moved = [
            Moved(fetch.id, *self._engine.progress(fetch))
            for fetch in self._active.values()
            if now >= fetch.started_at + _PROGRESS_SECONDS
        ]
        if moved:
            self._channel.send(messages.MOVED, moved)

    def _account(self) -> None:
        """Tell what limited jobs have read, and ask for what they will."""
        if not self._limited:
            return
        now = clock.monotonic()
        for number in self._limited:
            job = self._jobs[number]
            assert job.allowance is not None
            if now < job.asked_at + ASK_SECONDS:
                continue
            job.asked_at = now
            spent, wanted = job.allowance.account()
            wanted = wanted if any(fetch.job is job for fetch in self._active.values()) else 0
            if spent or wanted:
                self._channel.send(messages.SPENT, number, spent, wanted)

    def _cancel(self, number: int) -> None:
        """Drop the running fetches of a job; what has been received whole is still committed."""
        for fetch in [fetch for fetch in self._active.values() if fetch.job.terms.number == number]:
            self._engine.cancel(fetch)
            del self._active[fetch.id]
            if fetch.writer is not None:
                fetch.writer.discard()
        self._send_report()
        self._channel.send(messages.CANCELLED, number)


def _conditions(stored: ObjectMetadata) -> tuple[str, ...]:
    """Ask only for a newer version of what is stored from the very same link."""
    if stored.etag:
        return (f"If-None-Match: {stored.etag}",)
    if stored.last_modified:
        return (f"If-Modified-Since: {stored.last_modified}",)
    return ()


def _metadata_of(fetch: _Fetch, writer: ObjectWriter, receipt: Receipt) -> ObjectMetadata:
    head = receipt.head
    return ObjectMetadata(
        size=writer.size,
        checksum=writer.checksum,
        stored_ns=clock.unix_ns(),
        source=redact(fetch.link),
        link_digest=fetch.link_digest,
        etag=head.etag,
        last_modified=head.last_modified,
        grade="size" if head.content_length is not None else "none",
        job=fetch.job.terms.job_id,
    )
