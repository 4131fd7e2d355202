"""Byte budgets: the bucket on a virtual clock, and the engine under one."""

from __future__ import annotations

import threading
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from common.clock import monotonic
from target.transfer.budget import MIN_BURST_BYTES, Budget
from target.transfer.engine import Engine
from target.transfer.request import FetchRequest, Receipt
from tests.origin import Origin
from tests.transfer.driving import Collector, fetch_all, make_engine, receipt, run


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_debt_is_waited_for() -> None:
    clock = Clock()
    budget = Budget(1000, clock)
    assert budget.delay() == 0
    budget.charge(500)
    assert budget.delay() == 0.5
    clock.now += 0.5
    assert budget.delay() == 0


def test_idle_time_earns_one_second_at_most() -> None:
    clock = Clock()
    budget = Budget(100_000, clock)
    clock.now += 3600
    budget.charge(100_000)
    assert budget.delay() == 0
    budget.charge(1000)
    assert budget.delay() == 0.01


def test_a_slow_budget_still_reads_whole_buffers() -> None:
    clock = Clock()
    budget = Budget(5 * 1024 / 3600, clock)
    budget.charge(MIN_BURST_BYTES)
    assert round(budget.delay()) == 720
    clock.now += 1e6
    budget.charge(MIN_BURST_BYTES)
    assert budget.delay() == 0


def test_the_rate_may_change_while_it_runs() -> None:
    clock = Clock()
    budget = Budget(1000, clock)
    budget.charge(5000)
    clock.now += 1
    budget.set_rate(4000)
    assert (budget.delay(), budget.bytes_per_second) == (1, 4000)
    budget.set_rate(0)
    assert budget.delay() == float("inf")
    budget.set_rate(-1)
    assert budget.bytes_per_second == 0


@given(st.floats(1, 1e9), st.lists(st.tuples(st.integers(1, 524288), st.floats(0, 5)), max_size=60))
def test_never_more_than_rate_burst_and_one_read(rate: float, reads: list[tuple[int, float]]) -> None:
    clock = Clock()
    budget = Budget(rate, clock)
    taken = largest = 0
    for size, pause in reads:
        clock.now += pause
        if budget.delay() == 0:
            budget.charge(size)
            taken += size
            largest = max(largest, size)
    elapsed = clock.now - 100.0
    assert taken <= (rate * elapsed + max(rate, MIN_BURST_BYTES) + largest) * 1.000001


def test_all_charges_of_many_threads_count() -> None:
    clock = Clock()
    budget = Budget(1, clock)

    def charge() -> None:
        for _ in range(1000):
            budget.charge(1)

    threads = [threading.Thread(target=charge) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.delay() == 8000


def test_a_tiny_budget_takes_one_buffer_and_waits(engine: Engine, origin: Origin) -> None:
    sink = Collector()
    budget = Budget(5 * 1024 / 3600)
    engine.start("a", FetchRequest(origin.put("/a", bytes(1_000_000)), budget=budget), sink)
    run(engine, lambda: budget.delay() > 0)
    for _ in range(20):
        engine.poll(0.02)
    assert 0 < len(sink.data) <= 1024
    budget.set_rate(1e9)
    completions = run(engine)
    assert isinstance(completions[0].result, Receipt)
    assert len(sink.data) == 1_000_000


def test_a_shared_budget_is_kept_and_fair(origin: Origin) -> None:
    rate, objects, size = 400_000, 4, 40_000
    budget = Budget(rate)
    engines = [make_engine(), make_engine()]
    sinks = [Collector() for _ in range(objects)]
    started = monotonic()
    for number, sink in enumerate(sinks):
        request = FetchRequest(origin.put(f"/{number}", bytes(size)), budget=budget)
        engines[number % 2].start(number, request, sink)
    spread = []
    while any(engine.active for engine in engines):
        for engine in engines:
            engine.poll(0.005)
        spread.append(sorted(len(sink.data) for sink in sinks))
    elapsed = monotonic() - started
    for engine in engines:
        engine.close()
    assert [len(sink.data) for sink in sinks] == [size] * objects
    assert elapsed * rate >= objects * size - rate * 0.2
    assert all(before <= after for before, after in pairwise([sum(each) for each in spread]))


def test_a_throttled_fetch_is_not_a_stalled_one(origin: Origin) -> None:
    engine = make_engine(min_rate_window_seconds=0.1, sweep_interval_seconds=0.02, min_rate_bytes_per_second=1e9)
    got, body = receipt(engine, FetchRequest(origin.put("/a", bytes(5000)), budget=Budget(8000)))
    engine.close()
    assert (got.size_bytes, len(body)) == (5000, 5000)


def test_cancel_and_timeout_of_paused_fetches(origin: Origin) -> None:
    engine = make_engine(sweep_interval_seconds=0.02)
    url = origin.put("/a", bytes(100_000))
    budget = Budget(1)
    engine.start("cancelled", FetchRequest(url, budget=budget), Collector())
    run(engine, lambda: budget.delay() > 0)
    engine.cancel("cancelled")
    result = fetch_all(engine, [FetchRequest(url, budget=budget, timeout_seconds=0.2)], Collector())[0]
    assert "deadline exceeded" in str(result)
    assert receipt(engine, url)[0].size_bytes == 100_000
    engine.close()
