"""Hundreds of kill -9 while large and small objects arrive: `python -m tests.crash.resume_soak --runs 300`.

Every run posts a job, kills the target or one of its carriers when a random part of it has come, and lets the rest go
on by itself; some objects change meanwhile, and some answers are 429 or 503. Checked after each: every object is there
once and right, nothing is half there, and what was fetched twice is below 8 MiB for each stream open at the kill.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from xxhash import xxh64_hexdigest

from tests.crash.processes import Processes
from tests.crash.test_carriers import carriers_of
from tests.faults import Drip, Fault, Status
from tests.origin import Origin
from tests.waiting import wait_for

MIB = 1 << 20
IN_FLIGHT_BYTES = MIB
"""What an origin has sent and a killed process has not read, for each stream; it sends slower than is read."""
SMALL = 100


class Run:
    """One job, one kill."""

    def __init__(self, number: int, chance: random.Random, origin: Origin, processes: Processes) -> None:
        self._number = number
        self._chance = chance
        self._origin = origin
        self._processes = processes
        self._bucket = f"run{number}"
        self._objects: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}

    def go(self) -> str:
        """Returns what happened, in a line; raises AssertionError for what must not be."""
        chance, origin, api = self._chance, self._origin, self._processes.api
        links = [self._put(f"large{n}", chance.randrange(9 * MIB, 40 * MIB)) for n in range(chance.choice([1, 2, 3]))]
        links += [self._put(f"small{n}", chance.randrange(0, 100_000)) for n in range(SMALL)]
        begin, total = origin.bytes_sent, sum(len(data) for data in self._objects.values())
        job = api.download(type="multi", bucket={"name": self._bucket}, objects=links)
        share = chance.random()
        wait_for(lambda: origin.bytes_sent - begin >= total * share or self._has_ended(job))
        victim, streams = self._kill()
        changed = self._change() if chance.random() < 0.2 else 0
        self._processes.up()
        status = api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (len(links), 0), status
        self._check()
        again = origin.bytes_sent - begin - total - changed
        small = sum(len(data) for data in self._objects.values() if len(data) < MIB)
        allowed = streams * (8 * MIB + IN_FLIGHT_BYTES) + small
        assert again <= allowed, f"{again} bytes again, {streams} streams; asked for:\n{self._asked()}"
        for name in self._objects:
            origin.remove(f"/{self._bucket}/{name}")
        what = f"{victim} at {share:4.0%}, {streams:2} streams, {max(0, again) / MIB:5.1f} MiB again"
        return f"{what}{', changed' if changed else ''}"

    def _put(self, name: str, size_bytes: int) -> str:
        path = f"/{self._bucket}/{name}"
        data = self._objects[name] = random.Random(f"{path}{size_bytes}").randbytes(size_bytes)
        faults: list[Fault] = [Drip(64 * 1024, 0.004)] if size_bytes > MIB else []
        if self._chance.random() < 0.05:
            faults.insert(0, Status(self._chance.choice([429, 503])))
        if faults:
            self._origin.misbehave(path, *faults, lasting=isinstance(faults[-1], Drip))
        return self._origin.put(path, data)

    def _has_ended(self, job: str) -> bool:
        return not self._processes.api.status(job, only_active_tasks=True)["finished_time"].startswith("1970")

    def _kill(self) -> tuple[str, int]:
        """Who was killed, and how many streams were open at that moment."""
        target = self._processes.running("target")["t1"]
        if self._chance.random() < 0.5:
            streams = self._origin.busy
            os.kill(target, signal.SIGKILL)
            wait_for(lambda: not self._processes.running("target"), what="end of the target")
            return "target ", streams
        carrier = self._chance.choice(carriers_of(target, 2))
        streams = self._origin.busy
        os.kill(carrier, signal.SIGKILL)
        return "carrier", streams

    def _change(self) -> int:
        """Another version of the first large object; returns the bytes of the old one, which may have come in vain."""
        old = self._objects["large0"]
        self._put("large0", self._chance.randrange(9 * MIB, 40 * MIB))
        self._old["large0"] = old
        return len(self._objects["large0"])

    def _asked(self) -> str:
        large = [request for request in self._origin.requests if f"/{self._bucket}/large" in request.path]
        sizes = {name: len(data) for name, data in self._objects.items() if len(data) > MIB}
        return f"{sizes}\n" + "\n".join(f"{request.path} {request.headers.get('range')}" for request in large)

    def _check(self) -> None:
        entries = self._processes.api.list(self._bucket, props="name,size,checksum")
        found = {entry["name"]: (int(entry.get("size", 0)), entry["checksum"]) for entry in entries}
        right = {name: _figures(data) for name, data in self._objects.items()}
        for name, data in self._old.items():
            if found.get(name) == _figures(data):
                right[name] = found[name]
        assert found == right
        assert self._processes.work_files() == []


def _figures(data: bytes) -> tuple[int, str]:
    return len(data), xxh64_hexdigest(data)


def main() -> int:
    """Run and say what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    chance = random.Random(arguments.seed)
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory,
        Origin() as origin,
        Processes(Path(directory), targets=1, mountpaths=2) as processes,
    ):
        for number in range(arguments.runs):
            print(f"{number + 1:4}: {Run(number, chance, origin, processes).go()}", flush=True)
            processes.api.call("DELETE", f"/v1/buckets/run{number}", {"action": "destroy-bck"})
    print(f"{arguments.runs} runs: nothing lost, nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
