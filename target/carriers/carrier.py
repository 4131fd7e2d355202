"""What works for one mountpath: fetches what its lane orders into work files, has those committed, and reports.

One process, one libcurl multi handle. What to fetch and whether to try again is decided by the lane in the target's
process (`target.downloads`); how bytes arrive is left to `target.transfer`, how they become an object to
`target.storage`. It ends when its lane does.
"""

from __future__ import annotations

import functools
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

import structlog

from common import clock, failpoints
from common.errors import HaulError
from common.links import host_of, origin_of
from target.carriers import messages
from target.carriers.allowance import ASK_SECONDS, Allowance
from target.carriers.channel import Channel
from target.carriers.download import Stream
from target.carriers.fetch import RESUMABLE_BYTES, Fetch, Job
from target.carriers.large import LOOK_SECONDS, LargeObjects
from target.carriers.messages import FINISHED, SKIPPED, Ended, Failure, Greeting, Moved, Order, Terms
from target.storage.committer import Committer
from target.storage.metadata import NO_CUSTOM, ObjectMetadata
from target.storage.mountpath import Durability, Mountpath
from target.storage.writer import ObjectWriter, Staged
from target.transfer.egress import EgressGuard
from target.transfer.engine import Engine
from target.transfer.request import (
    Completion,
    FetchError,
    FetchRequest,
    Receipt,
    ResponseHead,
    Sink,
    TransferEngine,
    TransferSettings,
)

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
    settings = TransferSettings(ca_file=greeting.ca_file, known_hosts_file=greeting.known_hosts_file)
    engine = Engine(settings, guard)
    committer = Committer(mountpath)
    committer.start()
    channel.send(messages.READY)
    Carrier(channel, mountpath, engine, committer, guard, greeting.rate_limits).run()


