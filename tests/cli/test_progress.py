from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cli.downloads import display
from cli.downloads.progress import Meter, View
from cli.downloads.status import object_count, summary
from cli.formats import Units
from haul.states import JobStatus, moment
from tests.cli.standin import EPOCH, job


def running(**fields: Any) -> JobStatus:
    return JobStatus.from_wire(job("dnl-1", finished_time=EPOCH, finished_cnt=0, **fields))


def task(name: str, downloaded: int, total: int = 0) -> dict[str, str]:
    return {"name": name, "downloaded": str(downloaded), "start_time": EPOCH} | ({"total": str(total)} if total else {})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23T01:38:15.213061896Z", 1795397895.213061),
        ("2026-11-23T01:38:15Z", 1795397895),
        (EPOCH, None),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
        ("soon", None),
    ],
)
def test_times(text: object, seconds: float | None) -> None:
    found = moment(text)
    assert (found.timestamp() if found else None) == pytest.approx(seconds)


def test_both_spellings_of_not_yet_mean_running() -> None:
    for text in (EPOCH, "0001-01-01T00:00:00Z"):
        assert not JobStatus.from_wire(job("x", finished_time=text)).is_over


@pytest.mark.parametrize(
    ("fields", "state", "succeeded"),
    [
        ({}, "finished", True),
        ({"finished_time": EPOCH}, "running", False),
        ({"finished_time": EPOCH, "aborted": True}, "stopping", False),
        ({"aborted": True}, "aborted", False),
        ({"error_cnt": 1}, "failed", False),
    ],
)
def test_states(fields: dict[str, Any], state: str, succeeded: bool) -> None:
    status = JobStatus.from_wire(job("x", **fields))
    assert (status.state, status.succeeded) == (state, succeeded)


def test_unknown_total_counts_what_is_scheduled() -> None:
    assert object_count(JobStatus.from_wire(job("x", total=-3, scheduled_cnt=7))) == 7


def test_rates_and_time_left() -> None:
    meter = Meter()
    meter.update(running(total=100, downloaded_bytes=0), 10.0)
    view = meter.update(
        JobStatus.from_wire(job("dnl-1", finished_time=EPOCH, finished_cnt=20, total=100, downloaded_bytes=4000)), 12.0
    )
    assert (view.done_count, view.total_count, view.fraction) == (20, 100, 0.2)
    assert view.bytes_per_second == 2000
    assert view.objects_per_second == 10
    assert view.seconds_left == 8


def test_one_large_object_has_a_time_left_too() -> None:
    meter = Meter()
    meter.update(running(current_tasks=[task("big", 0, 1000)]), 0.0)
    view = meter.update(running(current_tasks=[task("big", 250, 1000)]), 1.0)
    assert view.fraction == 0.25
    assert view.seconds_left == pytest.approx(3.0)
    assert view.transferred_bytes == 250
    assert view.slowest[0].bytes_per_second == 250


def test_bytes_are_not_counted_twice_and_never_fall() -> None:
    meter = Meter()
    steps = [
        [task("a", 10, 100)],
        [task("a", 60, 100), task("b", 5, 50)],
        [task("b", 50, 50)],
        [],
    ]
    seen = [
        meter.update(running(total=1, scheduled_cnt=1, current_tasks=step), float(n)).transferred_bytes
        for n, step in enumerate(steps)
    ]
    assert seen == [10, 65, 150, 150]


def test_old_samples_are_forgotten() -> None:
    meter = Meter()
    for second in range(100):
        view = meter.update(running(total=1, downloaded_bytes=1000 * min(second, 50)), float(second))
    assert view.bytes_per_second == 0
    assert view.seconds_left is None


def test_the_slowest_come_first() -> None:
    meter = Meter()
    names = ["fast", "slow", "middle", "fastest", "new"]
    meter.update(running(total=9, current_tasks=[task(name, 0, 1000) for name in names[:4]]), 0.0)
    after = dict(zip(names, [300, 10, 100, 900, 0], strict=True))
    view = meter.update(running(total=9, current_tasks=[task(name, done, 1000) for name, done in after.items()]), 1.0)
    assert [entry.name for entry in view.slowest] == ["slow", "middle", "fast"]
    assert view.active_count == 5


def test_an_empty_job_is_whole() -> None:
    view = Meter().update(JobStatus.from_wire(job("x", total=0, scheduled_cnt=0, finished_cnt=0)), 0.0)
    assert (view.fraction, view.total_count) == (1.0, 0)


