"""Figures of many targets become one status: nothing is counted twice, and nothing ends before all of it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from common.shares import ShareStatus, TaskProgress
from common.units import EPOCH
from proxy.downloads.aggregate import Answers, job_json, merge, tasks_json
from proxy.downloads.records import Assignment, Figures, JobRecord

START = 1_795_397_894_000_000_000


@st.composite
def share_statuses(draw: st.DrawFn) -> ShareStatus:
    scheduled = draw(st.integers(0, 1000))
    errors = draw(st.integers(0, scheduled))
    is_finished = draw(st.booleans())
    finished = scheduled - errors if is_finished else draw(st.integers(0, scheduled - errors))
    return ShareStatus(
        share_id="dnl-x",
        scheduled=scheduled,
        finished=finished,
        skipped=draw(st.integers(0, finished)),
        errors=errors,
        bytes=draw(st.integers(0, 1 << 50)),
        all_dispatched=is_finished or draw(st.booleans()),
        aborted=False,
        started_ns=START + draw(st.integers(0, 100)),
        finished_ns=START + draw(st.integers(100, 200)) if is_finished else 0,
    )


shares_by_target = st.dictionaries(st.sampled_from(["t1", "t2", "t3", "t4"]), share_statuses(), min_size=1)


def record(targets: tuple[str, ...], **fields: Any) -> JobRecord:
    return JobRecord("dnl-x", "multi", "d", "ais/@#/demo/", 10, (Assignment("", targets, targets),), START, **fields)


def answers(shares: Mapping[str, ShareStatus], stale: Sequence[str] = ()) -> Answers:
    """What is known of the first assignment's shares, by target."""
    keyed = {("dnl-x", target): share for target, share in shares.items()}
    return Answers(keyed, [("dnl-x", target) for target in stale])


@given(shares_by_target)
def test_counters_add_up_and_the_job_ends_with_its_last_share(shares: dict[str, ShareStatus]) -> None:
    figures = merge(record(tuple(shares)), answers(shares))
    assert figures.scheduled == sum(share.scheduled for share in shares.values())
    assert figures.finished == sum(share.finished for share in shares.values())
    assert figures.skipped <= figures.finished
    assert figures.finished + figures.errors <= figures.scheduled
    if all(share.finished_ns for share in shares.values()):
        assert figures.finished_ns == max(share.finished_ns for share in shares.values())
        assert figures.finished + figures.errors == figures.scheduled
        assert figures.all_dispatched
    else:
        assert figures.finished_ns == 0
    assert figures.started_ns == min(share.started_ns for share in shares.values())


@given(shares_by_target)
def test_a_target_that_is_missing_keeps_the_job_open(shares: dict[str, ShareStatus]) -> None:
    figures = merge(record((*shares, "lost")), answers(shares, ["lost"]))
    assert figures.finished_ns == 0
    assert not figures.all_dispatched


@given(shares_by_target)
def test_an_aborted_job_ends_without_the_targets_that_are_gone(shares: dict[str, ShareStatus]) -> None:
    aborted_ns = START + 500
    figures = merge(record((*shares, "lost"), aborted_ns=aborted_ns), answers(shares, ["lost"]))
    assert figures.aborted
    assert figures.finished_ns == (aborted_ns if all(share.finished_ns for share in shares.values()) else 0)


def test_the_last_known_figures_of_a_silent_target_count() -> None:
    done = ShareStatus("dnl-x", 3, 3, 0, 0, 9, True, False, START, START + 5)
    running = ShareStatus("dnl-x", 4, 1, 0, 0, 2, False, False, START, 0)
    figures = merge(record(("t1", "t2")), answers({"t1": done, "t2": running}, ["t1"]))
    assert (figures.scheduled, figures.finished, figures.finished_ns) == (7, 4, 0)
    figures = merge(record(("t1",)), answers({"t1": done}, ["t1"]))
    assert figures.finished_ns == START + 5


def test_a_summary_is_the_last_word() -> None:
    summary = Figures(1, 1, 0, 0, 5, True, False, START, START + 1)
    finished = record(("t1",), summary=summary)
    assert merge(finished, answers({}, ["t1"])) == summary
    assert JobRecord.unpack(finished.pack()) == finished


