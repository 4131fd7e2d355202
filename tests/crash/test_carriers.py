"""Carriers that die, hang, or lose their target: a target goes on without them, and they never without a target."""

import os
import random
import signal
from pathlib import Path

from tests.crash.processes import Processes, check_objects, pattern_origin
from tests.waiting import wait_for

BODY = b"body" * 100


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, in the order of their start."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def nursery_of(target_pid: int) -> int:
    (nursery,) = children(target_pid)
    return nursery


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def carriers_of(target_pid: int, number: int) -> list[int]:
    """All carriers of a target, once there are as many as it has mountpaths."""
    wait_for(lambda: len(children(nursery_of(target_pid))) == number, what="all carriers")
    return children(nursery_of(target_pid))


def test_a_target_replaces_carriers_that_are_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("HAUL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"HAUL_SEED={seed}")
    chance, objects, kills = random.Random(seed), 20_000, 10
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=1, mountpaths=2) as processes:
        target = processes.running("target")["t1"]
        job = processes.api.download(type="range", template=origin.url(f"/o/{{00000..{objects - 1:05}}}"))
        for share in sorted(chance.sample(range(2, 90), kills)):
            wait_for(
                lambda share=share: (
                    processes.api.status(job, only_active_tasks=True)["finished_cnt"] * 100 >= objects * share
                )
            )
            os.kill(chance.choice(carriers_of(target, 2)), signal.SIGKILL)
        status = processes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (objects, 0, objects)
        check_objects(processes, "b", [(f"{n:05}", f"/o/{n:05}".encode() + BODY) for n in range(objects)])
        assert processes.running("target")["t1"] == target
        assert sum(origin.counts().values()) <= objects + kills * (64 + 512)


def test_a_killed_target_takes_its_processes_with_it(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=1, mountpaths=2) as processes:
        target = processes.running("target")["t1"]
        left = [nursery_of(target), *carriers_of(target, 2)]
        processes.kill("t1")
        wait_for(lambda: not any(is_running(pid) for pid in left), what="end of nursery and carriers")
        processes.up()
        job = processes.api.download(type="range", template=origin.url("/o/{000..099}"))
        assert processes.api.finished(job)["finished_cnt"] == 100


def test_a_carrier_that_hangs_holds_up_only_its_mountpath(tmp_path: Path) -> None:
    objects = 60
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=1, mountpaths=2) as processes:
        carrier = carriers_of(processes.running("target")["t1"], 2)[0]
        os.kill(carrier, signal.SIGSTOP)
        job = processes.api.download(type="range", template=origin.url(f"/o/{{00..{objects - 1}}}"))

        def held() -> set[str]:
            status = processes.api.status(job)
            names = {task["name"] for task in status.get("current_tasks") or []}
            return names if len(names) + status["finished_cnt"] == objects and status["finished_cnt"] else set()

        waiting = wait_for(held, what="all objects of the other mountpath")
        assert {entry["name"] for entry in processes.api.list("b")} == {f"{n:02}" for n in range(objects)} - waiting
        os.kill(carrier, signal.SIGCONT)
        status = processes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (objects, 0)


def test_the_nursery_is_replaced_when_it_is_needed(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=1, mountpaths=1) as processes:
        target = processes.running("target")["t1"]
        (carrier,) = carriers_of(target, 1)
        nursery = nursery_of(target)
        os.kill(nursery, signal.SIGKILL)
        job = processes.api.download(type="range", template=origin.url("/o/{000..099}"))
        assert processes.api.finished(job)["finished_cnt"] == 100
        os.kill(carrier, signal.SIGKILL)
        job = processes.api.download(type="range", template=origin.url("/o/{100..199}"))
        status = processes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (100, 0)
        assert nursery_of(target) != nursery
        assert processes.running("target")["t1"] == target


def test_a_job_can_be_aborted_while_its_carrier_is_dead(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=1, mountpaths=1) as processes:
        gate = origin.gate("/o/5")
        job = processes.api.download(type="range", template=origin.url("/o/{0..9}"))
        wait_for(lambda: processes.api.status(job)["finished_cnt"] == 9)
        os.kill(carriers_of(processes.running("target")["t1"], 1)[0], signal.SIGKILL)
        assert processes.api.call("DELETE", "/v1/download/abort", {"id": job}).status_code == 200
        wait_for(lambda: processes.api.status(job)["aborted"])
        gate.release()
        check_objects(processes, "b", [(str(n), f"/o/{n}".encode() + BODY) for n in range(10) if n != 5])


def test_an_abort_does_not_wait_for_carriers_that_hang(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Processes(tmp_path, targets=1, mountpaths=2) as processes:
        target = processes.running("target")["t1"]
        job = processes.api.download(type="range", template=origin.url("/o/{00000..99999}"))
        wait_for(lambda: processes.api.status(job, only_active_tasks=True)["finished_cnt"] > 100, what="a beginning")
        stopped = carriers_of(target, 2)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        processes.api.call("DELETE", "/v1/download/abort", {"id": job})
        assert processes.api.finished(job)["aborted"] is True
        wait_for(lambda: not all(is_running(pid) for pid in stopped), what="the end of what hung")
        for pid in filter(is_running, stopped):  # one that had nothing to do was not waited for
            os.kill(pid, signal.SIGCONT)
        again = processes.api.download(type="range", template=origin.url("/o/{0..99}"), subdir="again")
        assert processes.api.finished(again)["finished_cnt"] == 100, "others have taken their places"
