"""A budget that targets share, in virtual time: never exceeded, never left unused by those who need it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from target.downloads.leases import ALONE_SECONDS, Lease, LeaseBook

RATE = 1_000_000.0
TICK = 0.1
Demand = Callable[[int, float], float]
"""Bytes a second that a target could use, by its number and the time."""


class Simulation:
    """Some targets, one of which keeps the book; `reachable(target, now)` tells whose question gets through."""

    def __init__(self, targets: int, demand: Demand, reachable: Callable[[int, float], bool] = lambda *_: True) -> None:
        self.now = 0.0
        self._demand = demand
        self._reachable = reachable
        self._book = LeaseBook(RATE, targets, lambda: self.now)
        self._leases = [Lease(RATE, targets, lambda: self.now) for _ in range(targets)]
        self.spent: list[list[int]] = [[] for _ in range(targets)]

    def run(self, seconds: float, rng: random.Random) -> None:
        for _ in range(int(seconds / TICK)):
            self.now += TICK
            for number in rng.sample(range(len(self._leases)), len(self._leases)):
                lease = self._leases[number]
                self.spent[number].append(lease.take(int(self._demand(number, self.now) * TICK)))
                if self._reachable(number, self.now):
                    lease.granted(self._book.ask(str(number), lease.wanted(), is_done=False))
                else:
                    lease.unanswered()

    def totals(self) -> list[int]:
        return [sum(ticks) for ticks in zip(*self.spent, strict=True)]


def minutes(totals: list[int]) -> list[float]:
    """Bytes a second over every minute."""
    ticks = int(60 / TICK)
    return [sum(totals[begin : begin + ticks]) / 60 for begin in range(0, len(totals) - ticks, 7)]


@pytest.mark.parametrize("targets", [2, 3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_busy_targets_use_all_of_it_and_no_more(targets: int, seed: int) -> None:
    simulation = Simulation(targets, lambda *_: 10 * RATE)
    simulation.run(200, random.Random(seed))
    rates = minutes(simulation.totals())
    assert max(rates) <= 1.05 * RATE
    assert min(rates) >= 0.95 * RATE
    shares = [sum(spent) for spent in simulation.spent]
    assert min(shares) > 0.7 * max(shares), "the busy get about the same"


@pytest.mark.parametrize("busy", [0, 1, 2])
def test_what_the_idle_leave_goes_to_the_busy(busy: int) -> None:
    simulation = Simulation(3, lambda number, _: 10 * RATE if number == busy else 0.0)
    simulation.run(130, random.Random(1))
    rates = minutes(simulation.totals())
    assert max(rates) <= 1.05 * RATE
    assert min(rates) >= 0.95 * RATE


def test_demand_that_moves_from_one_to_another() -> None:
    simulation = Simulation(4, lambda number, now: 10 * RATE if int(now / 7) % 4 == number else 0.01 * RATE)
    simulation.run(200, random.Random(2))
    rates = minutes(simulation.totals())
    assert max(rates) <= 1.05 * RATE
    assert min(rates) >= 0.93 * RATE


@pytest.mark.parametrize("seed", range(5))
def test_cut_off_targets_never_make_it_more(seed: int) -> None:
    """Each is cut off from the book at random, for random times: with their even parts they stay below the budget."""
    rng = random.Random(seed)
    cuts = {
        number: [(start := rng.uniform(0, 150), start + rng.uniform(1, 40)) for _ in range(3)] for number in range(3)
    }
    simulation = Simulation(
        3,
        lambda *_: 10 * RATE,
        lambda number, now: not any(begin <= now < end for begin, end in cuts[number]),
    )
    simulation.run(200, rng)
    assert max(minutes(simulation.totals())) <= 1.05 * RATE


def test_all_alone_everybody_has_its_even_part() -> None:
    simulation = Simulation(4, lambda *_: 10 * RATE, lambda *_: False)
    simulation.run(ALONE_SECONDS + 100, random.Random(0))
    assert min(minutes(simulation.totals())[10:]) >= 0.9 * RATE
    assert max(minutes(simulation.totals())) <= 1.05 * RATE
