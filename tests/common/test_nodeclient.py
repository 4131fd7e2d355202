"""Calls between nodes against peers that refuse, vanish, drip and answer nonsense; all on real sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgpack
import pytest

from common.errors import InvalidRequest, Retry, Unavailable
from common.nodeclient import Forwarded, NodeClient, NotListening, RemoteError

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def peer(behaviour: Peer) -> AsyncIterator[str]:
    """A server that does one thing with every connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await behaviour(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
    return head.split("\r\n")[0], await reader.readexactly(length)


def answering(status: int, body: bytes, headers: str = "") -> Peer:
    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)
            await writer.drain()

    return behaviour


async def closing_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def closing_within_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    await writer.drain()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    gone = asyncio.get_running_loop().create_task(reader.read())
    while not gone.done():
        writer.write(b"x")
        await asyncio.wait({gone}, timeout=0.02)


def call(behaviour: Peer, body: object = None, *, timeout_seconds: float | None = None) -> Any:
    async def run() -> Any:
        client = NodeClient()
        try:
            async with peer(behaviour) as url:
                return await client.call(url, "/intra/v1/x", body, timeout_seconds=timeout_seconds)
        finally:
            await client.close()

    return asyncio.run(run())


def test_body_and_answer_are_msgpack() -> None:
    seen = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, body = await read_request(reader)
        seen.append((line, msgpack.unpackb(body, strict_map_key=False)))
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    value = {"ids": ["é", 2**64 - 1], 5: b"\0\xff"}
    assert call(echo, value) == value
    assert seen == [("POST /intra/v1/x HTTP/1.1", value)]


def test_an_empty_answer_is_none() -> None:
    assert call(answering(200, b"")) is None


def test_connections_are_kept() -> None:
    connections = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(200, b"")(reader, writer)

    async def run() -> None:
        client = NodeClient()
        async with peer(counting) as url:
            for _ in range(5):
                await client.call(url, "/")
            await client.close()

    asyncio.run(run())
    assert connections == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_connection_was_certainly_not_applied(host: str) -> None:
    async def run() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else can take the port
            client = NodeClient()
            try:
                await client.call(f"http://{host}:{unused.getsockname()[1]}", "/")
            finally:
                await client.close()

    with pytest.raises(NotListening, match="does not answer") as failed:
        asyncio.run(run())
    assert not failed.value.maybe_applied
    assert failed.value.retry is Retry.LATER


def test_a_connection_that_is_never_accepted_was_certainly_not_applied() -> None:
    async def run() -> None:
        with socket.socket() as full, contextlib.ExitStack() as waiting:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):
                filler = waiting.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            client = NodeClient(connect_timeout_seconds=0.2)
            try:
                await client.call(f"http://127.0.0.1:{full.getsockname()[1]}", "/")
            finally:
                await client.close()

    with pytest.raises(Unavailable, match="does not answer") as failed:
        asyncio.run(run())
    assert not failed.value.maybe_applied
    assert not isinstance(failed.value, NotListening)


@pytest.mark.parametrize("behaviour", [closing_at_once, closing_within_the_answer])
def test_a_peer_that_vanishes_after_the_request_may_have_acted(behaviour: Peer) -> None:
    with pytest.raises(Unavailable, match="did not finish its answer") as failed:
        call(behaviour)
    assert failed.value.maybe_applied


@pytest.mark.parametrize("behaviour", [silent, dripping])
def test_a_call_ends_at_its_deadline_whatever_the_peer_does(behaviour: Peer) -> None:
    with pytest.raises(Unavailable, match="did not finish its answer") as failed:
        call(behaviour, timeout_seconds=0.3)
    assert failed.value.maybe_applied


def test_the_default_deadline_is_the_one_of_the_client() -> None:
    async def run() -> None:
        client = NodeClient(timeout_seconds=0.2)
        async with peer(silent) as url:
            try:
                await client.call(url, "/")
            finally:
                await client.close()

    with pytest.raises(Unavailable, match=r"within 0\.2 s"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "retry"),
    [(400, Retry.NEVER), (404, Retry.NEVER), (409, Retry.NEVER), (503, Retry.LATER), (507, Retry.LATER)],
)
def test_an_error_keeps_its_text_code_and_status(status: int, retry: Retry) -> None:
    body = json.dumps({"tcode": "ErrX", "message": 'bucket "ais://b" é', "status": status}).encode() + b"\n"
    with pytest.raises(RemoteError) as failed:
        call(answering(status, body))
    error = failed.value
    assert (str(error), error.code, error.status, error.retry) == ('bucket "ais://b" é', "ErrX", status, retry)


def test_an_error_without_a_code() -> None:
    with pytest.raises(RemoteError) as failed:
        call(answering(400, b'{"message":"no"}'))
    assert failed.value.code == ""


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{}", b"\xff", b'"x"'], ids=repr)
def test_an_error_in_another_shape(body: bytes) -> None:
    with pytest.raises(RemoteError, match=r"^http://127\.0\.0\.1:\d+ answered 502$") as failed:
        call(answering(502, body))
    assert failed.value.status == 502


def test_redirects_are_not_followed() -> None:
    with pytest.raises(RemoteError, match="answered 307"):
        call(answering(307, b"", "location: http://127.0.0.1:1/\r\n"))


@pytest.mark.parametrize("body", [b"\xc1", b"<html>", b"\x92\x01"], ids=repr)
def test_an_answer_that_is_not_msgpack(body: bytes) -> None:
    with pytest.raises(Unavailable, match="not msgpack") as failed:
        call(answering(200, body))
    assert failed.value.maybe_applied


def test_cancelling_a_call_is_not_an_answer() -> None:
    async def run() -> None:
        client = NodeClient()
        async with peer(silent) as url:
            calling = asyncio.get_running_loop().create_task(client.call(url, "/"))
            await asyncio.wait({calling}, timeout=0.05)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await client.close()

    asyncio.run(run())


def forwarded(behaviour: Peer, *, timeout_seconds: float = 10.0, limit_bytes: int = 1000) -> Forwarded:
    async def check() -> Forwarded:
        client = NodeClient()
        try:
            async with peer(behaviour) as url:
                return await client.forward(
                    "PUT", f"{url}/x", b"{}", timeout_seconds=timeout_seconds, limit_bytes=limit_bytes
                )
        finally:
            await client.close()

    return asyncio.run(check())


def test_a_clients_request_is_passed_on_with_its_answer_whatever_that_is() -> None:
    answer = forwarded(answering(404, b'{"message": "no"}', "X-Told: yes\r\n"))
    assert (answer.status, answer.body, answer.headers["x-told"]) == (404, b'{"message": "no"}', "yes")


def test_an_answer_that_is_too_large_is_not_passed_on() -> None:
    with pytest.raises(InvalidRequest, match="more than 1000 bytes"):
        forwarded(answering(200, b"x" * 1001))


@pytest.mark.parametrize("behaviour", [closing_at_once, closing_within_the_answer])
def test_an_answer_that_breaks_off_is_no_answer(behaviour: Peer) -> None:
    with pytest.raises(Unavailable):
        forwarded(behaviour)


@pytest.mark.parametrize("behaviour", [silent, dripping])
def test_an_answer_that_does_not_end_in_time_is_no_answer(behaviour: Peer) -> None:
    with pytest.raises(Unavailable):
        forwarded(behaviour, timeout_seconds=0.3, limit_bytes=1 << 20)
