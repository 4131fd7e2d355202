"""Seeded chaos: `python -m tests.crash.chaos --runs 50 --seed 1`; a short run is part of the tests.

Every run posts a job of small and large objects to a cluster of two proxies and three targets, whose origins break off,
stall, answer 429 and 503 in storms, lie about ranges and change their objects, and kills processes of any kind
meanwhile. After each run (the numbers are those of the invariants): every object is whole, right and of one version
(I1), listed once (I3), nothing is lost that was finished (I2) or accepted (I5), the counts add up and never went back
(I4), no answer was a 5xx but 503 (I7), and no work files are left (I8).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import httpx
from xxhash import xxh64_hexdigest

from tests.cluster import Api
from tests.crash.processes import Processes
from tests.crash.test_carriers import carriers_of
from tests.faults import Chunked, Cut, Drip, Fault, HangUp, LyingRange, Status
from tests.origin import Origin
from tests.waiting import wait_for

MIB = 1 << 20
_PROGRESS_SECONDS = 5
LARGE, SMALL, GONE = 3, 150, 5
_STORM = [Status(429, {"Retry-After": "1"}), Status(503), Status(503, {"Retry-After": "0"}), Status(500)]


class Watch:
    """Looks at a job through any proxy, and at the honesty of the answers."""

    def __init__(self, apis: list[Api], job: str, total: int) -> None:
        self._apis = apis
        self._job = job
        self._total = total
        self._seen = [0] * len(apis)

    def look(self) -> dict[str, object] | None:
        """The status by the first proxy that answers, None when none does."""
        for number, api in enumerate(self._apis):
            with contextlib.suppress(httpx.TransportError):
                response = api.call("GET", "/v1/download", {"id": self._job})
                assert response.status_code in (200, 503), response.text
                if response.status_code == 200:
                    status = dict(response.json())
                    self._check(number, status)
                    return status
        return None

    def _check(self, number: int, status: dict[str, object]) -> None:
        finished, errors = int(str(status["finished_cnt"])), int(str(status["error_cnt"]))
        assert status["total"] == self._total, status
        assert finished + errors <= self._total, status
        assert finished >= self._seen[number], f"proxy {number} had counted {self._seen[number]}, now {finished}"
        self._seen[number] = finished

    def forget(self) -> None:
        """A proxy has died: one that starts anew knows of targets that are up only."""
        self._seen = [0] * len(self._seen)

    def ended(self) -> dict[str, object] | None:
        """The status if the job has ended."""
        status = self.look()
        return status if status and not str(status["finished_time"]).startswith("1970") else None


class Run:
    """One job and its misfortunes."""

    def __init__(self, number: int, chance: random.Random, origins: list[Origin], processes: Processes) -> None:
        self._chance = chance
        self._origins = origins
        self._processes = processes
        self._bucket = f"run{number}"
        self._versions: dict[str, list[bytes]] = {}
        self._links: dict[str, str] = {}
        proxies = sorted(processes.proxy_urls().items())
        self._apis = [Api(url) for _, url in proxies]

    def go(self) -> str:
        """Returns what happened, in a line; raises AssertionError for what must not be."""
        for n in range(LARGE):
            self._put(f"large{n}", self._chance.randrange(9 * MIB, 20 * MIB))
        for n in range(SMALL):
            self._put(f"small{n:03}", self._chance.randrange(0, 60_000))
        for n in range(GONE):
            self._links[f"gone{n}"] = self._chance.choice(self._origins).url(f"/{self._bucket}/gone{n}")
        job = self._post()
        watch = Watch(self._apis, job, len(self._links))
        done = []
        for _ in range(self._chance.choice([1, 1, 2, 3])):
            self._progress(watch, self._chance.random())
            done.append(self._misfortune())
            if done[-1].startswith("p"):
                watch.forget()
            self._processes.up()
        status = wait_for(watch.ended, seconds=150, what=f"the end of {job}")
        assert (status["finished_cnt"], status["error_cnt"]) == (len(self._versions), GONE), status
        self._check()
        for api in self._apis:
            api.close()
        return ", ".join(done)

    def _post(self) -> str:
        """What was accepted is kept, so it is posted until it is accepted, and never again."""
        body = {"type": "multi", "bucket": {"name": self._bucket}, "objects": self._links}
        response = self._chance.choice(self._apis).call("POST", "/v1/download", body)
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    def _put(self, name: str, size_bytes: int) -> None:
        path = f"/{self._bucket}/{name}"
        origin = self._origins[hash_of(name) % len(self._origins)]
        data = random.Random(f"{path}{len(self._versions.get(name, []))}").randbytes(size_bytes)
        self._versions.setdefault(name, []).append(data)
        self._links[name] = origin.put(path, data)
        origin.behave(path)
        faults = self._faults(size_bytes)
        if faults:
            origin.misbehave(path, *faults, lasting=isinstance(faults[-1], Drip))

    def _faults(self, size_bytes: int) -> list[Fault]:
        chance = self._chance
        if size_bytes > MIB:
            cuts = [Cut(chance.randrange(0, 8 * MIB), reset=chance.random() < 0.5) for _ in range(chance.randrange(3))]
            lies: list[Fault] = [LyingRange(1)] if chance.random() < 0.2 else []
            return [*cuts, *lies, Drip(128 * 1024, 0.004)]
        if chance.random() < 0.2:
            bad = [Cut(chance.randrange(0, 1000)), HangUp(reset=True), Chunked(cut=True), *_STORM]
            return [chance.choice(bad) for _ in range(chance.choice([1, 1, 2]))]
        return []

    def _progress(self, watch: Watch, share: float) -> None:
        """Until that part of the objects has ended, or some seconds have passed."""
        deadline = time.monotonic() + _PROGRESS_SECONDS

        def far_enough() -> bool:
            status = watch.look()
            return status is not None and int(str(status["finished_cnt"])) >= share * len(self._versions)

        wait_for(lambda: far_enough() or time.monotonic() >= deadline)

    def _misfortune(self) -> str:
        chance, running = self._chance, self._processes.running()
        kind = chance.choice(["target", "target", "carrier", "carrier", "proxy", "version"])
        if kind == "version":
            name = f"large{chance.randrange(LARGE)}"
            self._put(name, chance.randrange(9 * MIB, 20 * MIB))
            return "another version"
        victims = [node for node in running if node.startswith("p" if kind == "proxy" else "t")]
        node = chance.choice(sorted(victims))
        if kind == "carrier":
            os.kill(chance.choice(carriers_of(running[node], 2)), signal.SIGKILL)
            return f"carrier of {node} killed"
        os.kill(running[node], signal.SIGKILL)
        wait_for(lambda: node not in self._processes.running(), what=f"the end of {node}")
        return f"{node} killed"

    def _check(self) -> None:
        wait_for(lambda: self._listed() == set(self._versions), what="every object in the listing")
        entries = self._apis[0].list(self._bucket, props="name,size,checksum")
        assert len(entries) == len(self._versions), "one entry for each object"
        for entry in entries:
            found = (int(entry.get("size", 0)), entry["checksum"])
            assert found in [(len(data), xxh64_hexdigest(data)) for data in self._versions[entry["name"]]], entry
        for name in self._chance.sample(sorted(self._versions), 10):
            assert self._apis[-1].get(self._bucket, name).content in self._versions[name]
        assert self._processes.work_files() == []

    def _listed(self) -> set[str]:
        response = self._apis[0].call("GET", f"/v1/buckets/{self._bucket}", {"action": "list", "value": {}})
        assert response.status_code in (200, 503), response.text
        return {entry["name"] for entry in response.json().get("entries") or []} if response.is_success else set()


def hash_of(name: str) -> int:
    """The same number in every process."""
    return int(xxh64_hexdigest(name.encode()), 16)


def run(runs: int, seed: int, directory: Path) -> None:
    """So many runs on one cluster; prints a line for each."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        origins = [stack.enter_context(Origin()) for _ in range(3)]
        processes = stack.enter_context(Processes(directory, targets=3, mountpaths=2, proxies=2))
        for number in range(runs):
            print(f"{number + 1:4}: {Run(number, chance, origins, processes).go()}", flush=True)
            processes.api.call("DELETE", f"/v1/buckets/run{number}", {"action": "destroy-bck"})
            for origin in origins:
                origin.forget()


def main() -> int:
    """Run and say what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        run(arguments.runs, arguments.seed, Path(directory))
    print(f"{arguments.runs} runs: every invariant holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
