"""What every backend offers, and the vocabulary of its answers; each service has a module of its own beside this one.

A backend is one bucket of one service, with the credentials to read it. It lists, it looks, and it says how an object
is requested; bytes go through the transfer engine of the targets. Its methods may take as long as the service does:
they are called in threads, and from several at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from common.errors import OriginError, RequestError, Retry, Unsupported

MAX_PAGE = 1_000
"""What all services list at once; asking for more is harmless, and gives no more."""


class SourceObject(NamedTuple):
    """One object as its service tells of it.

    `etag` is what the service will answer in the header `ETag` when the bytes are requested, empty where a listing does
    not tell that; `version` names this version where the service keeps several; `modified_ns` is in unix nanoseconds, 0
    when not known; `digests` are those of `common.expectation`, in lower-case hex.
    """

    name: str
    size_bytes: int | None
    etag: str = ""
    version: str = ""
    modified_ns: int = 0
    digests: Mapping[str, str] = {}


def custom_of(found: SourceObject, provider: str) -> dict[str, str]:
    """What the dialect tells of an object besides its properties (wire.md §3.5)."""
    told = {"source": provider, "ETag": found.etag.strip('"'), "version": found.version}
    told |= {algorithm: found.digests[algorithm] for algorithm in ("crc32c", "md5") if algorithm in found.digests}
    return {key: value for key, value in told.items() if value}


class ObjectPage(NamedTuple):
    """Some objects, and the token to go on with; without one it was the last page. A page may be empty."""

    objects: Sequence[SourceObject]
    token: str = ""


class SourceRequest(NamedTuple):
    """How the bytes of an object are requested: signed where that is needed. Both fields are secrets."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between services.

    `is_ordered`: pages come in the order of the names' UTF-8 bytes; `has_versions`: an object's version can be asked
    for; `digests`: which ones a listing may tell.
    """

    is_ordered: bool = True
    has_versions: bool = False
    digests: frozenset[str] = field(default_factory=frozenset)


class Backend(Protocol):
    """One bucket of a service.

    Everything raises RemoteBucketNotFound, AccessDenied when the credentials do not suffice, OriginUnavailable when the
    service does not answer or throttles, and OriginError when it answers nonsense.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def page(self, prefix: str = "", token: str = "", limit: int = MAX_PAGE) -> ObjectPage:
        """Objects whose names begin with `prefix`: the first page, or the one that an earlier page's token names."""

    def head(self, name: str, version: str = "") -> SourceObject:
        """One object as it is now, or one version of it; raises ObjectNotFound besides."""

    def request(self, name: str, version: str = "") -> SourceRequest:
        """How to request an object's bytes, valid for an hour at least; asks nobody, but for a new token."""

    def close(self) -> None:
        """Let go of connections; safe to call twice."""


class RemoteBucketNotFound(RequestError):
    """The service knows no such bucket."""

    code = "ErrRemoteBckNotFound"
    status = 404


class BackendMissing(RequestError):
    """This cluster has been told to leave a service alone, or does not know another cluster."""

    code = "ErrFailedTo"
    status = 404

    def __init__(self, cname: str, why: str) -> None:
        super().__init__(f"failed to lookup bucket {cname}, err: {why}")


class OriginUnavailable(OriginError):
    """The service does not answer, or asks to be left alone for a while."""

    status = 503
    retry = Retry.LATER

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


def missing_extra(what: str, extra: str) -> Unsupported:
    """What to raise where the library of a service is not installed."""
    return Unsupported(f'{what} need the extra "{extra}" on every node: pip install "haul[{extra}]"')
