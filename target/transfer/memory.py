"""An in-memory twin of the engine for tests: the same contract (tests/transfer/contract.py), no sockets.

Sockets, deadlines other than the job's own, budgets and the egress guard are left to `engine`.
"""

from __future__ import annotations

import select
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.clock import monotonic
from common.errors import HaulError
from target.transfer import outcomes, redirects
from target.transfer.request import (
    Completion,
    FetchError,
    FetchRequest,
    Receipt,
    ResponseHead,
    Sink,
    SinkFactory,
    TransferSettings,
)


@dataclass(slots=True)
class MemoryAnswer:
    """What an origin says: status, headers (names in lower case) and body."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class MemoryOrigin:
    """Answers by URL; used from tests and by any number of engines."""

    def __init__(self) -> None:
        self._answers: dict[str, MemoryAnswer] = {}
        self._next: defaultdict[str, deque[MemoryAnswer | FetchError]] = defaultdict(deque)
        self._gates: dict[str, threading.Event] = {}
        self.requests: list[tuple[str, tuple[str, ...]]] = []

    def put(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._answers[url] = MemoryAnswer(200, {**(headers or {}), "content-length": str(len(body))}, body)

    def misbehave(self, url: str, *answers: MemoryAnswer | FetchError) -> None:
        """Give these answers, or fail in these ways, to the next requests for `url`."""
        self._next[url].extend(answers)

    def gate(self, url: str) -> threading.Event:
        """Hold the answers for `url` until the event is set; engines notice at their next poll."""
        gate = self._gates[url] = threading.Event()
        return gate

    def held(self, url: str) -> bool:
        """Whether a gate keeps the answer for `url` back."""
        gate = self._gates.get(url)
        return gate is not None and not gate.is_set()

    def answer(self, url: str, lines: tuple[str, ...]) -> MemoryAnswer | FetchError:
        """The answer to one request with these header lines."""
        self.requests.append((url, lines))
        if self._next[url]:
            return self._next[url].popleft()
        answer = self._answers.get(url, MemoryAnswer(404))
        etag = answer.headers.get("etag")
        if etag and f"if-none-match: {etag}" in {line.lower() for line in lines}:
            return MemoryAnswer(304, answer.headers)
        return answer


@dataclass(slots=True)
class _Fetch:
    request: FetchRequest
    factory: SinkFactory
    started_at: float
    url: str
    redirects: int = 0
    trusted: bool = True
    hold_seconds: float | None = None
    head: ResponseHead | None = None
    sink: Sink | None = None
    body: bytes = b""
    written_bytes: int = 0


class MemoryEngine:
    """A `TransferEngine` over a `MemoryOrigin`; every poll moves each fetch on by one step of `chunk_bytes`."""

    def __init__(
        self,
        origin: MemoryOrigin,
        settings: TransferSettings | None = None,
        *,
        chunk_bytes: int = 16384,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._origin = origin
        self._settings = settings or TransferSettings()
        self._chunk_bytes = chunk_bytes
        self._clock = clock
        self._fetches: dict[object, _Fetch] = {}
        self._woken = threading.Event()
        self._watched_fd = -1

    @property
    def active(self) -> int:
        return len(self._fetches)

    def start(self, token: object, request: FetchRequest, sink: SinkFactory) -> None:
        self._fetches[token] = _Fetch(request, sink, self._clock(), request.url)

    def poll(self, timeout_seconds: float) -> list[Completion]:
        self.wait(timeout_seconds)
        return self.collect()

    def flush(self) -> None:
        """Nothing to send."""

    def wait(self, timeout_seconds: float) -> None:
        if not self.heard() and all(self._origin.held(fetch.url) for fetch in self._fetches.values()):
            self._woken.wait(min(timeout_seconds, self._settings.sweep_interval_seconds))
        self._woken.clear()

    def collect(self) -> list[Completion]:
        completions = []
        for token, fetch in list(self._fetches.items()):
            result = self._step(fetch)
            if result is not None:
                del self._fetches[token]
                completions.append(Completion(token, result))
        return completions

    def cancel(self, token: object) -> None:
        self._fetches.pop(token, None)

    def progress(self, token: object) -> tuple[int, int]:
        fetch = self._fetches.get(token)
        return (fetch.written_bytes, len(fetch.body) if fetch.sink else 0) if fetch else (0, 0)

    def watch(self, fd: int) -> None:
        self._watched_fd = fd

    def heard(self) -> bool:
        return self._watched_fd >= 0 and bool(select.select([self._watched_fd], [], [], 0)[0])

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        self._fetches.clear()

    def _step(self, fetch: _Fetch) -> Receipt | HaulError | None:
        timeout = fetch.request.timeout_seconds
        if timeout and self._clock() - fetch.started_at >= timeout:
            return outcomes.deadline_exceeded(fetch.request.url, timeout)
        if self._origin.held(fetch.url):
            return None
        try:
            return self._ask(fetch) if fetch.sink is None else self._write(fetch)
        except HaulError as error:
            return error

    def _ask(self, fetch: _Fetch) -> Receipt | FetchError | None:
        request = fetch.request
        lines = request.headers + request.conditional if fetch.trusted else request.conditional
        answer = self._origin.answer(fetch.url, lines)
        if isinstance(answer, FetchError):
            return answer
        length = answer.headers.get("content-length")
        head = ResponseHead(answer.status, int(length) if length else None, answer.headers, fetch.url)
        if fetch.trusted:
            fetch.hold_seconds = outcomes.hold_seconds(head) or fetch.hold_seconds
        if answer.status in redirects.STATUSES and "location" in answer.headers:
            self._follow(fetch, answer.headers["location"])
            return None
        failure = outcomes.answer_failure(request.url, head, conditional=bool(request.conditional), now_unix=0.0)
        if failure:
            return failure
        if answer.status == 304 or request.head_only:
            return Receipt(answer.status, 0, head, fetch.hold_seconds)
        refusal = outcomes.body_refusal(request.url, head, self._settings.max_object_bytes)
        if refusal:
            return refusal
        fetch.head, fetch.body, fetch.sink = head, answer.body, fetch.factory(head)
        return self._write(fetch)

    def _follow(self, fetch: _Fetch, location: str) -> None:
        fetch.redirects += 1
        if fetch.redirects > self._settings.max_redirects:
            raise redirects.too_many(fetch.request.url, self._settings.max_redirects)
        hop = redirects.next_hop(fetch.url, location, trusted=fetch.trusted)
        fetch.url, fetch.trusted = hop.url, hop.trusted

    def _write(self, fetch: _Fetch) -> Receipt | None:
        assert fetch.sink
        assert fetch.head
        chunk = fetch.body[fetch.written_bytes : fetch.written_bytes + self._chunk_bytes]
        if chunk:
            fetch.sink.write(chunk)
            fetch.written_bytes += len(chunk)
        if fetch.written_bytes < len(fetch.body):
            return None
        return Receipt(200, fetch.written_bytes, fetch.head, fetch.hold_seconds)
