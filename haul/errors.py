"""What can go wrong with a cluster, as a tree of exceptions; `str(error)` says it in words.

HaulError
├── InvalidInput          refused here, before anything was sent; a ValueError, too
├── ServerError           the cluster has answered with an error
│   ├── InvalidRequest    400, 405, 413, …
│   ├── AccessDenied      401, 403
│   ├── NotFound          404
│   ├── AlreadyExists     409, and 412 where only something new was to be stored
│   ├── Unsatisfiable     416: the object has no such bytes
│   ├── Unsupported       501
│   ├── NoSpace           507
│   └── Unavailable       429, 500, 502, 503, 504: a part of the cluster, or a service behind it, does not answer
├── Unreachable           a connection broke, or nobody answers
│   └── NoProxyAnswers    the whole cluster is away, or somewhere else
├── Damaged               bytes are not those that were sent
├── Changed               the object has been replaced since; also 412
└── UnexpectedAnswer      whoever answers is no cluster
"""

from __future__ import annotations

import json
from typing import ClassVar

import httpx

from common.names import printable

_ALREADY_EXISTS = "ErrBucketAlreadyExists"
_NOT_OWNER = "ErrNotOwner"
"""The object has moved to another target between two requests."""
_PRECONDITION_FAILED = 412
_MAX_MESSAGE = 4096


class HaulError(Exception):
    """Root of all errors of this library; `may_pass` says whether trying again later can help."""

    may_pass: ClassVar[bool] = False


class InvalidInput(HaulError, ValueError):
    """An argument cannot be meant; nothing has been sent."""


class ServerError(HaulError):
    """The cluster answered with an error: its text, HTTP status, and code, which is empty for most."""

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class InvalidRequest(ServerError):
    """The request cannot be accepted; the text names the field."""


class AccessDenied(ServerError):
    """The request is understood and refused."""


class NotFound(ServerError):
    """No such bucket, object or job."""


class AlreadyExists(ServerError):
    """There is such a bucket already, or an object where only a new one was to be stored."""


class Unsatisfiable(ServerError):
    """The object has none of the bytes that were asked for."""


class Unsupported(ServerError):
    """The cluster does not offer this."""


class NoSpace(ServerError):
    """A disk of the cluster is full."""

    may_pass = True


class Unavailable(ServerError):
    """A part of the cluster does not answer; `retry_after_seconds` is when to ask again, 0: not told."""

    may_pass = True

    def __init__(self, message: str, *, status: int, code: str = "", retry_after_seconds: float = 0.0) -> None:
        super().__init__(message, status=status, code=code)
        self.retry_after_seconds = retry_after_seconds


class Unreachable(HaulError):
    """Nobody answers, or a connection broke before an answer had come whole."""

    may_pass = True


class NoProxyAnswers(Unreachable):
    """Not one of the proxies answers: the cluster does not run, or is somewhere else."""


class Damaged(HaulError):
    """The bytes that arrived have not the checksum of those that were sent."""

    may_pass = True


class Changed(HaulError):
    """The object is not any more the one that was being read, or that was to be removed."""


class UnexpectedAnswer(HaulError):
    """An answer means nothing to this library; it probably comes from something else than a cluster."""


_BY_STATUS: dict[int, type[ServerError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    416: Unsatisfiable,
    501: Unsupported,
    507: NoSpace,
}
_UNAVAILABLE = frozenset({429, 500, 502, 503, 504})


def error_of(response: httpx.Response) -> ServerError | Changed:
    """The error that an answer tells; its body has been read."""
    status = response.status_code
    text = response.headers.get("Hdr-Error") or response.content
    try:
        fields = json.loads(text)
        message, code = str(fields["message"]), str(fields.get("tcode", ""))
    except (ValueError, KeyError, TypeError):
        message, code = f"{response.url.host} answered {status} {response.reason_phrase}", ""
    message = printable(message, _MAX_MESSAGE)
    if status in _UNAVAILABLE or code == _NOT_OWNER:
        seconds = _seconds(response.headers.get("Retry-After", ""))
        return Unavailable(message, status=status, code=code, retry_after_seconds=seconds)
    if status == _PRECONDITION_FAILED and "If-Match" in response.request.headers:
        return Changed(message)
    if code == _ALREADY_EXISTS or status == _PRECONDITION_FAILED:
        return AlreadyExists(message, status=status, code=code)
    return _BY_STATUS.get(status, InvalidRequest)(message, status=status, code=code)


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
