"""One connection to a node, as asyncio's protocol: one HTTP/1.1 exchange after another, with a window both ways.

Which connection is taken for what is left to `nodestream`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from common import clock
from common.errors import Unavailable

Header = tuple[bytes, bytes]
_WINDOW_BYTES = 512 * 1024
"""So much is received ahead of who reads, and sent ahead of who receives."""
_STEP_SECONDS = 60.0
"""Within which the next bytes must come, or be taken."""
ANSWER_SECONDS = 600.0
"""Within which an answer must begin: the node may have to fetch an object, or to make one of many parts, before."""


class Stale(Exception):
    """A kept connection was closed before its node saw the request."""


class Connection(asyncio.Protocol):
    """One connection; one exchange after another."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._write_paused = False
        self._read_paused = False
        self._is_head = False
        self.is_lost = False
        self.is_used = False
        self.idle_since = 0.0
        self.is_answered = False
        self.is_complete = False
        self.is_clean = False
        """Whether another exchange may follow this one."""
        self.is_sent = False
        """Whether the node has been sent the whole request."""
        self.status = 0
        self.headers: list[Header] = []

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WINDOW_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._wake()

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self.is_complete or self.status == -1:
            self.abort()  # bytes that nobody has asked for
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()
        if self._buffered_bytes > _WINDOW_BYTES and not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()
        self._wake()

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.is_answered = True
        if self._is_head:
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        self.is_complete = True
        self.is_clean = self._parser.should_keep_alive()

    # What an exchange calls.

    def begin(self, method: str, head: bytes) -> None:
        """Send the head of a request."""
        self._parser = httptools.HttpResponseParser(self)
        self._is_head = method == "HEAD"
        self.status, self.headers = 0, []
        self.is_answered = self.is_complete = self.is_clean = self.is_sent = False
        self._transport.write(head)

    async def write(self, data: bytes) -> None:
        """Send a part of a body; raises Unavailable. Once the answer has begun, nothing is waited for any more."""
        self._transport.write(data)
        while self._write_paused and not self.is_lost and not self.is_answered:
            await self._wait(_STEP_SECONDS)
        if self.is_lost and not self.is_answered:
            raise self._broken()

    async def answered(self, seconds: float) -> None:
        """Wait for the head of the answer; raises Unavailable, Stale."""
        while not self.is_answered:
            if self.is_lost:
                raise Stale if self.is_used else self._broken()
            await self._wait(seconds)

    async def chunk(self) -> bytes:
        """The next part of the answer, empty at its end; raises Unavailable when it breaks off."""
        while not self._chunks:
            if self.is_complete:
                return b""
            if self.is_lost:
                raise self._broken()
            await self._wait(_STEP_SECONDS)
        data = self._chunks.popleft()
        self._buffered_bytes -= len(data)
        if self._read_paused and self._buffered_bytes < _WINDOW_BYTES // 2:
            self._read_paused = False
            if not self.is_lost:
                self._transport.resume_reading()
        return data

    def rest(self) -> bool:
        """Whether the connection can be kept; it waits for its next exchange then."""
        if self.is_lost or not self.is_complete or not self.is_clean or not self.is_sent or self._chunks:
            return False
        self.is_used, self.idle_since, self.status = True, clock.monotonic(), -1
        return True

    def abort(self) -> None:
        """Close at once; the node sees that a body breaks off."""
        self.is_lost = True
        self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, seconds: float) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._waiter
        except TimeoutError:
            self.abort()
            raise Unavailable(f"{self._url} did not go on within {seconds:g} s", maybe_applied=True) from None
        finally:
            self._waiter = None

    def _broken(self) -> Unavailable:
        return Unavailable(f"{self._url} did not finish its answer: the connection was closed", maybe_applied=True)
