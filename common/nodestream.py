"""Requests to another node whose bodies are passed on as they come: HTTP/1.1 over kept connections, with back-pressure.

Nothing larger than a window is held, in either direction (`nodeconnection`). What is asked, and what an answer means,
is left to the caller; calls with msgpack to `nodeclient`. Why not through httpx: it takes seven times the CPU for a
small answer, and three times for a large one (docs/s3.md has the figures).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from common import clock
from common.errors import InvalidRequest, Unavailable
from common.nodeclient import NotListening
from common.nodeconnection import ANSWER_SECONDS, Connection, Header, Stale

_CONNECT_SECONDS = 2.0
_IDLE_SECONDS = 25.0
"""Less than a node keeps an idle connection."""
_MAX_IDLE = 64
_MAX_EXCHANGES = 1024
_ROOM_SECONDS = 10.0
"""Within which one of so many must end: their clients may take as long as they like, and some need another one."""
_REPEATABLE = frozenset({"GET", "HEAD"})


class Answer:
    """What a node answers: status and headers (names in lower case), and a body that is still to come."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.status = connection.status
        self.headers: Sequence[Header] = connection.headers

    def header(self, name: bytes) -> str:
        """The first header of that name, empty without one."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), "")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body; raises Unavailable when it breaks off."""
        while data := await self._connection.chunk():
            yield data

    async def read(self, limit_bytes: int) -> bytes:
        """A small body; raises Unavailable when it breaks off, or is larger than that."""
        body = b""
        async for data in self.chunks():
            body += data
            if len(body) > limit_bytes:
                raise Unavailable(f"a node's answer is larger than {limit_bytes} bytes")
        return body


class NodeStreams:
    """One pool of connections of a node towards its peers, for what streams."""

    def __init__(self, *, max_exchanges: int = _MAX_EXCHANGES, room_seconds: float = _ROOM_SECONDS) -> None:
        """What finds no room among `max_exchanges` for `room_seconds` is refused."""
        self._idle: dict[str, list[Connection]] = {}
        self._max_exchanges = max_exchanges
        self._room_seconds = room_seconds
        self._exchanges = asyncio.Semaphore(max_exchanges)
        self._tls: ssl.SSLContext | None = None

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: str,
        target: str,
        headers: Sequence[Header] = (),
        body: bytes | AsyncIterator[bytes] = b"",
        size_bytes: int | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> AsyncIterator[Answer]:
        """Ask `url` for `target` (path and query, encoded), and read the answer inside.

        `size_bytes` is that of a body in parts, if it is known; the answer must begin within `answer_seconds`. When the
        body raises, the node sees it break off; when the node answers before it has all, the rest is not asked for.
        Raises Unavailable, also while the answer is read, NotListening when no process is there; InvalidRequest for a
        header that would end before its end.
        """
        async with self._room():
            head = _head(method, url, target, headers, body, size_bytes)
            connection = await self._asked(method, url, head, body, size_bytes, answer_seconds)
            try:
                yield Answer(connection)
            finally:
                if connection.rest():
                    self._keep(url, connection)
                else:
                    connection.abort()

    @contextlib.asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._room_seconds):
                await self._exchanges.acquire()
        except TimeoutError:
            raise Unavailable(f"{self._max_exchanges} requests to other nodes are under way; try again") from None
        try:
            yield
        finally:
            self._exchanges.release()

    async def close(self) -> None:
        """Close the connections that are not in use."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    async def _asked(
        self,
        method: str,
        url: str,
        head: bytes,
        body: bytes | AsyncIterator[bytes],
        size_bytes: int | None,
        seconds: float,
    ) -> Connection:
        """A connection whose answer has begun."""
        while True:
            connection = self._kept(url) or await self._connected(url)
            try:
                connection.begin(method, head + body if isinstance(body, bytes) else head)
                connection.is_sent = isinstance(body, bytes) or await _send(connection, body, size_bytes)
                await connection.answered(seconds)
                return connection
            except Stale:
                if method not in _REPEATABLE:
                    raise Unavailable(f"{url} has closed the connection", maybe_applied=True) from None
            except BaseException:
                connection.abort()
                raise

    def _kept(self, url: str) -> Connection | None:
        idle = self._idle.get(url, [])
        while idle:
            connection = idle.pop()
            if not connection.is_lost:
                if clock.monotonic() - connection.idle_since < _IDLE_SECONDS:
                    return connection
                connection.abort()
        return None

    def _keep(self, url: str, connection: Connection) -> None:
        idle = self._idle.setdefault(url, [])
        if len(idle) < _MAX_IDLE:
            idle.append(connection)
        else:
            connection.abort()

    async def _connected(self, url: str) -> Connection:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        if is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
        port = parts.port or (443 if is_tls else 80)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(url), parts.hostname or "", port, ssl=self._tls if is_tls else None
                )
        except ConnectionRefusedError:
            raise NotListening(f"{url} does not answer: connection refused") from None
        except (TimeoutError, OSError) as error:
            raise Unavailable(f"{url} does not answer: {error or type(error).__name__}") from None
        return connection


def _head(
    method: str,
    url: str,
    target: str,
    headers: Sequence[Header],
    body: bytes | AsyncIterator[bytes],
    size_bytes: int | None,
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1\r\nhost: {url.partition('//')[2]}".encode("ascii")]
    for name, value in headers:
        if b"\n" in value or b"\r" in value or b"\0" in value:  # what follows would be another header, or a request
            raise InvalidRequest(f"the header {name.decode('latin-1')} cannot have a line break in it")
        lines.append(name + b": " + value)
    if isinstance(body, bytes):
        size_bytes = len(body)
    if size_bytes is None:
        lines.append(b"transfer-encoding: chunked")
    elif size_bytes or method not in ("GET", "HEAD"):
        lines.append(b"content-length: %d" % size_bytes)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


async def _send(connection: Connection, body: AsyncIterator[bytes], size_bytes: int | None) -> bool:
    """Send a body as it comes; False if the node has answered before it had all."""
    async for data in body:
        if connection.is_answered:
            return False
        if data:
            await connection.write(data if size_bytes is not None else b"%x\r\n%b\r\n" % (len(data), data))
    if size_bytes is None and not connection.is_answered:
        await connection.write(b"0\r\n\r\n")
    return True
