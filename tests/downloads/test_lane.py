"""A lane's thread, on a disk and with a carrier of its own: when it rests."""

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from common import clock
from common.backends.base import OriginUnavailable, SourceRequest
from common.backends.settings import BackendSettings
from common.backends.sources import Sources
from common.errors import AccessDenied
from common.names import Bucket
from common.shares import JobSpec
from target.carriers.nursery import Nursery
from target.downloads.briefing import Briefing
from target.downloads.errands import Errands
from target.downloads.feeder import Feeder
from target.downloads.hosts import HostSettings
from target.downloads.lane import Lane
from target.downloads.recorder import Recorder
from target.downloads.scheduler import Scheduler
from target.downloads.settings import LaneSettings
from target.downloads.share import Share, State
from target.downloads.task import Result, Task
from target.storage.mountpath import Mountpath

SPEC = JobSpec("dnl-a", "multi", "a job", Bucket("b"), 7, 3, (("t1", 1),))


class Closed:
    """Says that nothing may be begun, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.first = threading.Event()

    def __call__(self) -> bool:
        self.asked += 1
        self.first.set()
        return False


def _with_a_retry_that_is_due() -> Scheduler:
    scheduler = Scheduler(1, HostSettings())
    task = Task(Share(1, SPEC, state=State.RUNNING, started_ns=5), 0, "x", "http://h/x", "http://h", 0)
    scheduler.retry(task, clock.monotonic(), 0.0)
    return scheduler


def test_a_lane_that_may_not_work_rests_though_a_retry_is_due(tmp_path: Path) -> None:
    disk, may_work = Mountpath(str(tmp_path)), Closed()
    disk.open("cluster", "t1")
    with contextlib.closing(Nursery()) as nursery:
        settings = LaneSettings(Errands(Sources(BackendSettings()), lambda *_: None), may_work=may_work)
        lane = Lane(0, disk, nursery, _with_a_retry_that_is_due(), cast(Recorder, None), settings)
        lane.start(cast(Feeder, None), lambda _: None)
        assert may_work.first.wait(60)
        threading.Event().wait(0.5)
        lane.stop()
    assert may_work.asked <= 20, "about once a second, and whenever it is woken"


class Silent:
    """Sources of which one bucket's service does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def request(self, link: str, credentials: Mapping[str, str]) -> SourceRequest:
        self.asked.append(link)
        if link.startswith("s3://away/"):
            raise OriginUnavailable("s3://away does not answer")
        raise AccessDenied("s3://refuses")


class Idle:
    """A feeder with nothing more to give, and a recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def nudge(self, share: Share) -> None:
        pass

    def record(self, results: list[Result]) -> None:
        self.ended += [result.task.link for result in results]


def test_a_service_that_does_not_answer_is_waited_for_once_not_for_each_object(tmp_path: Path) -> None:
    scheduler, silent, idle = Scheduler(1, HostSettings()), Silent(), Idle()
    share = Share(1, SPEC, state=State.RUNNING, started_ns=5)
    for number, bucket in enumerate(["away", "away", "away", "refuses", "away", "refuses"]):
        link = f"s3://{bucket}/{number}"
        task = Task(share, number, str(number), link, f"s3://{bucket}", 0)
        scheduler.retry(task, clock.monotonic(), 0.0)
    disk = Mountpath(str(tmp_path))
    disk.open("cluster", "t1")
    with contextlib.closing(Nursery()) as nursery:
        settings = LaneSettings(Errands(cast(Sources, silent), lambda *_: None))
        lane = Lane(0, disk, nursery, scheduler, cast(Recorder, idle), settings)
        lane._feeder, lane._wake_lanes = cast(Feeder, idle), lambda _: None
        lane._briefing = cast(Briefing, SimpleNamespace(tell=lambda _: None))
        lane._order()
    assert sorted(silent.asked) == ["s3://away/0", "s3://refuses/3", "s3://refuses/5"]
    assert sorted(idle.ended) == ["s3://refuses/3", "s3://refuses/5"], "the others are tried again later"
