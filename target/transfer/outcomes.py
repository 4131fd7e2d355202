"""The table of everything that can go wrong between us and an origin: kind, whether to try again, and the text; pure.

When and how often to try again is left to the scheduler. Texts never carry a query or userinfo.
"""

from __future__ import annotations

import errno
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import pycurl

from common.errors import Retry
from common.links import redact
from common.names import printable
from common.ratelimits import WAIT_CAP_SECONDS, exhausted_seconds
from target.transfer.request import FetchError, Part, ResponseHead
from target.transfer.verification import content_range

RETRY_AFTER_CAP_SECONDS = WAIT_CAP_SECONDS
COMPLETE_STATUSES = frozenset({200, 203})
"""Answers whose body is the object."""
PART_STATUSES = COMPLETE_STATUSES | {206}
"""… or the part of it that was asked for."""
# libcurl error codes that pycurl has no names for
_E_WEIRD_SERVER_REPLY = 8
_E_HTTP2_STREAM = 92
_E_TOO_LARGE = 100
_MAX_LENGTH_BYTES = 2**63 - 1
_PASSING_STATUSES = frozenset({408, 421, 425, 429})
_LASTING_STATUSES = frozenset({501, 505})
_SLOWING_STATUSES = frozenset({429, 503})
_UNASKED = {
    206: "status 206 to a request without a range",
    304: "status 304 to a request without a condition",
}


class Row(NamedTuple):
    """One line of the table."""

    kind: str
    retry: Retry
    text: str


_REFUSED = Row("refused", Retry.LATER, "connection refused")
_UNREACHABLE = Row("refused", Retry.LATER, "cannot connect to the origin")
_RESET = Row("reset", Retry.LATER, "the connection broke off")
_PROTOCOL = Row("protocol", Retry.NEVER, "the answer is not valid HTTP")

CURL_ROWS: dict[int, Row] = {
    pycurl.E_UNSUPPORTED_PROTOCOL: _PROTOCOL,
    pycurl.E_URL_MALFORMAT: Row("protocol", Retry.NEVER, "the URL is not valid"),
    pycurl.E_COULDNT_RESOLVE_HOST: Row("dns", Retry.LATER, "the host's name cannot be resolved"),
    pycurl.E_COULDNT_CONNECT: _UNREACHABLE,
    _E_WEIRD_SERVER_REPLY: _PROTOCOL,
    pycurl.E_HTTP2: Row("protocol", Retry.LATER, "HTTP/2 error"),
    _E_HTTP2_STREAM: Row("protocol", Retry.LATER, "HTTP/2 error"),
    pycurl.E_PARTIAL_FILE: Row("short", Retry.LATER, "the body ended early"),
    pycurl.E_WRITE_ERROR: Row("internal", Retry.LATER, "the body could not be stored"),
    pycurl.E_OPERATION_TIMEDOUT: Row("connect_timeout", Retry.LATER, "timeout while connecting"),
    pycurl.E_SSL_CONNECT_ERROR: Row("tls", Retry.LATER, "TLS handshake failed"),
    pycurl.E_GOT_NOTHING: Row("reset", Retry.LATER, "the connection was closed without an answer"),
    pycurl.E_SEND_ERROR: _RESET,
    pycurl.E_RECV_ERROR: _RESET,
    pycurl.E_SSL_CERTPROBLEM: Row("tls", Retry.NEVER, "TLS certificate refused"),
    pycurl.E_SSL_CIPHER: Row("tls", Retry.NEVER, "no common TLS cipher"),
    pycurl.E_PEER_FAILED_VERIFICATION: Row("tls", Retry.NEVER, "TLS certificate refused"),
    pycurl.E_BAD_CONTENT_ENCODING: _PROTOCOL,
    pycurl.E_SSL_CACERT_BADFILE: Row("tls", Retry.NEVER, "the file of trusted certificates cannot be read"),
    pycurl.E_SSL_ISSUER_ERROR: Row("tls", Retry.NEVER, "TLS certificate refused"),
    pycurl.E_SSL_INVALIDCERTSTATUS: Row("tls", Retry.NEVER, "TLS certificate refused"),
    _E_TOO_LARGE: Row("protocol", Retry.NEVER, "the headers of the answer are too large"),
}
_OTHER = Row("transport", Retry.LATER, "the transfer failed")


def curl_failure(url: str, code: int, message: str = "", os_errno: int = 0) -> FetchError:
    """The failure that libcurl reports; `message` is libcurl's own text and shown for certificates only."""
    row = CURL_ROWS.get(code, _OTHER)
    if code == pycurl.E_COULDNT_CONNECT and os_errno == errno.ECONNREFUSED:
        row = _REFUSED
    if code == pycurl.E_RECV_ERROR and ("header" in message.lower()):
        row = CURL_ROWS[_E_TOO_LARGE]
    text = row.text
    if row.text == "TLS certificate refused" and message:
        text = f"{text}: {printable(message, limit=200)}"
    elif row is _OTHER:
        text = f"{text} (libcurl error {code})"
    return FetchError(row.kind, _failed(url, text), retry=row.retry)


