"""What is counted of requests about objects, on ASGI and on the short way of small reads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common import web
from common.errors import DiskFailure, HaulError, ObjectNotFound
from common.traffic import Traffic


def ask(traffic: Traffic, method: str, answer: Any, *, kind: str = "", body: bytes = b"") -> None:
    async def application(scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        await web.read_body(receive, 1 << 20)
        if isinstance(answer, HaulError):
            raise answer
        await web.answer(send, *answer)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: Any) -> None:
        pass

    scope = {"type": "http", "method": method}
    asyncio.run(traffic.observed(application, kind)(scope, receive, send))


def test_answers_are_counted_by_method() -> None:
    traffic = Traffic()
    ask(traffic, "GET", (200, b"12345"))
    ask(traffic, "GET", (206, b"123"))
    ask(traffic, "PUT", (200, b""), body=b"1234567")
    ask(traffic, "HEAD", (200,))
    ask(traffic, "DELETE", (200,))
    ask(traffic, "POST", (200,))
    ask(traffic, "GET", (200, b"page"), kind="lst")
    figures = traffic.figures()
    assert {name: value for name, value in figures.items() if not name.endswith(".ns.total")} == {
        "get.n": 2,
        "get.size": 8,
        "put.n": 1,
        "put.size": 7,
        "head.n": 1,
        "del.n": 1,
        "lst.n": 1,
    }
    assert figures["get.ns.total"] // 2 == pytest.approx(traffic.latency_ns("get"), abs=1)


def test_errors_are_counted_apart_and_still_raised() -> None:
    traffic = Traffic()
    for error in (ObjectNotFound("no"), DiskFailure("no")):
        with pytest.raises(type(error)):
            ask(traffic, "GET", error)
    ask(traffic, "PUT", (507, b""))
    assert traffic.figures() == {"err.get.n": 2, "err.io.get.n": 1, "err.put.n": 1}
    assert traffic.latency_ns("get") == 0


def test_small_reads_are_counted_where_they_are_answered() -> None:
    traffic = Traffic()
    given = [0]

    def read(target: bytes) -> bytes | None:
        if target == b"/other":
            return None
        given[0] += 10
        return b"answer"

    counted = traffic.counted(read, lambda: given[0])
    for _ in range(100):
        assert counted(b"/small") == b"answer"
    assert counted(b"/other") is None
    figures = traffic.figures()
    assert (figures["get.n"], figures["get.size"]) == (100, 1000)
    assert figures["get.ns.total"] > 0
