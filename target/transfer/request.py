"""The vocabulary of the transfer engine: what is asked for, what comes back, and how it can fail.

Fetching is left to `engine` (libcurl) and `memory` (the twin for tests), the wording of failures to `outcomes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from common.errors import HaulError, OriginError, Retry


class Meter(Protocol):
    """What decides whether a limited fetch may read on."""

    @property
    def bytes_per_second(self) -> float: ...

    def charge(self, size_bytes: int) -> None:
        """So many bytes have been read."""

    def delay(self) -> float:
        """0 when reading is allowed, else the seconds after which to ask again."""


class Part(NamedTuple):
    """The bytes from `start` to before `end` of an object of `size` bytes, as long as it is what `validator` says."""

    start: int
    end: int
    size: int
    validator: str


class FetchRequest(NamedTuple):
    """One attempt at one object, or at a part of it.

    `headers` are the client's and are dropped for good when a redirect leaves the origin; `conditional` are our own.
    For a `part` the answer is 206 with exactly these bytes, or 200 with another version or from a server that ignores
    ranges: whole, from its beginning. With `head_only` the answer has no body, and no sink is made. A body is not
    read beyond `expected_bytes`. `link` is what the user asked for, where that is not the URL.
    """

    url: str
    headers: tuple[str, ...] = ()
    conditional: tuple[str, ...] = ()
    timeout_seconds: float = 0.0
    budget: Meter | None = None
    part: Part | None = None
    head_only: bool = False
    expected_bytes: int | None = None
    link: str = ""

    @property
    def shown(self) -> str:
        """What errors are about."""
        return self.link or self.url


class ResponseHead(NamedTuple):
    """Status and headers of the last answer; names in lower case, values joined by a comma when repeated."""

    status: int
    content_length: int | None
    headers: Mapping[str, str]
    url: str

    @property
    def etag(self) -> str:
        return self.headers["etag"] if "etag" in self.headers else ""  # noqa: SIM401 - found by looking, not by failing

    @property
    def last_modified(self) -> str:
        return self.headers["last-modified"] if "last-modified" in self.headers else ""  # noqa: SIM401


class Sink(Protocol):
    """Takes the body as it arrives; `write` may raise a HaulError, which ends the transfer and is its result."""

    def write(self, chunk: bytes, /) -> object: ...


class Enough(HaulError):
    """Raised by a sink that wants no more: the fetch ends at once, with this as its result."""


SinkFactory = Callable[[ResponseHead], Sink]
"""Called once, when a 200 (or the 206 of a part) is there.

It must not call the engine, and may refuse by a HaulError as `Sink.write` may.
"""


class Receipt(NamedTuple):
    """A fetch that went well: 200 (206 for a part) with the whole body in the sink, or 304 with no sink made.

    `hold_seconds`: how long the link's origin, by its answer, will refuse everything else; it has no requests left.
    """

    status: int
    size_bytes: int
    head: ResponseHead
    hold_seconds: float | None = None


_STRUGGLES = frozenset({"refused", "reset", "connect_timeout", "first_byte", "stall"})
_OF_OBJECT = frozenset({"short", "range", "changed", "internal"})


class FetchError(OriginError):
    """An object could not be fetched; `kind` is the row of `outcomes`, the text is for the user."""

    def __init__(
        self,
        kind: str,
        text: str,
        *,
        retry: Retry,
        http_status: int = 0,
        retry_after_seconds: float | None = None,
        slows_host: bool = False,
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.retry = retry
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds
        self.slows_host = slows_host or kind in _STRUGGLES

    @property
    def is_of_host(self) -> bool:
        """Whether other objects of the same host may well fail, too."""
        return self.retry is Retry.LATER and self.kind not in _OF_OBJECT


class Completion(NamedTuple):
    """The end of a fetch that was started with `token`."""

    token: object
    result: Receipt | HaulError


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """What all transfers of an engine have in common."""

    connect_timeout_seconds: float = 10.0
    first_byte_timeout_seconds: float = 30.0
    min_rate_bytes_per_second: float = 1024.0
    min_rate_window_seconds: float = 30.0
    total_seconds: float = 600.0
    total_rate_bytes_per_second: float = 16384.0
    sweep_interval_seconds: float = 0.25
    max_redirects: int = 10
    max_object_bytes: int | None = None
    max_discarded_bytes: int = 65536
    buffer_bytes: int = 512 * 1024
    max_connections_kept: int = 256
    ca_file: str = ""
    known_hosts_file: str = ""
    user_agent: str = "haul"


@dataclass(slots=True)
class Progress:
    """How far a fetch has come, and what the deadlines need to know about it."""

    started_at: float
    hop_started_at: float = 0.0
    received_bytes: int = 0
    head_complete: bool = False
    throttled: bool = False
    window_started_at: float = 0.0
    window_bytes: int = 0
    held_back_seconds: float = 0.0

    def begin_hop(self, now: float) -> None:
        """A request is about to be made: the first one, or one that follows a redirect."""
        self.hop_started_at = self.window_started_at = now
        self.head_complete = False


class TransferEngine(Protocol):
    """What a lane needs of an engine; only `wake` may be called from other threads."""

    @property
    def active(self) -> int: ...

    def start(self, token: object, request: FetchRequest, sink: SinkFactory) -> None:
        """Begin a fetch; exactly one completion with this token follows unless it is cancelled."""

    def flush(self) -> None:
        """Send the requests of what was started, instead of leaving that to the next `collect`."""

    def wait(self, timeout_seconds: float) -> None:
        """Wait until `collect` has something to do; moves no bytes and may return before the time is up."""

    def collect(self) -> list[Completion]:
        """Move bytes; returns what has ended, possibly nothing."""

    def poll(self, timeout_seconds: float) -> list[Completion]:
        """`wait`, then `collect`."""

    def cancel(self, token: object) -> None:
        """Forget a fetch: its sink gets no more bytes and no completion is delivered. Unknown tokens are fine."""

    def progress(self, token: object) -> tuple[int, int]:
        """Bytes received and bytes expected, 0 when not known."""

    def watch(self, fd: int) -> None:
        """Let a descriptor that can be read end `wait`, too."""

    def heard(self) -> bool:
        """Whether the watched descriptor could be read in a `collect` since this was asked last."""

    def wake(self) -> None:
        """Make the current or the next `poll` return early."""

    def close(self) -> None:
        """Drop all fetches and connections; afterwards only `wake` and `close` may be called, and do nothing."""
