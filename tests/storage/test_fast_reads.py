"""Reads without ASGI over real sockets: the same bytes as the application gives, and everything else left to it."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from common import node, web
from target.api.fast_reads import fast_reads
from target.api.objects import ObjectsApi
from target.storage.store import Store
from tests.storage.disks import BUCKET, get, put, running_store
from tests.waiting import wait_for

CHUNK = 256 * 1024
SLOW = "Range: bytes=0-\r\n"
"""Makes a request that is not for the short way."""


class Target:
    """A node of objects and nothing else; `asked` are the requests that came to its ASGI application."""

    def __init__(self, store: Store, keep_alive_seconds: float = 60.0) -> None:
        objects = ObjectsApi(store, "t[one]")
        self.application = self._observed(web.guarded(objects, "t[one]"))
        self.asked: list[str] = []
        self.held: asyncio.Event | None = None
        self.stopping = asyncio.Event()
        self.address = ("127.0.0.1", 0)
        self.http_protocol = fast_reads(objects.read_small)
        if keep_alive_seconds != 60.0:
            self.http_protocol = _impatient(self.http_protocol, keep_alive_seconds)

    def _observed(self, application: web.Application) -> web.Application:
        async def observe(scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
            self.asked.append(scope["path"])
            if self.held is not None:
                await self.held.wait()
            await application(scope, receive, send)

        return observe

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        pass

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, request: str, end: bytes = b"hello, ais\n") -> bytes:
        """What comes back until it ends as expected, or until the target closes the connection."""
        answer = b""
        with self.connect() as connection:
            connection.sendall(request.encode("latin-1"))
            while not answer.endswith(end) and (chunk := connection.recv(1 << 20)):
                answer += chunk
        return answer


def _impatient(protocol: type, keep_alive_seconds: float) -> type:
    class Impatient(protocol):
        def __init__(self, **options: object) -> None:
            super().__init__(**options)
            self.timeout_keep_alive = keep_alive_seconds

    return Impatient


@contextmanager
def serving(target: Target) -> Iterator[threading.Thread]:
    listener = node.listen("127.0.0.1", 0)
    target.address = listener.getsockname()
    thread = threading.Thread(target=lambda: uvloop.run(node.serve(target, listener, target.stopping)))
    thread.start()
    try:
        yield thread
    finally:
        wait_for(lambda: hasattr(target, "loop"), what="the server")
        if thread.is_alive():
            target.loop.call_soon_threadsafe(target.stopping.set)
        thread.join()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running_store(tmp_path_factory.mktemp("disks")) as running:
        put(running, "a", b"hello, ais\n")
        put(running, "large", os.urandom(CHUNK + 1))
        yield running


@pytest.fixture
def target(store: Store) -> Iterator[Target]:
    target = Target(store)
    with serving(target):
        yield target


def request(name: str = "a", headers: str = "", query: str = "?pid=p1&utm=abc&bid=1") -> str:
    return f"GET /v1/objects/demo/{name}{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of one answer with a Content-Length."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"closed after {head!r}"
        head += byte
    left = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = b""
    while len(body) < left:
        chunk = connection.recv(left - len(body))
        assert chunk, "closed inside a body"
        body += chunk
    return head, body


@pytest.mark.parametrize(
    ("size", "more"),
    [
        (0, {}),
        (1, {"custom": {"k": "v", "other": "w\r\nx: y"}}),
        (16384, {"etag": 'W/"v2"', "version": 7}),
        (65536, {"etag": "bare\x00é"}),
        (CHUNK, {"source": "http://host/x", "job": "j" * 20}),
    ],
)
def test_the_bytes_are_those_of_the_application(
    store: Store, target: Target, size: int, more: dict[str, object]
) -> None:
    name, data = f"same/{size} é", os.urandom(size)
    put(store, name, data, **more)
    path = f"same/{size}%20%C3%A9"
    with target.connect() as connection:
        connection.sendall(request(path).encode())
        fast = read_answer(connection)
        assert target.asked == []
        connection.sendall(request(path, query="?unknown=1").encode())
        slow = read_answer(connection)
    assert target.asked == [f"/v1/objects/demo/{name}"]
    assert fast == slow
    assert fast[1] == data


@pytest.mark.parametrize("query", ["", "?", "?bid=1", "?pid=p&utm=u", "?provider=ais", "?provider=ais&namespace="])
def test_queries_of_the_short_way(target: Target, query: str) -> None:
    assert target.ask(request(query=query)).endswith(b"\r\n\r\nhello, ais\n")
    assert target.asked == []


@pytest.mark.parametrize(
    ("asked", "status", "end"),
    [
        (request(headers="Range: bytes=0-4\r\n"), 206, b"hello"),
        (request(headers="Range: bytes=99-\r\n"), 416, b"}\n"),
        (request(headers="RANGE: bytes=1-\r\nIf-Range: x\r\n"), 200, b"hello, ais\n"),
        (request(headers="If-None-Match: *\r\n"), 304, b"\r\n\r\n"),
        (request(headers='If-None-Match: "x"\r\nIf-None-Match: *\r\n'), 304, b"\r\n\r\n"),
        (request(headers='If-None-Match: *\r\nIf-None-Match: "x"\r\n'), 304, b"\r\n\r\n"),
        (request(headers='If-Match: "x"\r\n'), 412, b"}\n"),
        (request(headers='If-Match: *\r\nIf-Match: "x"\r\n'), 200, b"hello, ais\n"),
        (request(headers="If-Unmodified-Since: Fri, 01 Jan 1960 00:00:00 GMT\r\n"), 412, b"}\n"),
        (request(headers="If-Modified-Since: Mon, 23 Nov 2026 01:38:14 GMT\r\n"), 304, b"\r\n\r\n"),
        (request(headers="Content-Length: 3\r\n") + "abc", 200, b"hello, ais\n"),
        (request(headers="Transfer-Encoding: chunked\r\n") + "1\r\na\r\n0\r\n\r\n", 200, b"hello, ais\n"),
        (request(headers="Connection: upgrade\r\nUpgrade: h2c\r\n"), 200, b"hello, ais\n"),
        (request().replace("GET", "HEAD"), 200, b"\r\n\r\n"),
        (request().replace("GET /", "GET http://x/"), 200, b"hello, ais\n"),
        (request(query="?bid=1#fragment"), 200, b"hello, ais\n"),
        (request(query="?bid=2"), 404, b"}\n"),
        (request(query="?bid=x"), 400, b"}\n"),
        (request(query="?archpath=x"), 400, b"}\n"),
        (request(query="?provider=nope"), 400, b"}\n"),
        (request("nonesuch"), 404, b"}\n"),
        (request("../a"), 400, b"}\n"),
        (request("%00"), 400, b"}\n"),
        (request("%ff"), 400, b"}\n"),
        (request(""), 400, b"}\n"),
        (request().replace("objects", "bucket!"), 400, b"}\n"),
    ],
)
def test_everything_else_is_the_applications(target: Target, asked: str, status: int, end: bytes) -> None:
    answer = target.ask(asked, end)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.endswith(end)
    assert len(target.asked) == 1


def test_an_object_of_more_than_one_chunk_is_the_applications(store: Store, target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(request("large").encode())
        _, body = read_answer(connection)
    assert body == get(store, "large")
    assert len(target.asked) == 1


@pytest.mark.parametrize("headers", ["Connection: close\r\n", "Connection: Keep-Alive, close\r\n"])
def test_connections_are_closed_when_that_is_asked_for(target: Target, headers: str) -> None:
    with target.connect() as connection:
        connection.sendall((request() + request(headers=headers)).encode())
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"connection: close\r\n") == 1
    assert answers.endswith(b"hello, ais\n")


def test_http_1_0_is_answered_and_closed(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(request().replace("HTTP/1.1", "HTTP/1.0").encode())
        assert read_all(connection).endswith(b"connection: close\r\n\r\nhello, ais\n")


def test_pipelined_answers_come_in_order_whichever_way_each_takes(store: Store, target: Target) -> None:
    requests, expected = [], []
    for number in range(60):
        body = b"%d." % number * 1000
        put(store, f"pipelined/{number}", body)
        requests.append(request(f"pipelined/{number}", SLOW if number % 7 == 3 else ""))
        expected.append(body)
    with target.connect() as connection:
        connection.sendall("".join(requests).encode())
        assert [read_answer(connection)[1] for _ in requests] == expected
        connection.sendall(request().encode())  # and the connection is as good as new
        assert read_answer(connection)[1] == b"hello, ais\n"
    assert 9 <= len(target.asked) < 60


def test_one_packet_of_many_requests_does_not_keep_the_others_waiting(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(request().encode() * 1000)
        for _ in range(1000):
            assert read_answer(connection)[1] == b"hello, ais\n"
    assert len(target.asked) > 100


def test_a_request_may_come_in_any_pieces(target: Target) -> None:
    with target.connect() as connection:
        text = (request() + request(headers=SLOW) + request()).encode()
        for start in range(0, len(text), 7):
            connection.sendall(text[start : start + 7])
        assert [read_answer(connection)[1] for _ in range(3)] == [b"hello, ais\n"] * 3
    assert 1 <= len(target.asked) <= 2


def test_a_client_that_does_not_read_is_waited_for(store: Store, target: Target) -> None:
    data = os.urandom(CHUNK)
    put(store, "chunk", data)
    with target.connect() as connection:
        sent = 0
        while not target.asked and sent < 100:  # until the kernel takes no more
            connection.sendall(request("chunk").encode())
            sent += 1
            assert target.ask(request()).endswith(b"hello, ais\n")
        assert target.asked == ["/v1/objects/demo/chunk"]
        for _ in range(sent):
            assert read_answer(connection)[1] == data


def test_nonsense_after_an_answer_closes_the_connection(target: Target) -> None:
    answers = target.ask(request() + "\x00nonsense\r\n\r\n", b"received.")
    assert answers.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 400 Bad Request" in answers


def test_an_object_that_memory_does_not_hold_is_read_all_the_same(store: Store, target: Target) -> None:
    data = os.urandom(16384)
    put(store, "cold", data)
    found, _ = store.open(BUCKET, "cold")
    with found:
        os.fsync(found.fd)
        os.posix_fadvise(found.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert target.ask(request("cold"), data).endswith(data)


def test_an_idle_connection_is_closed_after_a_fast_answer(store: Store) -> None:
    target = Target(store, keep_alive_seconds=0.05)
    with serving(target), target.connect() as connection:
        connection.sendall(request().encode())
        assert read_answer(connection)[1] == b"hello, ais\n"
        assert connection.recv(1) == b""
    assert target.asked == []


def test_a_slow_answer_behind_a_fast_one_is_not_taken_for_idleness(store: Store) -> None:
    target = Target(store, keep_alive_seconds=0.05)
    with serving(target), target.connect() as connection:
        target.held = asyncio.Event()
        connection.sendall((request() + request(headers=SLOW)).encode())
        assert read_answer(connection)[1] == b"hello, ais\n"
        wait_for(lambda: target.asked, what="the second request")
        with target.connect() as other:  # closed for idleness: more than as much time has gone by
            other.sendall(request().encode())
            read_answer(other)
            assert other.recv(1) == b""
        target.loop.call_soon_threadsafe(target.held.set)
        assert read_answer(connection)[1] == b"hello, ais\n"
        assert connection.recv(1) == b""


def test_the_end_waits_for_answers_and_not_for_idle_connections(store: Store) -> None:
    target = Target(store)
    with serving(target) as thread, target.connect() as idle, target.connect() as busy:
        idle.sendall(request().encode())
        assert read_answer(idle)[1] == b"hello, ais\n"
        target.held = asyncio.Event()
        busy.sendall((request() + request(headers=SLOW)).encode())
        assert read_answer(busy)[1] == b"hello, ais\n"
        wait_for(lambda: target.asked, what="the second request")
        target.loop.call_soon_threadsafe(target.stopping.set)
        assert idle.recv(1) == b""
        assert thread.is_alive()
        target.loop.call_soon_threadsafe(target.held.set)
        assert read_answer(busy)[1] == b"hello, ais\n"
        assert busy.recv(1) == b""
        thread.join(30)
        assert not thread.is_alive()


def test_damage_is_found_on_the_short_way_too(tmp_path: Path) -> None:
    with running_store(tmp_path) as other:
        put(other, "a", b"whole")
        [path] = tmp_path.glob("*/@ais/demo/%ob/a")
        path.write_bytes(b"cut")
        damaged = Target(other)
        with serving(damaged):
            answer = damaged.ask(request(), b"}\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"ErrObjectDamaged" in answer
