"""Jobs that are no downloads, on the stand-in: waited for, shown, stopped, and left alone by Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from tests.cli.conftest import Haul
from tests.cli.standin import Cluster


def status(**fields: Any) -> dict[str, Any]:
    return {"kind": "copy-bck", "uuid": "cpy-1", "err": "", "end_time": 0, "aborted": False} | fields


def test_waiting_for_one(haul: Haul, cluster: Cluster) -> None:
    cluster.cluster_jobs["cpy-1"] = [status(), status(), status(end_time=1_790_000_000_000_000_000)]
    done = haul("wait", "copy-bucket", "cpy-1")
    assert (done.code, done.out) == (0, "cpy-1: finished, 2 objects, 2.00 KiB\n")
    cluster.cluster_jobs["cpy-1"] = [status(), status(end_time=1)]
    assert json.loads(haul("wait", "cpy-1", "--json").out)["end_time"] == 1


def test_one_that_fails_makes_the_command_fail(haul: Haul, cluster: Cluster) -> None:
    cluster.cluster_jobs["cpy-1"] = [status(), status(), status(end_time=1, err="no space")]
    failed = haul("wait", "cpy-1", "--progress")
    assert (failed.code, failed.out) == (1, "cpy-1: failed, 2 objects, 2.00 KiB\n")
    assert failed.err == "cpy-1: 2 objects, 2.00 KiB so far\n  no space\n"
    cluster.cluster_jobs["cpy-1"] = [status(end_time=1, aborted=True)]
    assert haul("wait", "cpy-1").out == "cpy-1: stopped, 2 objects, 2.00 KiB\n"


def test_a_wait_has_a_limit(haul: Haul, cluster: Cluster) -> None:
    cluster.cluster_jobs["cpy-1"] = [status()]
    outcome = haul("wait", "cpy-1", "--timeout", "50ms")
    assert (outcome.code, "still running after 50 ms; it goes on" in outcome.err) == (1, True)


def test_showing_and_stopping(haul: Haul, cluster: Cluster) -> None:
    cluster.cluster_jobs["cpy-1"] = [status()]
    assert (
        haul("show", "job", "cpy-1").out
        == "cpy-1\n  kind:    copy-bck\n  state:   running\n  done:    2 objects, 2.00 KiB\n"
    )
    assert haul("show", "job").out == "Also running: copy-bck cpy-1\n"
    assert haul("show", "job", "download").out == ""
    assert haul("stop", "cpy-1").out == "Stopped job cpy-1\n"
    assert cluster.stopped == ["cpy-1"]
    assert haul("stop", "cpy-none").err == "Error: download job cpy-none does not exist\n"


def test_interrupting_a_wait_leaves_the_job_running_and_says_how_to_stop_it(cluster: Cluster) -> None:
    cluster.cluster_jobs["cpy-1"] = [status()]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "wait", "cpy-1", "--progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    assert process.stderr.readline() == "cpy-1: 2 objects, 2.00 KiB so far\n"
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "The job cpy-1 goes on in the cluster." in rest
    assert "haul stop cpy-1" in rest
    assert cluster.stopped == []
