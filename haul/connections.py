"""Connections for many calls at once: each lies in a pool of its own, and the last one used is used next.

httpcore looks at every connection of a pool several times for every request, which with dozens of them takes longer
than the requests. How a connection works is left to httpx.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import httpx

_CONNECTIONS = 256
"""At once, to all nodes together; more calls wait."""
_WAIT_SECONDS = 60.0
_IDLE_FOR_EACH_NODE = 64
_BUSY = f"{_CONNECTIONS} objects and calls are open, and none of them has ended for {_WAIT_SECONDS:.0f} s"
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1)


class Connections(httpx.BaseTransport):
    """For httpx.Client; used by any number of threads."""

    def __init__(self, verify: ssl.SSLContext | bool) -> None:
        self._new: Callable[[], httpx.HTTPTransport] = lambda: httpx.HTTPTransport(verify=verify, limits=_ONE)
        self._idle: defaultdict[bytes, list[httpx.HTTPTransport]] = defaultdict(list)
        self._gate = threading.Semaphore(_CONNECTIONS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it on an idle connection to its node, or on a new one, which is given back with the answer's end."""
        idle = self._idle[request.url.netloc]
        if not self._gate.acquire(timeout=_WAIT_SECONDS):
            raise httpx.PoolTimeout(_BUSY, request=request)
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._new()
        try:
            response = connection.handle_request(request)
        except BaseException:
            self._gate.release()
            connection.close()
            raise

        def give_back() -> None:
            self._gate.release()
            if len(idle) < _IDLE_FOR_EACH_NODE:
                idle.append(connection)
            else:
                connection.close()

        response.stream = _Body(cast("httpx.SyncByteStream", response.stream), give_back)
        return response

    def close(self) -> None:
        """Close those that are idle."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, at_end: Callable[[], None]) -> None:
        self._stream = stream
        self._at_end: Callable[[], None] | None = at_end

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        at_end, self._at_end = self._at_end, None
        try:
            self._stream.close()
        finally:
            if at_end is not None:
                at_end()


class AsyncConnections(httpx.AsyncBaseTransport):
    """For httpx.AsyncClient, on one event loop."""

    def __init__(self, verify: ssl.SSLContext | bool) -> None:
        self._new: Callable[[], httpx.AsyncHTTPTransport] = lambda: httpx.AsyncHTTPTransport(verify=verify, limits=_ONE)
        self._idle: defaultdict[bytes, list[httpx.AsyncHTTPTransport]] = defaultdict(list)
        self._gate = asyncio.Semaphore(_CONNECTIONS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it on an idle connection to its node, or on a new one, which is given back with the answer's end."""
        idle = self._idle[request.url.netloc]
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._gate.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(_BUSY, request=request) from None
        connection = idle.pop() if idle else self._new()
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            self._gate.release()
            await connection.aclose()
            raise

        async def give_back() -> None:
            self._gate.release()
            if len(idle) < _IDLE_FOR_EACH_NODE:
                idle.append(connection)
            else:
                await connection.aclose()

        response.stream = _AsyncBody(cast("httpx.AsyncByteStream", response.stream), give_back)
        return response

    async def aclose(self) -> None:
        """Close those that are idle."""
        for idle in self._idle.values():
            while idle:
                await idle.pop().aclose()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, at_end: Callable[[], Any]) -> None:
        self._stream = stream
        self._at_end: Callable[[], Any] | None = at_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        at_end, self._at_end = self._at_end, None
        try:
            await self._stream.aclose()
        finally:
            if at_end is not None:
                await at_end()