def answer_failure(
    url: str, head: ResponseHead, *, conditional: bool, now_unix: float, part: Part | None = None
) -> FetchError | None:
    """What is wrong with a complete answer, None when it is what was asked for.

    `url` is the link of the job, not where redirects led.
    """
    status = head.status
    if status in COMPLETE_STATUSES or (status == 304 and conditional):
        return None
    if status == 206 and part is not None:
        return range_refusal(url, head, part)
    if status in _UNASKED:
        return FetchError("protocol", _failed(url, _UNASKED[status]), retry=Retry.NEVER, http_status=status)
    text = f"{redact(url)} does not exist" if status == 404 else _failed(url, f"status {status}")
    wait = retry_after_seconds(head.headers.get("retry-after", ""), now_unix)
    if wait is None and status in _SLOWING_STATUSES:
        wait = hold_seconds(head)
    return FetchError(
        "status",
        text,
        retry=status_retry(status),
        http_status=status,
        retry_after_seconds=wait,
        slows_host=status in _SLOWING_STATUSES,
    )


def hold_seconds(head: ResponseHead) -> float | None:
    """How long the origin will refuse everything by its `RateLimit`, None while requests are left or it has none."""
    if "ratelimit" not in head.headers:
        return None
    return exhausted_seconds(head.headers["ratelimit"], head.headers.get("ratelimit-policy", ""))


def status_retry(status: int) -> Retry:
    """4xx are final but for those that pass by themselves; 5xx pass but for those that state a lack."""
    if status in _PASSING_STATUSES:
        return Retry.LATER
    return Retry.LATER if status >= 500 and status not in _LASTING_STATUSES else Retry.NEVER


def egress_blocked(url: str, ip: str, reason: str) -> FetchError:
    """The guard refused every address of the host; `reason` is the guard's."""
    return FetchError("egress", _failed(url, f"egress blocked: {ip} ({reason})"), retry=Retry.NEVER)


def range_refusal(url: str, head: ResponseHead, part: Part) -> FetchError | None:
    """What is wrong with a 206: it must have exactly the bytes that were asked for, of an object of the same size."""
    told = content_range(head.headers.get("content-range", ""))
    if told is None or told[:2] != (part.start, part.end) or told[2] not in (None, part.size):
        text = f"asked for bytes {part.start}-{part.end - 1} of {part.size}, got others"
        return FetchError("range", _failed(url, text), retry=Retry.LATER)
    return None


def body_refusal(
    url: str, head: ResponseHead, max_object_bytes: int | None, part: Part | None = None
) -> FetchError | None:
    """Why a body is not even begun, by the length or the range that its head announces."""
    if head.status == 206 and part is not None:
        return range_refusal(url, head, part)
    length = head.content_length or 0
    if length > _MAX_LENGTH_BYTES:
        return FetchError(_PROTOCOL.kind, _failed(url, _PROTOCOL.text), retry=_PROTOCOL.retry)
    if max_object_bytes is not None and length > max_object_bytes:
        return too_large(url, max_object_bytes)
    return None


def too_large(url: str, limit_bytes: int) -> FetchError:
    """The object is larger than the settings allow, by its announced or its real size."""
    return FetchError("too_large", _failed(url, f"larger than the limit of {limit_bytes} bytes"), retry=Retry.NEVER)


def invalid_request(url: str, what: str) -> FetchError:
    """The request cannot be put into HTTP."""
    return FetchError("protocol", _failed(url, what), retry=Retry.NEVER)


def deadline_exceeded(url: str, seconds: float) -> FetchError:
    """The job's own timeout has passed; it asked for that, so it is final."""
    return FetchError("timeout", _failed(url, f"timeout: deadline exceeded after {seconds:g}s"), retry=Retry.NEVER)


def first_byte_timeout(url: str, seconds: float) -> FetchError:
    """The request went out and no complete head came back."""
    return FetchError("first_byte", _failed(url, f"timeout: no answer within {seconds:g}s"), retry=Retry.LATER)


def stalled(url: str, min_rate: float, window_seconds: float) -> FetchError:
    """The average over a window fell below the minimum rate."""
    text = f"timeout: slower than {min_rate:g} bytes/s over {window_seconds:g}s"
    return FetchError("stall", _failed(url, text), retry=Retry.LATER)


def too_slow(url: str, seconds: float) -> FetchError:
    """The object has taken longer than one of its size may, though never slower than the minimum for a whole window."""
    return FetchError("too_slow", _failed(url, f"timeout: not there after {seconds:.0f}s"), retry=Retry.LATER)


def more_than_expected(url: str, expected_bytes: int) -> FetchError:
    """The body goes on behind the size that the job expects."""
    text = f"size is more than {expected_bytes}, which is what the job expects"
    return FetchError("too_large", _failed(url, text), retry=Retry.NEVER)


def retry_after_seconds(value: str, now_unix: float) -> float | None:
    """Seconds from a `Retry-After` header (seconds or an HTTP date), capped; None for garbage and negative values."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return min(float(value), RETRY_AFTER_CAP_SECONDS) if len(value) < 20 else RETRY_AFTER_CAP_SECONDS
    try:
        date = parsedate_to_datetime(value)
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_unix
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(seconds, RETRY_AFTER_CAP_SECONDS) if seconds >= 0 else None


def _failed(url: str, reason: str) -> str:
    return f'failed to download "{redact(url)}": {reason}'
