"""What the limit of an origin becomes, against simulated origins in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target.downloads.concurrency import Concurrency, ConcurrencySettings
from tests.downloads.simulated import Origin, Simulation


def test_doubles_with_every_round_trip_while_it_gets_faster() -> None:
    simulation = Simulation(Origin(per_connection=20))  # 50 ms
    simulation.run(0.3)
    assert simulation.concurrency.limit == 256
    assert [after for _, _, after, _ in simulation.decisions] == [32, 64, 128, 256]
    assert all("grows" in why for *_, why in simulation.decisions)


@pytest.mark.parametrize("knee", [30, 50, 100])
def test_holds_near_the_number_that_fills_the_line(knee: int) -> None:
    simulation = Simulation(Origin(per_connection=10, capacity=10 * knee))
    simulation.run(20)
    assert knee <= simulation.concurrency.limit <= 2.6 * knee
    served = simulation.served
    simulation.run(10)
    assert simulation.served - served == pytest.approx(100 * knee, rel=0.05)


def test_finds_more_when_the_line_has_become_wider() -> None:
    origin = Origin(per_connection=10, capacity=200)
    simulation = Simulation(origin)
    simulation.run(20)
    before = simulation.concurrency.limit
    origin.capacity = 1e9
    simulation.run(120)
    assert simulation.concurrency.limit == 256 > before


@pytest.mark.parametrize("allowed", [1, 3, 5, 12, 40, 100])
def test_settles_just_below_what_an_origin_refuses(allowed: int) -> None:
    simulation = Simulation(Origin(refuses_above=allowed))
    simulation.run(30)
    served, refused = simulation.served, simulation.refused
    simulation.run(60)
    share = (simulation.refused - refused) / (simulation.served - served)
    assert share < 0.02
    assert simulation.served - served >= 0.6 * min(allowed, 256) * 10 * 60


def test_weather_is_no_reason_to_slow_down() -> None:
    concurrency = Concurrency(ConcurrencySettings(initial_connections=100), lambda *_: None)
    concurrency.answered(0.0, 0.0, 100)
    limit = concurrency.limit
    concurrency.struggled(0.1, 0.0, asks=False, why="reset")
    assert concurrency.limit == limit


def test_an_origin_that_says_so_gets_less_at_once() -> None:
    concurrency = Concurrency(ConcurrencySettings(initial_connections=100), lambda *_: None)
    concurrency.answered(0.0, 0.0, 100)
    concurrency.struggled(0.1, 0.0, asks=True, why="status 429")
    assert concurrency.limit == 100


def test_what_began_before_a_cut_does_not_cut_again() -> None:
    concurrency = Concurrency(ConcurrencySettings(initial_connections=64), lambda *_: None)
    for _ in range(64):
        concurrency.struggled(1.0, 0.5, asks=False, why="reset")
    assert concurrency.limit == 32
    concurrency.struggled(1.05, 1.01, asks=False, why="reset")
    assert concurrency.limit == 32, "at most one cut in a tenth of a second"
    concurrency.struggled(1.2, 1.01, asks=False, why="reset")
    assert concurrency.limit == 16


def test_survives_the_server_that_collapses_when_pushed() -> None:
    """hf-xet's #4893: past the knee everything gets slower, and stays so for as long as it is pushed."""
    simulation = Simulation(Origin(per_connection=10, collapses_above=60, punishes_seconds=20))
    simulation.run(60)
    assert any("collapsed" in why for *_, why in simulation.decisions)
    assert simulation.concurrency.limit <= 60
    served = simulation.served
    simulation.run(200)
    rate = (simulation.served - served) / 200
    assert rate >= 0.5 * 10 * 32, "half of what it gives to 60 connections at the least"
    assert rate == pytest.approx(10 * simulation.concurrency.limit, rel=0.2), "and it is not punished any more"


def test_smaller_objects_are_no_collapse() -> None:
    concurrency = Concurrency(ConcurrencySettings(initial_connections=8, max_connections=8), lambda *_: None)
    now = 0.0
    for size, answers in [(100_000_000, 2), (20_000, 2_000)] * 5:
        for _ in range(4):
            concurrency.pressed()
            concurrency.moved(now, size * answers)
            concurrency.answered(now, now, answers)
            now += 1.1
    assert concurrency.limit == 8


def test_a_job_held_back_by_its_budget_says_nothing() -> None:
    decisions: list[str] = []
    concurrency = Concurrency(ConcurrencySettings(), lambda _, __, why: decisions.append(why))
    for second in range(100):
        concurrency.pressed()
        concurrency.disturbed()
        concurrency.moved(second, 1000 if second < 50 else 1)
        concurrency.answered(second + 0.5, second)
    assert decisions == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["answer", "refuse", "break", "move", "lend", "idle"]), st.floats(0, 3)), max_size=300
    ),
    st.integers(1, 300),
    st.integers(1, 300),
)
def test_never_below_one_and_never_above_the_maximum(
    events: list[tuple[str, float]], initial: int, maximum: int
) -> None:
    settings = ConcurrencySettings(initial_connections=initial, max_connections=maximum)
    told: list[tuple[int, int]] = []
    concurrency = Concurrency(settings, lambda before, after, _: told.append((before, after)))
    now = 0.0
    for event, seconds in events:
        now += seconds
        match event:
            case "answer":
                concurrency.pressed()
                concurrency.answered(now, now, 16)
            case "refuse":
                concurrency.struggled(now, now, asks=True, why="status 429")
            case "break":
                concurrency.struggled(now, now - 1, asks=False, why="reset")
            case "move":
                concurrency.moved(now, 1 << 20, is_long=True)
            case "lend":
                concurrency.lend(now)
            case _:
                concurrency.resumed(now)
        assert 1 <= concurrency.limit <= maximum
    assert all(1 <= after <= maximum for _, after in told)
