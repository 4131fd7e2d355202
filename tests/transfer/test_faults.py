"""The engine against an origin that cuts, lies and talks nonsense."""

from __future__ import annotations

import socket

import pytest

from common.errors import Retry
from target.transfer.engine import Engine
from target.transfer.request import FetchError, FetchRequest, Receipt
from tests.faults import (
    Chunked,
    CloseAfter,
    ContentLength,
    Cut,
    Endless,
    Fault,
    Garbage,
    HangUp,
    HugeHeaders,
    Informational,
    Stall,
    Status,
)
from tests.origin import Origin
from tests.transfer.driving import Collector, failure, fetch, fetch_all, make_engine, receipt, run

BODY = bytes(range(256)) * 400

FAILING: list[tuple[Fault, str, Retry]] = [
    (Cut(0), "short", Retry.LATER),
    (Cut(1000), "short", Retry.LATER),
    (Cut(len(BODY) - 1), "short", Retry.LATER),
    (Cut(50_000, reset=True), "reset", Retry.LATER),
    (Chunked(cut=True), "short", Retry.LATER),
    (ContentLength(str(len(BODY) + 1)), "short", Retry.LATER),
    (ContentLength("-5"), "protocol", Retry.NEVER),
    (ContentLength("1e9"), "protocol", Retry.NEVER),
    (ContentLength("99999999999999999999999"), "protocol", Retry.NEVER),
    (ContentLength("ten"), "protocol", Retry.NEVER),
    (ContentLength("10\n20"), "protocol", Retry.NEVER),
    (HangUp(), "reset", Retry.LATER),
    (HangUp(reset=True), "reset", Retry.LATER),
    (Garbage(), "protocol", Retry.NEVER),
    (Garbage(b"HTTP/1.1 abc\r\n\r\n"), "protocol", Retry.NEVER),
    (Garbage(b"HTTP/9.9 200 OK\r\n\r\n"), "protocol", Retry.NEVER),
    (Garbage(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol", Retry.NEVER),
    (HugeHeaders(400_000), "protocol", Retry.NEVER),
    (HugeHeaders(2_000_000, lines=200), "protocol", Retry.NEVER),
    (HugeHeaders(100_000, lines=10_000), "protocol", Retry.NEVER),
    (Status(204), "status", Retry.NEVER),
    (Status(205), "status", Retry.NEVER),
    (Status(206, {"Content-Range": "bytes 0-2/9"}), "protocol", Retry.NEVER),
    (Status(304), "protocol", Retry.NEVER),
    (Status(401), "status", Retry.NEVER),
    (Status(500), "status", Retry.LATER),
    (Status(503, body=bytes(5_000_000)), "status", Retry.LATER),
]


@pytest.mark.parametrize(("fault", "kind", "retry"), FAILING, ids=[repr(fault)[:50] for fault, *_ in FAILING])
def test_failures(engine: Engine, origin: Origin, fault: Fault, kind: str, retry: Retry) -> None:
    url = origin.put("/a", BODY)
    origin.misbehave("/a", fault)
    error = failure(engine, url.replace("http://", "http://user:canary@") + "?sig=canary")
    assert (error.kind, error.retry) == (kind, retry), str(error)
    assert "canary" not in str(error)
    assert receipt(engine, url)[1] == BODY


HARMLESS = [
    Chunked(),
    Chunked(chunk_bytes=1),
    ContentLength(None),
    ContentLength(f"{len(BODY)}\n{len(BODY)}"),
    Informational(),
    CloseAfter(),
    HugeHeaders(50_000),
    Chunked(content_length="5"),
]


@pytest.mark.parametrize("fault", HARMLESS, ids=repr)
def test_what_a_server_may_do(engine: Engine, origin: Origin, fault: Fault) -> None:
    url = origin.put("/a", BODY)
    origin.misbehave("/a", fault)
    got, body = receipt(engine, url)
    assert (body, got.status, got.size_bytes) == (BODY, 200, len(BODY))


def test_bytes_past_the_announced_length_are_not_the_object(engine: Engine, origin: Origin) -> None:
    url = origin.put("/a", BODY)
    origin.misbehave("/a", ContentLength("100"))
    assert receipt(engine, url)[1] == BODY[:100]
    assert receipt(engine, url)[1] == BODY


def test_a_compressed_body_is_stored_as_it_is(engine: Engine, origin: Origin) -> None:
    url = origin.put("/a", b"\x1f\x8b not decoded", content_encoding="gzip")
    assert receipt(engine, url)[1] == b"\x1f\x8b not decoded"


def test_nobody_listens(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    error = failure(engine, f"http://127.0.0.1:{port}/a?secret")
    assert (error.kind, error.retry) == ("refused", Retry.LATER)
    assert str(error) == f'failed to download "http://127.0.0.1:{port}/a": connection refused'


def test_an_unknown_host(engine: Engine) -> None:
    error = failure(engine, "http://no-such-host.invalid/a")
    assert (error.kind, error.retry) == ("dns", Retry.LATER)


@pytest.mark.parametrize("url", ["http://", "gopher://127.0.0.1/x", "file:///etc/passwd", "http://h:99999/", "x y", ""])
def test_urls_that_are_none(engine: Engine, url: str) -> None:
    error = failure(engine, url)
    assert (error.kind, error.retry) == ("protocol", Retry.NEVER)


def test_an_absurd_length_makes_no_sink(engine: Engine, origin: Origin) -> None:
    url = origin.put("/a", BODY)
    origin.misbehave("/a", ContentLength("9223372036854775808"))
    result, sink = fetch(engine, url)
    assert isinstance(result, FetchError)
    assert (result.kind, sink.heads) == ("protocol", [])


def test_an_object_beyond_the_limit_is_refused(origin: Origin) -> None:
    engine = make_engine(max_object_bytes=1000)
    result, sink = fetch(engine, origin.put("/large", bytes(1001)))
    assert isinstance(result, FetchError)
    assert (result.kind, result.retry, sink.heads) == ("too_large", Retry.NEVER, [])
    origin.put("/endless", b"")
    origin.misbehave("/endless", Endless())
    assert failure(engine, origin.url("/endless")).kind == "too_large"
    assert len(receipt(engine, origin.put("/exact", bytes(1000)))[1]) == 1000
    engine.close()


def test_cancel_in_the_middle_of_a_body_leaves_nothing(engine: Engine, origin: Origin) -> None:
    origin.put("/a", b"")
    origin.misbehave("/a", Endless())
    sink = Collector()
    engine.start("a", FetchRequest(origin.url("/a")), sink)
    run(engine, lambda: len(sink.data) > 0)
    assert engine.progress("a") == (len(sink.data), 0)
    engine.cancel("a")
    size = len(sink.data)
    assert receipt(engine, origin.put("/b", b"x"))[1] == b"x"
    run(engine, lambda: len(origin.open_connections) == 1)
    assert len(sink.data) == size
    assert engine.progress("a") == (0, 0)


def test_progress_knows_the_size(engine: Engine, origin: Origin) -> None:
    origin.put("/a", BODY)
    origin.misbehave("/a", Stall(1000))
    engine.start("a", FetchRequest(origin.url("/a")), Collector())
    assert engine.progress("a") == (0, 0)
    run(engine, lambda: engine.progress("a") == (1000, len(BODY)))
    engine.cancel("a")


def test_close_ends_every_connection(origin: Origin) -> None:
    engine = make_engine()
    url = origin.put("/a", BODY)
    fetch_all(engine, [FetchRequest(url)] * 20, Collector())
    gate = origin.gate("/held")
    engine.start("held", FetchRequest(origin.url("/held")), Collector())
    run(engine, lambda: origin.count("/held") == 1)
    engine.close()
    engine.close()
    gate.release()
    run(make_engine(), lambda: not origin.open_connections)


def test_connections_are_kept_and_used_again(engine: Engine, origin: Origin) -> None:
    urls = [origin.put(f"/{number}", b"x" * number) for number in range(300)]
    for start in range(0, 300, 10):
        results = fetch_all(engine, map(FetchRequest, urls[start : start + 10]), Collector())
        assert all(isinstance(result, Receipt) for result in results)
    assert len(origin.requests) == 300
    assert origin.connections <= 10


def test_a_connection_that_died_while_it_was_kept_is_replaced(engine: Engine, origin: Origin) -> None:
    url = origin.put("/a", b"x")
    origin.misbehave("/a", CloseAfter(), CloseAfter())
    assert [receipt(engine, url)[1] for _ in range(3)] == [b"x"] * 3
    for connection in list(origin.open_connections):
        origin.loop.call_soon_threadsafe(connection.end)
    run(engine, lambda: not origin.open_connections)
    assert receipt(engine, url)[1] == b"x"


def test_descriptors_above_1023_work(engine: Engine, origin: Origin) -> None:
    url = origin.put("/a", BODY)
    filler = [socket.socket() for _ in range(1100)]
    try:
        results = fetch_all(engine, [FetchRequest(url)] * 50, Collector())
    finally:
        for each in filler:
            each.close()
    assert all(isinstance(result, Receipt) for result in results)


def test_headers_of_an_answer_are_readable(engine: Engine, origin: Origin) -> None:
    url = origin.put("/a", b"x", x_goog_hash="crc32c=AAAAAA==", content_type="image/png")
    headers = receipt(engine, url)[0].head.headers
    assert headers["x-goog-hash"] == "crc32c=AAAAAA=="
    assert headers["content-type"] == "image/png"
