"""What a lane and its carrier say to each other; pure. How it crosses between processes is left to `channel`.

From the lane: a greeting, the terms of a job once, then orders and what concerns them. From the carrier: that it is
ready, then reports. Every message is a tuple that begins with its kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from common.backends.base import OriginUnavailable
from common.errors import DiskError, DiskFailure, HaulError, NoSpace, Retry
from target.transfer.request import FetchError

GREETING, TERMS, FETCH, CANCEL, DENY, GRANT, FORGET, LEND = range(8)
"""To the carrier: Greeting; Terms; [Order]; number; [endpoint]; (limited, bytes); number; (id, connections).

`limited` is a job's number, or the name of a host.
"""
READY, UNUSABLE, REPORT, MOVED, CANCELLED, SPENT, BORROW, HOLD = range(8)
"""From the carrier: nothing; text; (ids let go, [Ended], [Failure]); [Moved]; number; (limited, bytes read, wanted);
(id, connections); (origin, seconds for which it wants to be left alone)."""

HOST, OBJECT, DISK, OURS = "host", "object", "disk", ""
"""Whose fault a failure is: the origin's, which may fail other objects as well; one object's, of an origin that works;
the mountpath's; or nothing that says anything about these."""

FINISHED, SKIPPED, FAILED, REMOVED = 0, 1, 2, 3
"""How a task ended, as the journal stores it; what was to be removed and is gone is REMOVED."""


_WORTH_BYTES = 1 << 20


class Greeting(NamedTuple):
    """What a carrier is told first: the disk that it serves, and how."""

    mountpath: str
    mountpath_id: str
    durability: str
    allow_origins: tuple[str, ...]
    ca_file: str
    known_hosts_file: str
    target_pid: int
    rate_limits: dict[str, int]


class Terms(NamedTuple):
    """What all orders of a job have in common; `number` is the job's in this target's journal.

    `bytes_per_second` of 0 is no limit; otherwise every byte read must have been granted. `has_history`: some objects
    may have been stored by this very job without being recorded.
    """

    number: int
    job_id: str
    bucket: str
    bucket_id: int
    headers: tuple[str, ...]
    timeout_seconds: float
    bytes_per_second: float
    has_history: bool


class Order(NamedTuple):
    """One object to fetch; `id` comes back in the reports. `expected`: size, digests and ETag, where they are known.

    `request` is the URL and the headers to fetch the link with, where it is no address itself; both are secrets.
    """

    id: int
    number: int
    name: str
    link: str
    expected: tuple[int | None, Sequence[tuple[str, str]], str] | None = None
    request: tuple[str, Sequence[str]] | None = None


class Ended(NamedTuple):
    """An order that is done: the object is durable, or needed nothing."""

    id: int
    outcome: int
    downloaded_bytes: int
    total_bytes: int
    gained_bytes: int = 0
    """What this attempt has received; earlier ones may have brought a part."""


class Failure(NamedTuple):
    """An attempt that failed.

    `may_pass`: trying again can help; `slows_host`: the origin is struggling; `gained_bytes` have come, and the
    next attempt goes on from there. `fault`: whose, as far as the origin is concerned; `reason`: in a word or two.
    """

    id: int
    text: str
    may_pass: bool
    slows_host: bool = False
    retry_after_seconds: float | None = None
    gained_bytes: int = 0
    fault: str = OURS
    reason: str = ""

    @property
    def got_further(self) -> bool:
        """Whether enough has come that the attempt does not count against those that an object has."""
        return self.gained_bytes >= _WORTH_BYTES


class Moved(NamedTuple):
    """How far an order has come that takes its time."""

    id: int
    received_bytes: int
    expected_bytes: int
    gained_bytes: int


def failure_of(order_id: int, error: HaulError) -> Failure:
    """What an error means for an order."""
    if isinstance(error, FetchError):
        passes = error.retry is Retry.LATER
        fault = HOST if error.is_of_host else OBJECT if error.http_status else OURS
        reason = f"status {error.http_status}" if error.http_status else error.kind.replace("_", " ")
        slows, wait = error.slows_host, error.retry_after_seconds
        return Failure(order_id, error.message, passes, slows, wait, fault=fault, reason=reason)
    if isinstance(error, OriginUnavailable):
        return Failure(order_id, error.message, True, True, error.retry_after_seconds, fault=HOST, reason="unavailable")
    passes = isinstance(error, DiskError) or error.retry is Retry.LATER
    fault = DISK if isinstance(error, DiskFailure) else OURS
    return Failure(order_id, error.message, passes and not isinstance(error, NoSpace), fault=fault)