def last_view() -> View:
    meter = Meter()
    meter.update(running(total=2000, current_tasks=[task("x\ty", 0, 100)]), 0.0)
    status = job("dnl-1", finished_time=EPOCH, finished_cnt=1000, error_cnt=1, total=2000, description="a [bold]job\n")
    status |= {"current_tasks": [task("x\ty", 50, 100)], "downloaded_bytes": 2048, "stale_targets": ["t2"]}
    return meter.update(JobStatus.from_wire(status), 1.0)


def test_plain_line() -> None:
    assert display.line(last_view(), Units.IEC) == (
        "dnl-1: 1,001 of 2,000 objects, 2.05 KiB, 2.05 KiB/s, 997 ms left, 1 failed, no answer from t2, "
        "slowest: x\\ty (50 B of 100 B at 50 B/s)"
    )


def drawn(view: View, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None).print(
        display.picture(view, Units.IEC, width)
    )
    return file.getvalue()


def large_view() -> View:
    """A job whose figures are about as long as they get."""
    meter = Meter()
    names = [f"shards/2026/november/part-{n:06}-of-999999.tar" for n in range(3)]
    tasks = [task(name, 0, 200 * 1024**2) for name in names]
    meter.update(running(total=2_000_000, downloaded_bytes=0, current_tasks=tasks), 0.0)
    status = job("dnl-1", finished_time=EPOCH, finished_cnt=1_234_567, error_cnt=12_345, total=2_000_000)
    tasks = [task(name, 50 * 1024**2, 200 * 1024**2) for name in names]
    status |= {"current_tasks": tasks, "downloaded_bytes": 800 * 1024**3}
    return meter.update(JobStatus.from_wire(status), 200.0)


def usual_view() -> View:
    meter = Meter()
    meter.update(running(total=31, downloaded_bytes=0), 0.0)
    status = job("dnl-1", finished_time=EPOCH, finished_cnt=4, total=31, downloaded_bytes=150 * 1024**2)
    return meter.update(JobStatus.from_wire(status), 12.0)


def test_a_narrow_terminal_shortens_the_bar_and_no_figure() -> None:
    for width in (60, 80, 100, 120):
        figures = [line.rstrip() for line in drawn(usual_view(), width).splitlines()[1:]]
        for expected in ("13%", "4 of 31 objects", "150 MiB", "12.5 MiB/s", "1 min 21 s left"):
            assert expected in "\n".join(figures)
        assert all(len(line) <= width for line in figures)
        assert figures[0].index("13%") >= 8
        assert len(figures) == (1 if width >= 80 else 2)
    assert drawn(usual_view(), 120).splitlines()[1].index("13%") == 39


def test_long_figures_get_a_second_line_and_long_names_keep_their_end() -> None:
    for width in (60, 80, 120):
        text = drawn(large_view(), width)
        expected = ("62%", "1,246,912 of 2,000,000 objects", "800 GiB", "4.00 GiB/s", " left", "12,345 failed")
        for figure in (*expected, "50.0 MiB of 200 MiB", "256 KiB/s", "-of-999999.tar"):
            assert figure in text
        assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert "shards/2026/november/part-000000-of-999999.tar" in drawn(large_view(), 120)


def test_the_narrowest_terminal_is_borne() -> None:
    for width in range(1, 60):
        assert all(len(line.rstrip()) <= width for line in drawn(large_view(), width).splitlines())


def test_bars_show_everything_and_interpret_nothing() -> None:
    text = drawn(last_view(), 160)
    for expected in ("dnl-1", "a [bold]job\\n", "50%", "1,001 of 2,000 objects", "1 failed", "x\\ty", "50 B of 100 B"):
        assert expected in text


def test_summaries() -> None:
    done = job("x", finished_cnt=1500, total=1500, skipped_cnt=3, downloaded_bytes=4096)
    assert summary(JobStatus.from_wire(done), Units.IEC) == (
        "1,500 objects stored (3 of them unchanged, not fetched again), 4.00 KiB in 2.0 s (2.00 KiB/s)"
    )
    bad = job("x", finished_cnt=2, error_cnt=2, total=4)
    assert summary(JobStatus.from_wire(bad), Units.IEC) == "2 objects stored, in 2.0 s, 2 FAILED"
    stopped = job("x", finished_cnt=2, total=10, aborted=True)
    assert summary(JobStatus.from_wire(stopped), Units.IEC).startswith(
        "stopped before its end: 2 objects stored, in 2.0 s"
    )
    assert "8 not fetched" in summary(JobStatus.from_wire(stopped), Units.IEC)
