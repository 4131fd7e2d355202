"""Requests whose bodies are passed on: kept connections, back-pressure, and ends that come too early."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Self

import pytest

from common.errors import InvalidRequest, Unavailable
from common.nodeclient import NotListening
from common.nodestream import NodeStreams
from tests.ports import free_port

P = ParamSpec("P")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Node:
    """A node that answers by a script, a connection at a time."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._one, "127.0.0.1", 0, limit=1 << 16)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def parts(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@in_loop
async def test_a_connection_is_kept_for_the_next() -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await head_of(reader))
            is_head = heads[-1].startswith(b"HEAD")
            writer.write(OK[:-2] if is_head else OK)

    async with Node(serve) as node:
        streams = NodeStreams()
        for method in ("GET", "HEAD", "GET"):
            async with streams.exchange(method, node.url, "/a%20b?c=d", [(b"x-y", b"z")]) as answer:
                assert (answer.status, answer.header(b"content-length")) == (200, "2")
                assert await answer.read(10) == (b"" if method == "HEAD" else b"ok")
        await streams.close()
    assert node.connections == 1
    assert heads[0].startswith(b"GET /a%20b?c=d HTTP/1.1\r\n")
    assert b"x-y: z" in heads[0]


@pytest.mark.parametrize("size", [None, 8])
@in_loop
async def test_a_body_is_sent_as_it_comes(size: int | None) -> None:
    got = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await head_of(reader))
        got.append(await (reader.readexactly(8) if size else reader.readuntil(b"0\r\n\r\n")))
        writer.write(OK)

    async with Node(serve) as node:
        streams = NodeStreams()
        body = parts(b"abcd", b"", b"efgh")
        async with streams.exchange("PUT", node.url, "/", body=body, size_bytes=size) as answer:
            assert answer.status == 200
        await streams.close()
    assert (b"content-length: 8" in got[0]) == (size is not None)
    assert got[1] == (b"abcdefgh" if size else b"4\r\nabcd\r\n4\r\nefgh\r\n0\r\n\r\n")


@in_loop
async def test_an_answer_that_comes_early_ends_the_body() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(65536)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK.replace(b"200 OK", b"507 Full"))
        await writer.drain()
        await reader.read(1 << 16)
        await asyncio.sleep(0)
        while await reader.read(1 << 16):
            pass

    async with Node(serve) as node:
        streams = NodeStreams()
        async with streams.exchange("PUT", node.url, "/", body=endless(), size_bytes=1 << 40) as answer:
            assert (answer.status, await answer.read(10)) == (507, b"ok")
        async with streams.exchange("GET", node.url, "/") as answer:
            assert answer.status == 507
        await streams.close()
    assert node.connections == 2, "a connection in the middle of a body is not kept"
    assert taken > 0


@in_loop
async def test_a_body_that_raises_breaks_off_at_the_node() -> None:
    seen = asyncio.get_running_loop().create_future()

    async def failing() -> AsyncIterator[bytes]:
        yield b"abcd"
        raise ValueError("no more")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        try:
            await reader.readexactly(8)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            seen.set_result(type(error))

    async with Node(serve) as node:
        streams = NodeStreams()
        with pytest.raises(ValueError, match="no more"):
            async with streams.exchange("PUT", node.url, "/", body=failing(), size_bytes=8):
                pass
        async with asyncio.timeout(10):
            error = await seen
        assert error in (asyncio.IncompleteReadError, ConnectionResetError)
        await streams.close()


@in_loop
async def test_who_reads_slowly_slows_the_node() -> None:
    total, sent = 64 << 20, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(bytes(1 << 18))
            sent += 1 << 18
            await writer.drain()

    async with Node(serve) as node:
        streams = NodeStreams()
        async with streams.exchange("GET", node.url, "/") as answer:
            chunks = answer.chunks()
            received = len(await anext(chunks))
            before = -1
            while sent != before:  # until the node waits
                before = sent
                await asyncio.sleep(0.05)
            assert sent < total // 2
            async for chunk in chunks:
                received += len(chunk)
        assert received == total
        await streams.close()


@in_loop
async def test_what_breaks_off_is_said() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async with Node(serve) as node:
        streams = NodeStreams()
        with pytest.raises(Unavailable):
            async with streams.exchange("GET", node.url, "/") as answer:
                await answer.read(10)
        await streams.close()


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Len"])
@in_loop
async def test_what_is_no_answer_is_said(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer)

    async with Node(serve) as node:
        streams = NodeStreams()
        with pytest.raises(Unavailable):
            async with streams.exchange("GET", node.url, "/"):
                pass
        await streams.close()


@in_loop
async def test_a_read_is_repeated_when_a_kept_connection_was_closed() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK)
        if node.connections == 1:
            await head_of(reader)  # the second request gets no answer here

    async with Node(serve) as node:
        streams = NodeStreams()
        for _ in range(2):
            async with asyncio.timeout(10), streams.exchange("GET", node.url, "/") as answer:
                assert await answer.read(10) == b"ok"
        await streams.close()
    assert node.connections == 2


@in_loop
@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nx: y", b"a\r", b"a\0b"])
async def test_a_header_cannot_smuggle_another_one(value: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async with Node(serve) as node:
        streams = NodeStreams()
        with pytest.raises(InvalidRequest, match="if-match"):
            async with streams.exchange("DELETE", node.url, "/", [(b"if-match", value)]):
                pass
        assert node.connections == 0
        await streams.close()


@in_loop
async def test_nobody_listens() -> None:
    streams = NodeStreams()
    with pytest.raises(NotListening):
        async with streams.exchange("GET", f"http://127.0.0.1:{free_port()}", "/"):
            pass


@in_loop
async def test_what_finds_no_room_is_refused_and_waits_for_nobody() -> None:
    """Or those who have an exchange, and need another one, would wait for each other for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            writer.write(OK)

    async with Node(serve) as node:
        streams = NodeStreams(max_exchanges=1, room_seconds=0.01)
        async with streams.exchange("GET", node.url, "/") as answer:
            async with asyncio.timeout(10):
                with pytest.raises(Unavailable, match="under way"):
                    async with streams.exchange("GET", node.url, "/"):
                        pass
            assert await answer.read(100) == b"ok"
        async with streams.exchange("GET", node.url, "/") as answer:
            assert await answer.read(100) == b"ok"
        await streams.close()
