"""A hundred thousand objects over three targets, first in peace, then under random kills; `make soak`.

Prints what was done and measured; ends with an error at the first thing that is not right. HAUL_SEED repeats a run.
"""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.processes import Processes, check_objects, pattern_origin
from tests.waiting import wait_for

OBJECTS = 100_000
KILLS = 40
BODY = b"body" * 100


def run(processes: Processes, template: str, bucket: str, chance: random.Random | None) -> None:
    """One job, with kills where there is a `chance`, and the oracle at its end."""
    began = time.monotonic()
    job = processes.api.download(type="range", bucket={"name": bucket}, template=template)
    killed = 0
    marks = sorted(chance.sample(range(1, 95), KILLS)) if chance else []
    for mark in marks:
        assert chance is not None
        wait_for(
            lambda mark=mark: processes.api.status(job, only_active_tasks=True)["finished_cnt"] * 100 >= OBJECTS * mark,
            seconds=300,
        )
        for victim in chance.sample(sorted(processes.running()), chance.choice([1, 1, 2, 3])):
            processes.kill(victim)
            killed += 1
        processes.up()
    status = processes.api.finished(job, seconds=600)
    seconds = time.monotonic() - began
    assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (OBJECTS, 0, OBJECTS), status
    check_objects(processes, bucket, [(f"{n:06}", f"/o/{n:06}".encode() + BODY) for n in range(OBJECTS)])
    print(f"{OBJECTS:,} objects in {seconds:.1f} s, {killed} processes killed: every object listed once and right")


def main() -> None:
    """Both runs on one cluster."""
    seed = int(os.environ.get("HAUL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"HAUL_SEED={seed}")
    with (
        tempfile.TemporaryDirectory() as directory,
        pattern_origin(BODY) as origin,
        Processes(Path(directory), targets=3, mountpaths=4, proxies=2) as processes,
    ):
        template = origin.url(f"/o/{{000000..{OBJECTS - 1:06}}}")
        run(processes, template, "peace", None)
        origin.requests.clear()
        run(processes, template, "kills", random.Random(seed))
        counts = origin.counts().values()
        print(
            f"{sum(count > 1 for count in counts):,} objects were asked for more than once, at most {max(counts)} times"
        )


if __name__ == "__main__":
    sys.exit(main())
