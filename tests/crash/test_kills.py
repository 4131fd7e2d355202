"""kill -9 at every durable step and at random: what was reported is there, the rest goes on by itself."""

import os
import random
from pathlib import Path

import pytest

from tests.crash.processes import Processes, check_objects, pattern_origin
from tests.waiting import wait_for

STEPS = [
    "writer.after_create",
    "writer.after_write",
    "writer.after_metadata",
    "commit.before_data_sync",
    "commit.after_data_sync",
    "commit.before_rename",
    "commit.after_rename",
    "commit.before_directory_sync",
    "commit.after_directory_sync",
    "journal.before_commit",
    "journal.after_commit",
    "bucket.before_create",
    "bucket.after_create",
]
OBJECTS = 300
BODY = b"body" * 100


@pytest.mark.parametrize("step", STEPS)
def test_targets_killed_at_a_step_of_a_commit(step: str, tmp_path: Path) -> None:
    hit = 5 if step.startswith("writer") or step.endswith("rename") else 8 if step.startswith("journal") else 2
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=2, mountpaths=2) as processes:
        for target in processes.running("target"):
            processes.kill(target)
        processes.up(f"{step}=kill@{hit}")
        job = processes.api.download(type="range", template=origin.url(f"/o/{{000..{OBJECTS - 1:03}}}"))
        wait_for(lambda: not processes.running("target"), what=f"both targets dead at {step}")
        reported = processes.api.status(job, only_active_tasks=True)["finished_cnt"]
        processes.up()
        status = processes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (OBJECTS, 0, OBJECTS)
        assert status["finished_cnt"] >= reported
        expected = [(f"{n:03}", f"/o/{n:03}".encode() + BODY) for n in range(OBJECTS)]
        check_objects(processes, "b", expected)
        assert max(origin.counts().values()) <= 2


@pytest.mark.parametrize("step", ["journal.before_commit", "journal.after_commit"])
@pytest.mark.parametrize("hit", [1, 2])
def test_a_target_that_dies_while_its_share_is_assigned_leaves_no_job(step: str, hit: int, tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=2, mountpaths=1) as processes:
        processes.kill("t2")
        processes.up(f"{step}=kill@{hit}")
        body = {"type": "range", "bucket": {"name": "b"}, "template": origin.url("/o/{0..9}")}
        response = processes.api.call("POST", "/v1/download", body)
        assert (response.status_code, response.headers.get("retry-after")) == (503, "2"), response.text
        assert "t2" in response.json()["message"]
        processes.up()
        assert processes.api.call("GET", "/v1/download").json() == []
        job = processes.api.download(type="range", template=origin.url("/o/{0..9}"))
        assert processes.api.finished(job)["finished_cnt"] == 10
        assert sum(origin.counts().values()) == 10


def test_random_kills_of_any_process_under_load(tmp_path: Path) -> None:
    seed = int(os.environ.get("HAUL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"HAUL_SEED={seed}")
    chance = random.Random(seed)
    objects = 20_000
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=3, mountpaths=2, proxies=2) as processes:
        job = processes.api.download(type="range", template=origin.url(f"/o/{{00000..{objects - 1:05}}}"))
        for share in sorted(chance.sample(range(5, 90), 6)):
            wait_for(
                lambda share=share: (
                    processes.api.status(job, only_active_tasks=True)["finished_cnt"] * 100 >= objects * share
                )
            )
            for victim in chance.sample(sorted(processes.running()), chance.choice([1, 1, 2])):
                processes.kill(victim)
            processes.up()
        status = processes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (objects, 0, objects)
        check_objects(processes, "b", [(f"{n:05}", f"/o/{n:05}".encode() + BODY) for n in range(objects)])
        assert max(origin.counts().values()) <= 1 + 6


def test_everything_killed_at_once(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=3, mountpaths=2) as processes:
        job = processes.api.download(type="range", template=origin.url("/o/{0000..4999}"))
        wait_for(lambda: processes.api.status(job, only_active_tasks=True)["finished_cnt"] > 300)
        for node_id in processes.running():
            processes.kill(node_id)
        processes.up()
        assert processes.api.finished(job)["finished_cnt"] == 5000
        check_objects(processes, "b", [(f"{n:04}", f"/o/{n:04}".encode() + BODY) for n in range(5000)])