class Carrier:
    """The loop of a carrier; one thread, and the committer's where a disk is waited for."""

    def __init__(
        self,
        channel: Channel,
        mountpath: Mountpath,
        engine: TransferEngine,
        committer: Committer,
        guard: EgressGuard,
        rate_limits: Mapping[str, int],
    ) -> None:
        self._channel = channel
        self._mountpath = mountpath
        self._engine = engine
        self._committer = committer
        self._guard = guard
        self._jobs: dict[int, Job] = {}
        self._of_hosts = {host: Allowance(rate) for host, rate in rate_limits.items()}
        self._limited: dict[int | str, Allowance] = dict(self._of_hosts.items())
        self._active: dict[int, Fetch] = {}
        self._large = LargeObjects(self, mountpath, engine)
        self._group: list[Staged] = []
        self._committed: deque[Sequence[tuple[Staged, HaulError | None]]] = deque()
        self._released: list[int] = []
        self._ended: list[Ended] = []
        self._failed: list[Failure] = []
        self._gathering_since = 0.0
        self._progress_due_at = 0.0
        self._handlers: Mapping[int, Callable[..., object]] = {
            messages.FETCH: self._take_orders,
            messages.TERMS: self._take_terms,
            messages.CANCEL: self._cancel,
            messages.GRANT: self._grant,
            messages.LEND: self._large.granted,
            messages.FORGET: self._forget,
            messages.DENY: self._deny,
        }

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
                if self._large.is_busy:
                    self._large.look_after(clock.monotonic())
                self._engine.flush()
                self._account()
        finally:
            for fetch in self._active.values():
                if fetch.writer is not None:
                    fetch.writer.discard()
            self._active.clear()
            self._large.close()
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
        if self._large.is_busy:
            return LOOK_SECONDS
        if self._limited and self._active:
            return ASK_SECONDS
        return _PROGRESS_SECONDS if self._active else _IDLE_SECONDS

    def _obey(self) -> None:
        for kind, *content in self._channel.receive():
            self._handlers[kind](*content)

    def _take_orders(self, orders: Sequence[Sequence[Any]]) -> None:
        now = clock.monotonic()
        for fields in orders:
            self._start_surely(Order(*fields), now)

    def _take_terms(self, fields: Sequence[Any]) -> None:
        terms = Terms(*fields)
        job = self._jobs[terms.number] = Job(terms, self._mountpath)
        if job.allowance is not None:
            self._limited[terms.number] = job.allowance

    def _forget(self, number: int) -> None:
        job = self._jobs.pop(number, None)
        self._limited.pop(number, None)
        if job is not None:
            self._large.forget(job.terms.job_id)

    def _grant(self, limited: int | str, size_bytes: int) -> None:
        allowance = self._limited.get(limited)
        if allowance is not None:
            allowance.grant(size_bytes)

    def _deny(self, endpoints: Sequence[tuple[str, int]]) -> None:
        self._guard.deny_endpoints(endpoints)

    def _start_surely(self, order: Order, now: float) -> None:
        url = order.link if order.request is None else order.request[0]
        of_host = self._of_hosts.get(host_of(origin_of(url))) if self._of_hosts else None
        fetch = Fetch(order, self._jobs[order.number], now, of_host)
        try:
            self._start(fetch)
        except HaulError as error:
            self.fail(fetch, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours costs one object, and not all that wait
            self._active.pop(fetch.id, None)
            self._fail_inexplicably(fetch, error)

    def _start(self, fetch: Fetch) -> None:
        job, terms = fetch.job, fetch.job.terms
        conditional: tuple[str, ...] = ()
        if terms.has_history or self._large.has_left:
            self._active[fetch.id] = fetch
            if self._large.go_on(fetch, _request(fetch, ())):
                return
        if not job.finds_nothing:
            stored = self._mountpath.stored_metadata(job.bucket, terms.bucket_id, fetch.name)
            if stored is not None:
                fetch.is_stored = True
                if stored.link_digest == fetch.link_digest:
                    if terms.has_history and stored.job == terms.job_id:
                        self.release(fetch)
                        self._end(Ended(fetch.id, FINISHED, stored.size, stored.size))
                        return
                    conditional = _conditions(stored)
                if fetch.is_unchanged(stored):
                    self.release(fetch)
                    self._end(Ended(fetch.id, SKIPPED, 0, 0))
                    return
        self._active[fetch.id] = fetch
        self._engine.start(
            fetch,
            _request(fetch, conditional),
            functools.partial(self._open_writer, fetch),
        )

    def _open_writer(self, fetch: Fetch, head: ResponseHead) -> Sink:
        """Where the body of a 200 goes."""
        fetch.learn(head)
        size = head.content_length
        if size is not None and size > RESUMABLE_BYTES:
            fetch.whole = self._large.begin(fetch, head, size, _request(fetch, ()))
            if fetch.whole is not None:
                return fetch.whole
        job, expected = fetch.job, fetch.expected_size if size is None else size
        fetch.writer = self._mountpath.writer(job.bucket, job.terms.bucket_id, fetch.name, expected, fetch.algorithms)
        return fetch.writer

    def _complete_surely(self, completion: Completion) -> None:
        token = completion.token
        fetch = token.download.fetch if isinstance(token, Stream) else token
        assert isinstance(fetch, Fetch)
        self._tell_of_wait(fetch, completion.result)
        try:
            if fetch.download is not None:
                stream = token if isinstance(token, Stream) else fetch.whole
                if stream is not None:
                    self._large.stream_ended(fetch, stream, completion)
            else:
                del self._active[fetch.id]
                self._complete(fetch, completion.result)
        except Exception as error:  # noqa: BLE001 - a mistake of ours costs one object, and not all that wait
            self._fail_inexplicably(fetch, error)

    def _tell_of_wait(self, fetch: Fetch, result: Receipt | HaulError) -> None:
        """An origin wants to be left alone, though the order may go well, or go on by its other streams."""
        wait = result.hold_seconds if isinstance(result, Receipt) else None
        if isinstance(result, FetchError):
            wait = result.retry_after_seconds
        if wait:
            self._channel.send(messages.HOLD, origin_of(fetch.link), wait)

    def _complete(self, fetch: Fetch, result: Receipt | HaulError) -> None:
        writer = fetch.writer
        if isinstance(result, HaulError):
            if writer is not None:
                writer.discard()
            self.fail(fetch, result)
            return
        self.release(fetch)
        if result.status == 304:
            self._end(Ended(fetch.id, SKIPPED, 0, 0))
            return
        assert writer is not None, "the engine opens a sink for every 200"
        try:
            staged = _staged(fetch, writer, result.head)
        except HaulError as error:
            writer.discard()
            self.fail(fetch, error)
            return
        self.commit(staged, fetch)

    def commit(self, staged: Staged, fetch: Fetch) -> None:
        """Make an object of what has come."""
        staged.seems_new = not fetch.is_stored
        if self._mountpath.syncs or staged.fd >= 0:
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
                assert isinstance(fetch, Fetch)
                if error is None:
                    size = staged.metadata.size
                    gained = size if fetch.download is None else fetch.download.gained_bytes
                    self._end(Ended(fetch.id, FINISHED, size, size, gained))
                else:
                    self.fail(fetch, error)

    def _commit_group(self) -> None:
        """Where nothing is synced, commit here: another thread would cost more than it saves."""
        if self._group:
            group, self._group = self._group, []
            failed = self._committer.commit(group)
            self._committed.append([(staged, failed.get(staged)) for staged in group])

    def release(self, fetch: Fetch) -> None:
        """The fetch needs no connection any more."""
        self._active.pop(fetch.id, None)
        self._note()
        self._released.append(fetch.id)

    def _end(self, ended: Ended) -> None:
        self._note()
        self._ended.append(ended)

    def fail(self, fetch: Fetch, error: HaulError, *, gained_bytes: int = 0) -> None:
        """The fetch is over, without an object."""
        self._active.pop(fetch.id, None)
        self._note()
        self._failed.append(fetch.failure(error, gained_bytes))

    def borrow(self, fetch: Fetch, connections: int) -> None:
        """Ask the lane for more connections for a large object."""
        self._channel.send(messages.BORROW, fetch.id, connections)

    def _fail_inexplicably(self, fetch: Fetch, error: Exception) -> None:
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
        moved = [self._moved(fetch) for fetch in self._active.values() if now >= fetch.started_at + _PROGRESS_SECONDS]
        if moved:
            self._channel.send(messages.MOVED, moved)

    def _moved(self, fetch: Fetch) -> Moved:
        if fetch.download is not None:
            return Moved(fetch.id, *self._large.progress(fetch), fetch.download.gained_bytes)
        received, expected = self._engine.progress(fetch)
        return Moved(fetch.id, received, expected, received)

    def _account(self) -> None:
        """Tell what has been read within limits, and ask for what will be."""
        if not self._limited:
            return
        now = clock.monotonic()
        for limited, allowance in self._limited.items():
            if now < allowance.asked_at + ASK_SECONDS:
                continue
            allowance.asked_at = now
            spent, wanted = allowance.account()
            wanted = wanted if any(allowance in fetch.allowances for fetch in self._active.values()) else 0
            if spent or wanted:
                self._channel.send(messages.SPENT, limited, spent, wanted)

    def _cancel(self, number: int) -> None:
        """Drop the running fetches of a job; what has been received whole is still committed."""
        for fetch in [fetch for fetch in self._active.values() if fetch.job.terms.number == number]:
            del self._active[fetch.id]
            if fetch.download is not None:
                self._large.cancel(fetch)
                continue
            self._engine.cancel(fetch)
            if fetch.writer is not None:
                fetch.writer.discard()
        self._send_report()
        self._channel.send(messages.CANCELLED, number)


def _request(fetch: Fetch, conditional: tuple[str, ...]) -> FetchRequest:
    terms = fetch.job.terms
    return FetchRequest(
        fetch.url,
        fetch.headers,
        conditional,
        terms.timeout_seconds,
        fetch.meter,
        # What is listed under an ETag may have become another version, of another size.
        expected_bytes=None if fetch.expected_etag else fetch.expected_size,
        link=fetch.link,
    )


def _conditions(stored: ObjectMetadata) -> tuple[str, ...]:
    """Ask only for a newer version of what is stored from the very same link."""
    if stored.etag:
        return (f"If-None-Match: {stored.etag}",)
    if stored.last_modified:
        return (f"If-Modified-Since: {stored.last_modified}",)
    return ()


def _staged(fetch: Fetch, writer: ObjectWriter, head: ResponseHead) -> Staged:
    """The finished work file of what has come whole; raises Unverified, DiskError."""
    verified = fetch.verify(writer.size, writer.digest) if fetch.has_expectations else NO_CUSTOM
    stored = fetch.metadata(
        writer.size,
        writer.checksum,
        verified,
        head.etag,
        head.last_modified,
        sized=head.content_length is not None,
    )
    return writer.finish(stored, fetch)
