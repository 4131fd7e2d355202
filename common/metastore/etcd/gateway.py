"""HTTP to the members of an etcd: one call, one answer, or a stream of messages; the meta store's only user of httpx.

Which member is asked, and what is done when it does not answer, is left to `members` and `session`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from common.lifecycle import TaskScope
from common.metastore.etcd.failures import NotSent, Refused, Unanswered

# httpx lets two errors pass as they are: OpenSSL's, when a member refuses the certificate that was shown to it, and
# what anyio makes of a connection that was reset at once: it asks for the peer's name, on a socket that is gone.
_BROKEN: Final = (httpx.HTTPError, ssl.SSLError, AttributeError)
MAX_MESSAGE_BYTES: Final = 256 << 20
_MAX_WAITING_MESSAGES: Final = 64
_UNKNOWN: Final = 2
# A member without a leader says so at once, and ends its streams, instead of letting them wait for one.
_DEMAND_LEADER: Final = {"Grpc-Metadata-hasleader": "true"}
# What has crashed without a word is noticed by the kernel within some ten seconds, on idle connections, too.
_SOCKET_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class Messages:
    """The messages of a streaming answer, in order; those that wait to be taken are bounded."""

    def __init__(self) -> None:
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._failure: Exception | None = None
        self._changed = asyncio.Condition()

    async def next(self, timeout_seconds: float) -> Mapping[str, Any]:
        """The next message; raises TimeoutError, and Unanswered or Refused when no more will come."""
        async with asyncio.timeout(timeout_seconds), self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._failure is not None)
            self._changed.notify_all()
            if self._waiting:
                return self._waiting.popleft()
            assert self._failure is not None
            raise self._failure

    async def give(self, message: Mapping[str, Any]) -> None:
        """Waits while too many wait to be taken."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < _MAX_WAITING_MESSAGES)
            self._waiting.append(message)
            self._changed.notify_all()

    async def end(self, failure: Exception) -> None:
        async with self._changed:
            self._failure = failure
            self._changed.notify_all()


class Gateway:
    """One connection pool towards all members."""

    def __init__(self, tls: ssl.SSLContext | None, connect_timeout_seconds: float) -> None:
        self._connect_timeout_seconds = connect_timeout_seconds
        self._scope = TaskScope()
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=tls if tls is not None else False,
                trust_env=False,
                limits=httpx.Limits(max_connections=256, max_keepalive_connections=32, keepalive_expiry=30.0),
                socket_options=_SOCKET_OPTIONS,
            ),
            trust_env=False,
            follow_redirects=False,
        )

    async def call(self, url: str, path: str, body: bytes, *, token: str, timeout_seconds: float) -> Mapping[str, Any]:
        """The member's answer; raises NotSent, Unanswered, Refused."""
        if self._http.is_closed:
            raise NotSent("the meta store is not open")
        timeout = httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, self._connect_timeout_seconds))
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._http.post(url + path, content=body, headers=_headers(token), timeout=timeout)
        except TimeoutError:
            raise Unanswered(f"{url} did not answer within {timeout_seconds:.1f} s") from None
        except _BROKEN as error:
            raise _failure(url, error) from None
        return _decoded(url, response.content)

    @asynccontextmanager
    async def stream(self, url: str, path: str, body: bytes, *, token: str) -> AsyncIterator[Messages]:
        """The messages of an answer that goes on; the call itself is made in the background."""
        messages = Messages()
        reading = self._scope.start(f"stream of {url}", self._read(messages, url, path, body, token))
        try:
            yield messages
        finally:
            reading.cancel()

    async def close(self) -> None:
        await self._scope.close()
        await self._http.aclose()

    async def _read(self, messages: Messages, url: str, path: str, body: bytes, token: str) -> None:
        timeout = httpx.Timeout(self._connect_timeout_seconds, read=None)
        failure: Exception = Unanswered(f"the stream of {url} was cut")
        try:
            async with self._http.stream(
                "POST", url + path, content=body, headers=_headers(token), timeout=timeout
            ) as response:
                async for line in _lines(url, response):
                    await messages.give(_decoded(url, line))
        except (NotSent, Unanswered, Refused) as error:
            failure = error
        except _BROKEN as error:
            failure = _failure(url, error)
        finally:
            await messages.end(failure)


async def _lines(url: str, response: httpx.Response) -> AsyncIterator[bytes]:
    """Whole lines only: what a cut stream has begun is dropped."""
    partial = bytearray()
    async for chunk in response.aiter_bytes():
        partial += chunk
        if b"\n" in chunk:
            *lines, rest = bytes(partial).split(b"\n")
            partial = bytearray(rest)
            for line in lines:
                if line.strip():
                    yield line
        if len(partial) > MAX_MESSAGE_BYTES:
            raise Unanswered(f"{url} sends a message of more than {MAX_MESSAGE_BYTES} bytes")
    # A refusal is the whole answer, and has no end of line.
    if partial and response.status_code != httpx.codes.OK:
        yield bytes(partial)


def _headers(token: str) -> dict[str, str]:
    return {"Content-Type": "application/json"} | _DEMAND_LEADER | ({"Authorization": token} if token else {})


def _failure(url: str, error: Exception) -> NotSent | Unanswered:
    reason = str(error) or type(error).__name__
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, AttributeError)):
        return NotSent(f"{url} cannot be reached: {reason}")
    return Unanswered(f"{url} did not answer: {reason}")


def _decoded(url: str, content: bytes) -> Mapping[str, Any]:
    """The answer, without the envelope that streaming calls have; raises Refused, Unanswered."""
    try:
        plain = json.loads(content)
        error = plain.get("error")
        if error is not None or "code" in plain:
            fields = error if isinstance(error, dict) else plain
            code = int(fields.get("code") or fields.get("grpc_code") or _UNKNOWN)
            raise Refused(code, str(fields.get("message", error)))
        result = plain.get("result", plain)
        if not isinstance(result, dict):
            raise TypeError
    except (ValueError, TypeError, AttributeError):
        raise Unanswered(f"{url} answered with what is no answer of etcd") from None
    return result
