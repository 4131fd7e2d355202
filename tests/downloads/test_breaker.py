"""Origins that only fail are left alone, and second attempts are bounded; virtual time."""

from target.carriers.messages import HOST, OBJECT, Failure
from target.downloads.breaker import Breaker, BreakerSettings, RetryBudget
from target.downloads.concurrency import ConcurrencySettings
from target.downloads.hosts import Host, HostSettings

SETTINGS = BreakerSettings(failures=3, first_probe_seconds=1.0, max_probe_seconds=4.0, patience_seconds=10.0)
DOWN = Failure(1, "connection refused", may_pass=True, slows_host=True, fault=HOST, reason="refused")
MISSING = Failure(1, "does not exist", may_pass=False, fault=OBJECT, reason="status 404")


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(SETTINGS)
    assert [breaker.failed(at, at, "refused") for _ in range(3)] == [False, False, True]
    return breaker


def test_a_good_answer_in_between_keeps_it_closed() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(10):
        breaker.failed(0.0, 0.0, "reset")
        breaker.failed(0.0, 0.0, "reset")
        assert not breaker.succeeded()
    assert breaker.allows(0.0)


def test_one_probe_at_a_time_and_rarer_every_time() -> None:
    breaker = opened()
    now = 0.0
    for wait in (1.0, 2.0, 4.0, 4.0):
        assert not breaker.allows(now + wait - 0.1)
        now += wait
        assert breaker.allows(now)
        breaker.began(now)
        assert not breaker.allows(now + 100)
        breaker.failed(now, now, "refused")


def test_late_failures_of_before_say_nothing_about_the_probe() -> None:
    breaker = opened()
    breaker.began(1.0)
    breaker.failed(1.5, 0.5, "refused")
    assert not breaker.allows(100.0), "the probe is still running"


def test_a_probe_that_was_dropped_is_followed_by_another() -> None:
    breaker = opened()
    breaker.began(1.0)
    breaker.dropped(1.0)
    assert breaker.allows(1.0)


def test_any_good_answer_closes_it() -> None:
    breaker = opened()
    breaker.began(1.0)
    assert breaker.succeeded()
    assert breaker.allows(1.0)
    assert breaker.gives_up(1000.0, 0.0) is None


def test_tasks_wait_for_a_while_and_are_given_up_then() -> None:
    breaker = opened(at=5.0)
    assert breaker.gives_up(14.9, 0.0) is None
    assert "refused" in (breaker.gives_up(15.1, 0.0) or "")
    assert breaker.gives_up(15.1, 10.0) is None, "a job that came later waits as long"
    breaker.began(16.0)
    assert breaker.gives_up(16.0, 0.0) is None, "not while somebody asks"


def test_waiting_for_what_the_origin_asked_for_is_no_impatience() -> None:
    breaker = opened()
    breaker.hold_until(300.0)
    assert breaker.gives_up(299.0, 0.0) is None
    assert not breaker.allows(299.0)
    assert breaker.allows(300.0)


def test_second_attempts_are_a_part_of_the_first_ones_in_the_long_run() -> None:
    """Half of all attempts fail: each retry has to be earned by good answers, or by waiting."""
    budget, now, retries, answers = RetryBudget(), 0.0, 0, 0
    while now < 100.0:
        answers += 5
        budget.answered(5)
        retries += 1
        now += budget.wait_seconds(now)
        now += 0.005
    assert retries <= 64 + 0.1 * answers + 10 * now + 1


def host(**settings: int) -> Host:
    return Host("http://a:80", HostSettings(ConcurrencySettings(**settings), SETTINGS))


def test_a_dead_host_is_left_alone_and_opens_when_its_probe_is_due() -> None:
    dead = host()
    for _ in range(3):
        dead.began(0.0, is_limited=False)
        dead.active -= 1
        dead.failed(0.0, 0.0, DOWN)
    assert not dead.has_room(0.5)
    assert dead.opens_at(0.5) == 1.0
    assert dead.has_room(1.0)
    dead.began(1.0, is_limited=False)
    assert dead.opens_at(1.0) is None
    dead.answered(1.1, 1.0)
    assert dead.has_room(1.1)


def test_a_probe_that_takes_hours_opens_the_host_with_its_first_bytes() -> None:
    slow = host()
    for _ in range(3):
        slow.failed(0.0, 0.0, DOWN)
    slow.began(1.0, is_limited=False)
    assert not slow.has_room(2.0)
    slow.moved(2.0, 1 << 20, is_long=True)
    assert slow.has_room(2.0)


def test_a_missing_object_is_a_good_answer() -> None:
    fine = host()
    for _ in range(2):
        fine.failed(0.0, 0.0, DOWN)
    fine.failed(0.0, 0.0, MISSING)
    fine.failed(0.0, 0.0, DOWN)
    assert fine.has_room(0.0)


def test_retry_after_holds_the_whole_host() -> None:
    asked = host()
    asked.failed(0.0, 0.0, DOWN._replace(retry_after_seconds=30.0))
    assert not asked.has_room(29.9)
    assert asked.opens_at(10.0) == 30.0
    assert asked.has_room(30.0)
