"""Clients that stop sending, or taking, over real sockets: what they are told, and that nothing is held for them."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from common import patience
from common.patience import while_taken
from common.web import Receive, Scope, Send, answer, guarded, read_body, unless_gone
from tests.serving import serving

_PIECE = bytes(1 << 20)


class Surface:
    """Echoes a body, or sends without an end; `gone` is set when it gave a client up."""

    def __init__(self) -> None:
        self.gone = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            await answer(send, 200, await read_body(receive, 1000))
            return
        if scope["path"] == "/early":
            await answer(send, 200, b"not wanted")
            return
        headers = [(b"content-length", b"%d" % (1 << 40))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await unless_gone(receive, self._endless(while_taken(send)))
        finally:
            self.gone.set()

    async def _endless(self, send: Send) -> None:
        while True:
            await send({"type": "http.response.body", "body": _PIECE, "more_body": True})
            await asyncio.sleep(0)


@pytest.fixture(scope="module")
def surface() -> Surface:
    return Surface()


@pytest.fixture(scope="module")
def url(surface: Surface) -> Iterator[str]:
    with serving(guarded(surface, "t[t1]")) as running:
        yield running


@contextmanager
def connected(url: str, request: bytes) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
        connection.sendall(request)
        yield connection


def all_of(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(1 << 16):
        found += data
    return found


@pytest.mark.parametrize("length", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
def test_a_body_that_stops_coming_is_refused(url: str, monkeypatch: pytest.MonkeyPatch, length: bytes) -> None:
    monkeypatch.setattr(patience, "BODY_SECONDS", 0.2)
    begun = b"3\r\nabc\r\n" if b"chunked" in length else b"abc"
    with connected(url, b"PUT /echo HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n" + begun) as connection:
        told = all_of(connection)
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close\r\n" in told.lower()
    assert b"no more of the request's body has come for 0.2 seconds" in told


def test_a_body_that_was_waited_for_with_permission_is_refused_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BODY_SECONDS", 0.2)
    head = b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    with connected(url, head) as connection:
        told = all_of(connection)
    assert told.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 408 " in told


def test_requests_with_whole_bodies_are_answered(url: str) -> None:
    assert httpx.put(f"{url}/echo", content=b"abc").content == b"abc"
    assert httpx.get(f"{url}/early").content == b"not wanted"


def test_an_answer_that_nobody_takes_is_broken_off(url: str, surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "TAKING_SECONDS", 0.2)
    surface.gone.clear()
    with connected(url, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert surface.gone.wait(60)
        assert len(all_of(connection)) < 1 << 30


def test_who_waits_for_the_end_of_a_client_waits_for_as_long_as_it_stays(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is taken slowly, in many times the patience for bodies, which is for bodies only."""
    monkeypatch.setattr(patience, "BODY_SECONDS", 0.01)
    with connected(url, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        taken = 0
        while taken < 200 << 20:
            data = connection.recv(1 << 20)
            assert data
            taken += len(data)