def test_the_fields_and_their_order_are_the_dialects() -> None:
    shown = job_json(record(("t1",)), Figures(started_ns=START))
    assert list(shown) == [
        *("id", "xaction_id", "description", "started_time", "finished_time", "finished_cnt", "scheduled_cnt"),
        *("skipped_cnt", "error_cnt", "total", "all_dispatched", "aborted"),
    ]
    assert shown["finished_time"] == EPOCH
    assert job_json(record(("t1",)), Figures(), ["t2", "t1"])["stale_targets"] == ["t1", "t2"]


def task(position: int, **fields: object) -> TaskProgress:
    progress = TaskProgress(position, f"o{position:03d}", 5, 10, START, START + 1)
    return progress._replace(**fields)  # type: ignore[arg-type]  # a NamedTuple's _replace is not typed by field


def share(*, finished: list[TaskProgress], failed: list[TaskProgress], current: list[TaskProgress]) -> ShareStatus:
    return ShareStatus("dnl-x", 9, 0, 0, 0, 0, True, False, START, 0, current, finished, failed)


def test_tasks_are_shown_as_the_dialect_does() -> None:
    shares = [
        share(finished=[task(1, total=0), task(2)], failed=[task(2, error="no")], current=[task(4, end_ns=0)]),
        share(finished=[task(0)], failed=[], current=[task(3, end_ns=0)]),
    ]
    shown = tasks_json(shares, 10, None, only_active=False)
    assert list(shown) == ["current_tasks", "finished_tasks", "download_errors"]
    assert [one["name"] for one in shown["current_tasks"]] == ["o003", "o004"]
    assert [one["name"] for one in shown["finished_tasks"]] == ["o000", "o001", "o002"]
    assert shown["finished_tasks"][1] == {
        "name": "o001",
        "downloaded": "5",
        "start_time": "2026-11-23T01:38:14Z",
        "end_time": "2026-11-23T01:38:14.000000001Z",
    }
    assert shown["current_tasks"][0]["end_time"] == EPOCH
    assert shown["download_errors"] == [{"name": "o002", "error": "no"}]
    assert list(tasks_json(shares, 10, None, only_active=True)) == ["current_tasks"]
    assert tasks_json([], 10, None, only_active=False) == {}


def test_a_page_is_chosen_by_position_and_shown_by_name() -> None:
    tasks = [task(position, name=str(position)) for position in range(8, 13)]
    failed = [one._replace(error="no") for one in tasks[1:]]
    shares = [
        share(finished=tasks[:1], failed=failed[::2], current=[]),
        share(finished=[], failed=failed[1::2], current=[]),
    ]
    shown = tasks_json(shares, 4, None, only_active=False)
    assert [one["name"] for one in shown["finished_tasks"]] == ["10", "11", "8", "9"]
    assert [one["name"] for one in shown["download_errors"]] == ["10", "11", "12", "9"]
    assert shown["tasks_next"] == 11


@given(st.lists(st.sampled_from(["finished", "failed"]), max_size=40), st.integers(1, 7), st.integers(1, 3))
def test_pages_cover_every_task_once(ends: list[str], limit: int, targets: int) -> None:
    """A client that begins with `tasks_after` -1 and follows `tasks_next` sees every task and every error once."""
    seen: list[str] = []
    errors: list[str] = []
    after: int | None = -1
    while after is not None:
        shares = []
        for target in range(targets):
            own = [task(p, error="e" if e == "failed" else "") for p, e in enumerate(ends) if p % targets == target]
            page = [one for one in own if one.position > after]
            failed = [one for one in page if one.error]
            shares.append(share(finished=page[:limit], failed=failed[:limit], current=[]))
        shown = tasks_json(shares, limit, after, only_active=False)
        seen += [one["name"] for one in shown.get("finished_tasks", [])]
        errors += [one["name"] for one in shown.get("download_errors", [])]
        assert len(shown.get("finished_tasks", [])) <= limit
        after = shown.get("tasks_next")
    assert seen == [f"o{position:03d}" for position in range(len(ends))]
    assert errors == [f"o{position:03d}" for position, end in enumerate(ends) if end == "failed"]
