"""Which task starts next: fairness, limits, wake-ups."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.names import Bucket
from common.shares import JobSpec
from target.carriers.messages import HOST, Failure
from target.downloads.concurrency import ConcurrencySettings
from target.downloads.hosts import HostSettings
from target.downloads.scheduler import MAX_HOSTS, Scheduler
from target.downloads.share import Share, State
from target.downloads.task import Task

LANES = 3
REFUSED = Failure(1, "status 429", may_pass=True, slows_host=True, fault=HOST, reason="status 429")


def make_share(job: str, connections: int = 0, priority: int = 3) -> Share:
    spec = JobSpec(job, "multi", "", Bucket("b"), 1, 0, (("t1", 1),), connections=connections, priority=priority)
    return Share(1, spec, state=State.RUNNING, started_ns=1)


def tasks_of(share: Share, count: int, lane: int = 0, origin: str = "http://a:80") -> list[Task]:
    return [Task(share, n, f"{share.id}-{n}", f"{origin}/{n}", origin, lane) for n in range(count)]


def scheduler_with(initial: int = 100, maximum: int = 100) -> Scheduler:
    return Scheduler(LANES, HostSettings(ConcurrencySettings(initial_connections=initial, max_connections=maximum)))


def test_jobs_take_turns_whatever_their_size() -> None:
    scheduler, big, small = scheduler_with(), make_share("big"), make_share("small")
    scheduler.offer(tasks_of(big, 1000))
    scheduler.offer(tasks_of(small, 3))
    taken, _ = scheduler.take(0, 6, 0.0)
    assert Counter(task.share.id for task in taken) == {"big": 3, "small": 3}


@pytest.mark.parametrize(("first", "second", "ratio"), [(1, 5, 16), (3, 4, 2), (5, 5, 1), (1, 2, 2)])
def test_a_higher_priority_gets_twice_the_turns_of_the_one_below(first: int, second: int, ratio: int) -> None:
    scheduler = scheduler_with(initial=1000, maximum=1000)
    low, high = make_share("low", priority=first), make_share("high", priority=second)
    scheduler.offer([*tasks_of(low, 1000), *tasks_of(high, 1000)])
    taken = Counter(task.share.id for task in scheduler.take(0, 17 * 20, 0.0)[0])
    assert taken["high"] / taken["low"] == pytest.approx(ratio, rel=0.1)


def test_a_low_priority_uses_what_others_cannot() -> None:
    scheduler, low, high = scheduler_with(), make_share("low", priority=1), make_share("high", 1, priority=5)
    scheduler.offer([*tasks_of(low, 10), *tasks_of(high, 10)])
    taken = Counter(task.share.id for task in scheduler.take(0, 20, 0.0)[0])
    assert taken == {"high": 1, "low": 10}


def test_a_paused_share_takes_no_tasks_and_no_retries() -> None:
    scheduler, share = scheduler_with(), make_share("j")
    scheduler.offer(tasks_of(share, 2))
    (task,), _ = scheduler.take(0, 1, 0.0)
    share.state = State.PAUSED
    scheduler.dropped(task)
    scheduler.retry(task, 0.0, 0.0)
    assert scheduler.withdraw(share) == 1
    assert scheduler.take(0, 10, 9.0)[0] == []


def test_a_small_job_posted_later_starts_with_the_next_free_connection() -> None:
    scheduler, big, small = scheduler_with(initial=4, maximum=4), make_share("big"), make_share("small")
    scheduler.offer(tasks_of(big, 1000))
    running, _ = scheduler.take(0, 10, 0.0)
    assert len(running) == 4
    scheduler.offer(tasks_of(small, 1))
    scheduler.dropped(running[0])
    scheduler.dropped(running[1])
    taken, _ = scheduler.take(0, 10, 0.0)
    assert {task.share.id for task in taken} == {"big", "small"}


def test_limit_of_connections_counts_over_all_lanes() -> None:
    scheduler, share = scheduler_with(), make_share("j", connections=2)
    for lane in range(LANES):
        scheduler.offer(tasks_of(share, 5, lane))
    taken = [task for lane in range(LANES) for task in scheduler.take(lane, 10, 0.0)[0]]
    assert len(taken) == 2


def test_a_freed_connection_wakes_the_lane_that_was_refused() -> None:
    scheduler, share = scheduler_with(), make_share("j", connections=1)
    scheduler.offer(tasks_of(share, 1, lane=0))
    scheduler.offer(tasks_of(share, 1, lane=1))
    (first,), _ = scheduler.take(0, 10, 0.0)
    assert scheduler.take(1, 10, 0.0) == ([], set())
    scheduler.dropped(first)
    assert scheduler.take(0, 10, 0.0) == ([], {1})
    assert len(scheduler.take(1, 10, 0.0)[0]) == 1


def test_a_lane_that_uses_the_connection_itself_wakes_nobody() -> None:
    scheduler, share = scheduler_with(), make_share("j", connections=1)
    scheduler.offer(tasks_of(share, 2, lane=0))
    scheduler.offer(tasks_of(share, 1, lane=1))
    (first,), _ = scheduler.take(0, 10, 0.0)
    scheduler.take(1, 10, 0.0)
    scheduler.dropped(first)
    taken, lanes = scheduler.take(0, 10, 0.0)
    assert len(taken) == 1
    assert lanes == set()


def test_a_slow_host_does_not_hold_up_the_other_hosts_of_a_job() -> None:
    scheduler, share = scheduler_with(initial=2, maximum=2), make_share("j")
    scheduler.offer(tasks_of(share, 10, origin="http://slow:80"))
    scheduler.offer(tasks_of(share, 2, origin="http://quick:80"))
    taken, _ = scheduler.take(0, 10, 0.0)
    assert Counter(task.origin for task in taken) == {"http://slow:80": 2, "http://quick:80": 2}


def test_a_host_that_asks_for_time_gets_it() -> None:
    scheduler, share = scheduler_with(), make_share("j")
    scheduler.offer(tasks_of(share, 2))
    (first,), _ = scheduler.take(0, 1, 0.0)
    scheduler.failed(first, 0.0, REFUSED._replace(retry_after_seconds=30.0))
    assert scheduler.take(0, 10, 29.9)[0] == []
    assert scheduler.next_due(0, 10.0) == pytest.approx(20.0)
    assert len(scheduler.take(0, 10, 30.0)[0]) == 1


def test_what_another_target_was_told_holds_here_too() -> None:
    scheduler, share = scheduler_with(), make_share("j")
    scheduler.hold("http://a:80", 0.0, 30.0)
    scheduler.hold("http://a:80", 1.0, 5.0)
    scheduler.offer([*tasks_of(share, 2), *tasks_of(share, 1, origin="http://b:80")])
    assert [task.origin for task in scheduler.take(0, 10, 29.9)[0]] == ["http://b:80"]
    assert scheduler.next_due(0, 10.0) == pytest.approx(20.0)
    assert len(scheduler.take(0, 10, 30.0)[0]) == 2


def test_a_wait_is_told_once_however_many_answers_repeat_it() -> None:
    told: list[str] = []
    scheduler = Scheduler(LANES, HostSettings(), lambda origin, before, after, why: told.append(why))
    for now in (0.0, 0.3, 0.6, 0.9):
        scheduler.hold("http://a:80", now, 10.0)
    assert told == ["it asks to be left alone for 10.0 s"]
    scheduler.hold("http://a:80", 2.0, 10.0)
    assert len(told) == 2


def test_a_probe_that_is_written_off_is_followed_by_another() -> None:
    scheduler, share = scheduler_with(), make_share("j")
    scheduler.offer([*tasks_of(share, 30), *tasks_of(share, 1, lane=1)])
    for task in scheduler.take(0, 16, 0.0)[0]:
        scheduler.failed(task, 0.0, REFUSED)
    (probe,), _ = scheduler.take(0, 5, 1.0)
    assert scheduler.take(1, 5, 2.0)[0] == []
    assert scheduler.write_off([probe], 0, 5.0) == {1}
    assert len(scheduler.take(1, 5, 5.0)[0]) == 1


def test_retry_waits_until_it_is_due() -> None:
    scheduler, share = scheduler_with(), make_share("j")
    scheduler.offer(tasks_of(share, 1))
    (task,), _ = scheduler.take(0, 1, 0.0)
    scheduler.dropped(task)
    scheduler.retry(task, 0.0, 5.0)
    assert scheduler.take(0, 1, 4.0)[0] == []
    assert scheduler.next_due(0, 4.0) == pytest.approx(1.0)
    assert scheduler.take(0, 1, 5.0)[0] == [task]
    assert scheduler.next_due(0, 5.0) is None


def test_withdrawn_share_leaves_nothing_behind() -> None:
    scheduler, gone, stays = scheduler_with(), make_share("gone"), make_share("stays")
    for lane in range(LANES):
        scheduler.offer(tasks_of(gone, 4, lane))
    scheduler.offer(tasks_of(stays, 1))
    (task,), _ = scheduler.take(0, 1, 0.0)
    scheduler.dropped(task)
    scheduler.retry(task, 0.0, 1.0)
    assert scheduler.withdraw(gone) == 12
    assert [task.share for lane in range(LANES) for task in scheduler.take(lane, 10, 9.0)[0]] == [stays]
    assert gone.queued == [0] * LANES


def test_stopped_share_takes_no_new_tasks() -> None:
    scheduler, share = scheduler_with(), make_share("j")
    share.state = State.ABORTED
    assert scheduler.offer(tasks_of(share, 3)) == set()
    assert scheduler.take(0, 3, 0.0)[0] == []


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, LANES - 1), st.integers(0, 1)), max_size=60),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_every_task_is_taken_once_and_no_limit_is_ever_exceeded(
    plan: list[tuple[int, int, int]], connections: int, host_limit: int
) -> None:
    """Lanes that only run when they were woken still finish everything: no wake-up is lost."""
    scheduler = scheduler_with(initial=host_limit, maximum=host_limit)
    shares = [make_share(f"j{n}", connections if n else 0) for n in range(3)]
    offered = [
        Task(shares[job], n, f"{n}", "l", f"http://h{host}:80", lane) for n, (job, lane, host) in enumerate(plan)
    ]
    awake = set(scheduler.offer(offered))
    running: list[Task] = []
    taken: list[Task] = []
    while awake or running:
        if awake:
            lane = awake.pop()
        else:
            lane = running[0].lane
            scheduler.dropped(running.pop(0))
        started, woken = scheduler.take(lane, 4, 0.0)
        if len(started) == 4:
            awake.add(lane)
        awake |= woken
        running += started
        taken += started
        for share in shares[1:]:
            assert sum(task.share is share for task in running) <= connections
        for host in range(2):
            assert sum(task.origin == f"http://h{host}:80" for task in running) <= host_limit
    assert sorted(task.position for task in taken) == list(range(len(plan)))


def test_hosts_that_nothing_is_fetched_from_are_forgotten_and_busy_ones_are_not() -> None:
    scheduler, share = scheduler_with(initial=2, maximum=2), make_share("j")
    scheduler.offer(tasks_of(share, 3, origin="http://busy:80"))
    busy, _ = scheduler.take(0, 3, 0.0)
    assert len(busy) == 2
    for number in range(MAX_HOSTS + 10):
        scheduler.offer(tasks_of(share, 1, origin=f"http://h{number}:80"))
        (task,), _ = scheduler.take(0, 1, 0.0)
        scheduler.answered([task], 0.1)
    assert scheduler.known_hosts <= MAX_HOSTS
    assert scheduler.take(0, 5, 0.2)[0] == [], "the busy one still has its two"
    scheduler.answered(busy, 0.3)
    assert len(scheduler.take(0, 5, 0.3)[0]) == 1


def test_lanes_that_wait_for_a_probe_hear_that_it_has_failed() -> None:
    scheduler, share = scheduler_with(), make_share("j")
    dead = REFUSED._replace(slows_host=False, reason="refused")
    scheduler.offer([*tasks_of(share, 40, lane=0), *tasks_of(share, 5, lane=1)])
    for task in scheduler.take(0, 16, 0.0)[0]:
        scheduler.failed(task, 0.1, dead)
    due = scheduler.next_due(0, 0.1)
    assert due is not None
    (probe,), _ = scheduler.take(0, 5, 0.2 + due)
    assert scheduler.take(1, 5, 0.2 + due)[0] == []
    assert scheduler.next_due(1, 0.2 + due) is None, "it depends on the probe"
    scheduler.failed(probe, 0.3 + due, dead)
    _, lanes = scheduler.take(0, 5, 0.3 + due)
    assert lanes == {1}
    assert scheduler.take(1, 5, 0.3 + due)[0] == []
    assert scheduler.next_due(1, 0.3 + due) is not None
