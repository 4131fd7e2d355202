"""How one node calls another: msgpack over kept HTTP connections, with deadlines, and errors that keep their meaning.

Whom to call, and what to do when nobody answers, is left to the caller; answers that are large to `nodestream`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import msgpack

from common.errors import HaulError, InvalidRequest, Retry, Unavailable


class RemoteError(HaulError):
    """An error that a peer answered with: its text, code and status, unchanged."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry = Retry.LATER if status in (429, 503, 507) else Retry.NEVER


class NotListening(Unavailable):
    """Nobody listens at the peer's address: its host answers, its process is not there."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A peer's whole answer, whatever its status; the headers' names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NodeClient:
    """One connection pool of a node towards its peers."""

    def __init__(self, *, connect_timeout_seconds: float = 2.0, timeout_seconds: float = 30.0) -> None:
        self._connect_timeout_seconds = connect_timeout_seconds
        self._timeout_seconds = timeout_seconds
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_seconds, connect=connect_timeout_seconds),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=30.0),
            trust_env=False,
            follow_redirects=False,
        )

    async def call(self, url: str, path: str, body: object = None, *, timeout_seconds: float | None = None) -> Any:
        """POST `body` as msgpack to `url + path`; returns the decoded answer, None when it is empty.

        Raises Unavailable when the peer cannot be reached or does not answer in time (`maybe_applied` tells whether
        it may have acted), NotListening when no process is there, RemoteError when it answers with an error.
        """
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        with _translated(url):
            try:
                async with asyncio.timeout(seconds):
                    response = await self._http.post(
                        url + path,
                        content=msgpack.packb(body),
                        headers={"content-type": "application/msgpack"},
                        timeout=httpx.Timeout(
                            seconds, connect=min(seconds / 2, self._connect_timeout_seconds), pool=seconds / 2
                        ),
                    )
            except TimeoutError:
                raise Unavailable(f"{url} did not finish its answer within {seconds:g} s", maybe_applied=True) from None
        return _decoded(url, response)

    async def forward(
        self, method: str, url: str, body: bytes = b"", *, timeout_seconds: float, limit_bytes: int
    ) -> Forwarded:
        """Send a client's request on to a peer; the body is JSON or empty.

        Raises Unavailable as `call` does, InvalidRequest for an answer of more than `limit_bytes`.
        """
        headers = {"content-type": "application/json"} if body else {}
        with _translated(url):
            try:
                async with (
                    asyncio.timeout(timeout_seconds),
                    self._http.stream(method, url, content=body or None, headers=headers) as response,
                ):
                    chunks, size_bytes = [], 0
                    async for chunk in response.aiter_bytes():
                        chunks.append(chunk)
                        size_bytes += len(chunk)
                        if size_bytes > limit_bytes:
                            raise InvalidRequest(
                                f"{url} answers with more than {limit_bytes} bytes, which are not passed on"
                            )
                    return Forwarded(response.status_code, dict(response.headers), b"".join(chunks))
            except TimeoutError:
                raise Unavailable(
                    f"{url} did not finish its answer within {timeout_seconds:g} s", maybe_applied=True
                ) from None

    async def send(self, url: str, path: str, chunks: AsyncIterator[bytes]) -> Any:
        """POST a body that is made as it is sent; returns and raises as `call` does.

        There is no deadline for the whole, but for each step of it.
        """
        with _translated(url):
            response = await self._http.post(url + path, content=chunks)
        return _decoded(url, response)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """What httpx raises, as what a caller understands."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        kind = NotListening if _is_refused(error) else Unavailable
        raise kind(f"{url} does not answer: {_reason(error)}") from None
    except AttributeError:
        # anyio asks a connection that its peer has reset at once for the peer's name, on a socket that is gone
        raise Unavailable(f"{url} does not answer: connection reset") from None
    except httpx.HTTPError as error:
        raise Unavailable(f"{url} did not finish its answer: {_reason(error)}", maybe_applied=True) from None


def _decoded(url: str, response: httpx.Response) -> Any:
    if not response.is_success:
        raise _remote_error(url, response)
    try:
        return msgpack.unpackb(response.content, strict_map_key=False) if response.content else None
    except (ValueError, TypeError, msgpack.UnpackException):
        raise Unavailable(f"{url} answered with what is not msgpack", maybe_applied=True) from None


def _is_refused(error: BaseException) -> bool:
    """Whether each address of the peer refused the connection, by what lies at the bottom of the error."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    attempts = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    return all(isinstance(attempt, ConnectionRefusedError) for attempt in attempts)


def _reason(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _remote_error(url: str, response: httpx.Response) -> RemoteError:
    try:
        fields = json.loads(response.content)
        return RemoteError(str(fields["message"]), status=response.status_code, code=str(fields.get("tcode", "")))
    except (ValueError, KeyError, TypeError):
        return RemoteError(f"{url} answered {response.status_code}", status=response.status_code, code="")
