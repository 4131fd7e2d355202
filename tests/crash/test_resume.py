"""kill -9 while large objects arrive: they go on where they were, and no version is mixed with another."""

from pathlib import Path

import pytest

from tests.crash.processes import Processes, check_objects
from tests.faults import Drip
from tests.jobs.test_large import content
from tests.origin import Origin
from tests.waiting import wait_for

MIB = 1 << 20
STEPS = ["partial.after_write=kill@20", "partial.before_sync=kill@3", "partial.after_claim=kill@1"]


@pytest.mark.parametrize("step", [*STEPS, "partial.after_claim=kill@4"])
def test_a_killed_target_goes_on_where_it_was(step: str, tmp_path: Path) -> None:
    objects = [(f"o{n}", content(30 * MIB + n, n)) for n in range(3)]
    with Origin() as origin, Processes(tmp_path, targets=1, mountpaths=2) as processes:
        links = [origin.put(f"/{name}", data) for name, data in objects]
        for name, _ in objects:
            origin.misbehave(f"/{name}", Drip(256 * 1024, 0.005), lasting=True)
        processes.kill("t1")
        processes.up(step)
        job = processes.api.download(type="multi", objects=links)
        wait_for(lambda: not processes.running("target"), what=f"target dead at {step}")
        wait_for(lambda: not origin.open_connections, what="end of its connections")
        open_at_the_kill = len(origin.requests)
        processes.up()
        status = processes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (len(objects), 0)
        check_objects(processes, "b", objects)
        assert origin.bytes_sent <= sum(len(data) for _, data in objects) + open_at_the_kill * 8 * MIB
