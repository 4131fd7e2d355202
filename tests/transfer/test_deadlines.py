"""Origins that are slow or silent do not hold a fetch for ever; short times, no timing asserted."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from common.errors import Retry
from target.transfer.deadlines import overdue
from target.transfer.request import FetchRequest, Progress, TransferSettings
from tests.faults import Drip, DripHead, Endless, Fault, Redirect, Silent, Stall, Status
from tests.origin import Origin
from tests.transfer.driving import failure, make_engine, receipt

QUICK: dict[str, Any] = {
    "connect_timeout_seconds": 0.2,
    "first_byte_timeout_seconds": 0.3,
    "min_rate_window_seconds": 0.3,
    "sweep_interval_seconds": 0.05,
}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Silent(), "first_byte"),
        (DripHead(0.01), "first_byte"),
        (Stall(0), "stall"),
        (Stall(50_000), "stall"),
        (Drip(10, 0.05), "stall"),
    ],
    ids=repr,
)
def test_a_slow_origin_is_given_up(origin: Origin, fault: Fault, kind: str) -> None:
    engine = make_engine(**QUICK)
    url = origin.put("/a", bytes(100_000))
    origin.misbehave("/a", fault)
    error = failure(engine, url + "?secret")
    assert (error.kind, error.retry) == (kind, Retry.LATER)
    assert "timeout" in str(error)
    assert "secret" not in str(error)
    assert receipt(engine, url)[0].size_bytes == 100_000
    engine.close()


def test_a_host_that_does_not_answer_a_connection(origin: Origin) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        engine = make_engine(**QUICK)
        error = failure(engine, f"http://127.0.0.1:{full.getsockname()[1]}/")
        engine.close()
        for filler in fillers:
            filler.close()
    assert (error.kind, error.retry) == ("connect_timeout", Retry.LATER)
    assert "timeout" in str(error)


@pytest.mark.parametrize("fault", [Silent(), Stall(10), Endless(), Status(500, {"Content-Length": "9999"})], ids=repr)
def test_the_jobs_timeout_caps_everything(origin: Origin, fault: Fault) -> None:
    engine = make_engine(sweep_interval_seconds=0.05)
    origin.put("/a", bytes(1000))
    origin.misbehave("/a", fault)
    error = failure(engine, FetchRequest(origin.url("/a"), timeout_seconds=0.2))
    assert (error.kind, error.retry) == ("timeout", Retry.NEVER)
    assert "timeout: deadline exceeded" in str(error)
    engine.close()


def test_the_jobs_timeout_counts_over_redirects(origin: Origin) -> None:
    engine = make_engine(sweep_interval_seconds=0.05)
    for number in range(3):
        origin.misbehave(f"/{number}", Redirect(f"/{number + 1}"))
    origin.misbehave("/3", Silent())
    assert failure(engine, FetchRequest(origin.url("/0"), timeout_seconds=0.3)).kind == "timeout"
    engine.close()


SETTINGS = TransferSettings(first_byte_timeout_seconds=30, min_rate_bytes_per_second=100, min_rate_window_seconds=10)
REQUEST = FetchRequest("http://h/x", timeout_seconds=1000)


def kind(progress: Progress, now: float, sent_at: float | None = 0.0) -> str:
    error = overdue(SETTINGS, REQUEST, progress, now, sent_at)
    return error.kind if error else ""


def test_rules_for_the_head() -> None:
    progress = Progress(started_at=0.0)
    assert kind(progress, 500, sent_at=None) == ""
    assert kind(progress, 529.9, sent_at=500) == ""
    assert kind(progress, 530, sent_at=500) == "first_byte"
    assert kind(progress, 1000, sent_at=999) == "timeout"


def test_rules_for_the_body() -> None:
    progress = Progress(started_at=0.0)
    assert kind(progress, 29) == ""
    progress.head_complete = True
    progress.received_bytes = 1000
    assert kind(progress, 38.9) == ""
    assert kind(progress, 39) == ""
    progress.received_bytes = 1999
    assert kind(progress, 48.9) == ""
    assert kind(progress, 49) == "stall"


def test_the_total_grows_with_the_size() -> None:
    def after(seconds: float, received_bytes: int, announced_bytes: int = 0, held_back_seconds: float = 0.0) -> str:
        progress = Progress(0.0, head_complete=True, received_bytes=received_bytes, held_back_seconds=held_back_seconds)
        settings = TransferSettings(total_seconds=600, total_rate_bytes_per_second=16384)
        error = overdue(settings, FetchRequest("http://h/x"), progress, seconds, 1.0, announced_bytes)
        return error.kind if error else ""

    assert after(600, received_bytes=10_000_000) == ""
    assert after(700, received_bytes=1_000_000) == "too_slow"
    assert after(1200, received_bytes=16384 * 590) == "too_slow"
    assert after(1200, received_bytes=16384 * 590, held_back_seconds=20) == ""
    assert after(1200, received_bytes=16384 * 590, announced_bytes=16384 * 1000) == ""
    assert after(1600, received_bytes=16384 * 590, announced_bytes=16384 * 1000) == "too_slow"


def test_a_drip_that_is_just_fast_enough_ends_too(origin: Origin) -> None:
    rates = {"min_rate_window_seconds": 0.1, "total_seconds": 0.3, "total_rate_bytes_per_second": 1e9}
    engine = make_engine(sweep_interval_seconds=0.05, min_rate_bytes_per_second=1.0, **rates)
    url = origin.put("/a", bytes(100_000))
    origin.misbehave("/a", Drip(10, 0.01))
    error = failure(engine, url)
    engine.close()
    assert (error.kind, error.retry) == ("too_slow", Retry.LATER)
    assert "timeout" in str(error)


def test_a_window_in_which_the_budget_held_it_back_does_not_count() -> None:
    progress = Progress(started_at=0.0, head_complete=True, throttled=True)
    assert kind(progress, 10) == ""
    assert kind(progress, 19) == ""
    assert kind(progress, 20) == "stall"
