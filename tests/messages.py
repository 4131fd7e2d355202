"""A postman between nodes who delivers messages late, out of order and more than once, and loses answers.

    with Postman(seed) as postman, Nodes(tmp_path, intra_url=postman.in_front_of) as nodes:
        …
        postman.finish()             # every copy that was still on its way has been delivered

Only what nodes ask of each other (`POST /intra/v1/…`) suffers; all else passes through unharmed. That is what a network
does to them: a request whose sender has given up may still be delivered by the kernel, long after later ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections import Counter
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import uvloop

_COPIES = (1, 1, 1, 2, 2, 3)
_LOST_ANSWERS = 0.05
_HURRY_SECONDS = 0.05
"""How late messages mostly are, …"""
_LATE_SECONDS = 2.0
"""… and how late some of the repeated ones."""
_LATE_PART = 0.2


class Postman:
    """The forwarding servers, on one thread; what happens is drawn from `seed`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.happened: Counter[str] = Counter()
        """How many messages were `asked`, copies were `repeated`, and answers were `lost`."""
        self._chance = random.Random(seed)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="postman", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._on_their_way: set[asyncio.Task[bytes]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def in_front_of(self, url: str) -> str:
        """The URL at which the postman takes what is meant for the node at `url`."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        opening = self._open(listener, parts.hostname, parts.port)
        asyncio.run_coroutine_threadsafe(opening, self._loop).result(10)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def finish(self) -> None:
        """Wait until nothing is on its way any more that anybody has ceased to wait for."""
        asyncio.run_coroutine_threadsafe(self._all_delivered(), self._loop).result(60)

    async def _all_delivered(self) -> None:
        present = set(self._on_their_way)
        if present:
            await asyncio.wait(present)

    async def _open(self, listener: socket.socket, host: str, port: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
                request = await _read_request(reader)
                await self._carry(request, writer, host, port)

        self._servers.append(await asyncio.start_server(serve, sock=listener))

    async def _carry(self, request: bytes, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        if not request.startswith(b"POST /intra/"):
            await _answer(writer, await _deliver(request, host, port, 0.0))
            return
        copies = [
            self._loop.create_task(_deliver(request, host, port, self._delay_seconds(is_first=number == 0)))
            for number in range(self._chance.choice(_COPIES))
        ]
        self.happened.update(asked=1, repeated=len(copies) - 1)
        for copy in copies:
            self._on_their_way.add(copy)
            copy.add_done_callback(self._on_their_way.discard)
        done, _ = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        if self._chance.random() < _LOST_ANSWERS:
            self.happened["lost"] += 1
        else:
            await _answer(writer, done.pop().result())

    def _delay_seconds(self, *, is_first: bool) -> float:
        if is_first:
            return self._chance.choice((0.0, 0.0, self._chance.uniform(0, _HURRY_SECONDS)))
        return self._chance.uniform(0, _LATE_SECONDS if self._chance.random() < _LATE_PART else _HURRY_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """One whole request, as it is to be sent on: over a connection that ends with its answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    kept = [b"%s: %s" % header for header in headers if header[0] != b"connection"]
    head = b"\r\n".join((first, *kept, b"connection: close", b"", b""))
    given = dict(headers)
    if given.get(b"transfer-encoding", b"").lower() == b"chunked":
        return head + await _read_chunks(reader)
    return head + await reader.readexactly(int(given.get(b"content-length", 0)))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A body in chunks, left as it is."""
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if not size:
            return body


async def _deliver(request: bytes, host: str, port: int, delay_seconds: float) -> bytes:
    """The whole answer; empty when nobody answers."""
    await asyncio.sleep(delay_seconds)
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.closing(writer):
            writer.write(request)
            return await reader.read()
    return b""


async def _answer(writer: asyncio.StreamWriter, answer: bytes) -> None:
    """Pass an answer on; the connection ends with it, as its `connection: close` says."""
    writer.write(answer)
    await writer.drain()
