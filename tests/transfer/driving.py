"""Running an engine to the end of its fetches, and sinks that remember; used by all tests of this folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Any

from common.errors import DiskError
from target.transfer.egress import EgressGuard
from target.transfer.engine import Engine
from target.transfer.request import (
    Completion,
    FetchError,
    FetchRequest,
    Receipt,
    ResponseHead,
    SinkFactory,
    TransferEngine,
    TransferSettings,
)

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
PATIENCE_SECONDS = 20.0


class Collector:
    """A sink factory and sink in one; `heads` counts how often it was asked for a sink."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.heads: list[ResponseHead] = []
        self.data = bytearray()
        self._fail_after = fail_after

    def __call__(self, head: ResponseHead) -> Collector:
        self.heads.append(head)
        return self

    def write(self, chunk: bytes, /) -> None:
        self.data += chunk
        if self._fail_after is not None and len(self.data) > self._fail_after:
            raise DiskError("disk is full")


def make_engine(*, guard: EgressGuard | None = None, **settings: Any) -> Engine:
    return Engine(TransferSettings(**settings), guard or EgressGuard(LOOPBACK))


def run(engine: TransferEngine, until: Callable[[], bool] | None = None) -> list[Completion]:
    """Poll until `until()` is true (or nothing is active any more); AssertionError when that takes too long."""
    completions = engine.poll(0)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until() if until else engine.active:
        assert time.monotonic() < deadline, "the engine did not get there"
        completions += engine.poll(0.05)
    return completions


def fetch_all(
    engine: TransferEngine, requests: Iterable[FetchRequest], sink: SinkFactory
) -> list[Receipt | FetchError | DiskError]:
    """Fetch side by side; the results in the order of the requests."""
    count = 0
    for token, request in enumerate(requests):
        engine.start(token, request, sink)
        count += 1
    results = {completion.token: completion.result for completion in run(engine)}
    assert len(results) == count
    return [results[token] for token in range(count)]


def fetch(engine: TransferEngine, request: FetchRequest | str) -> tuple[Receipt | FetchError | DiskError, Collector]:
    collector = Collector()
    asked = FetchRequest(request) if isinstance(request, str) else request
    return fetch_all(engine, [asked], collector)[0], collector


def failure(engine: TransferEngine, request: FetchRequest | str) -> FetchError:
    """The error of a fetch that must fail."""
    result, _ = fetch(engine, request)
    assert isinstance(result, FetchError), result
    return result


def receipt(engine: TransferEngine, request: FetchRequest | str) -> tuple[Receipt, bytes]:
    """Receipt and body of a fetch that must succeed."""
    result, collector = fetch(engine, request)
    assert isinstance(result, Receipt), result
    return result, bytes(collector.data)
