"""A cluster on three etcds under seeded misfortunes: `python -m tests.failover.chaos --objects 100000 --minutes 20`.

Jobs follow each other, at a pace that fills the time, while processes are killed, stopped beyond their leases and told
to end, the store loses members or is paused, targets join, rest and come back. In the end everything that was accepted
is compared with what lies on the disks: lost, duplicated and corrupt objects must be 0. The seed repeats the choices.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from common.placement import choose, digest
from tests.crash.processes import pattern_origin
from tests.crash.test_carriers import carriers_of
from tests.etcd import Etcd
from tests.faults import Cut, HangUp, Status
from tests.nodes import Nodes, is_ready
from tests.origin import Origin
from tests.waiting import wait_for

BODY = b"body" * 100
BUCKET = "b"
MOUNTPATHS = 2
SPARE = "t5"
_LEASE_SECONDS = 2.5
_GRACE_SECONDS = 4.0
_PATIENCE_SECONDS = 180.0
_FAULTY_PART = 0.02
_SHORTEST_PACE_SECONDS = 2.0


@dataclass
class Tally:
    """What is left at the end."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, corrupt {len(self.corrupt)}"


class Chaos:
    """The cluster, its jobs and its misfortunes."""

    def __init__(self, chance: random.Random, etcd: Etcd, nodes: Nodes, origin: Origin) -> None:
        self._chance = chance
        self._etcd = etcd
        self._nodes = nodes
        self._origin = origin
        self._has_joined = False
        self._misfortunes: dict[str, Callable[[], str]] = {
            "a target is killed": self._kill_target,
            "a target is away until it is given up": self._lose_target,
            "a target is stopped beyond its lease": self._stop_target,
            "a proxy is killed": self._kill_proxy,
            "the leader is stopped beyond its lease": self._stop_leader,
            "a member of the store is killed": self._kill_member,
            "the store is paused": self._pause_store,
            "a node is told to end": self._end_node,
            "a carrier is killed": self._kill_carrier,
            "a target rests": self._rest,
            "a target joins": self._join,
            "everything is killed": self._kill_all,
        }
        self.happened: Counter[str] = Counter()

    def run(self, jobs: int, objects: int, seconds: float) -> Tally:
        """So many jobs of so many objects, in about that time; raises AssertionError for what must not be."""
        self._nodes.api.create_bucket(BUCKET)
        for number in range(jobs):
            self._run_job(number, objects, seconds / jobs)
        self._settle()
        names = [f"{job:03}/{number:05}" for job in range(jobs) for number in range(objects)]
        self._check_listing(names)
        return self._look_at_disks(names)

    def _run_job(self, number: int, objects: int, seconds: float) -> None:
        begun = time.monotonic()
        job = self._post(number, objects, seconds)
        done = []
        while not self._has_ended(job, objects) and time.monotonic() - begun < seconds:
            pause = max(_SHORTEST_PACE_SECONDS, self._chance.uniform(0.05, 0.25) * seconds)
            deadline = time.monotonic() + pause
            wait_for(
                lambda deadline=deadline: time.monotonic() >= deadline or self._has_ended(job, objects),
                seconds=pause + _PATIENCE_SECONDS,
            )
            if not self._has_ended(job, objects):
                done.append(self._misfortune())
        wait_for(lambda: self._has_ended(job, objects), seconds=seconds + _PATIENCE_SECONDS, what=f"the end of {job}")
        status = self._status(job)
        assert status is not None
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (objects, 0, objects), status
        took = time.monotonic() - begun
        print(
            f"job {number + 1}: {objects} objects in {took:.0f} s; {'; '.join(done) or 'nothing happened'}", flush=True
        )

    def _post(self, number: int, objects: int, seconds: float) -> str:
        """A job is posted until some proxy has accepted it: again and again, it is one job."""
        names = [f"{number:03}/{one:05}" for one in range(objects)]
        for name in self._chance.sample(names, int(objects * _FAULTY_PART)):
            fault = self._chance.choice([Cut(3), HangUp(reset=True), Status(503, {"Retry-After": "0"}), Status(500)])
            self._origin.misbehave(f"/o/{name}", fault)
        pace = int(objects * (len(BODY) + 20) * 3600 / seconds)
        body: dict[str, object] = {"bucket": {"name": BUCKET}, "limits": {"connections": 8, "bytes_per_hour": pace}}
        if number % 2:
            body |= {"type": "multi", "objects": {name: self._origin.url(f"/o/{name}") for name in names}}
        else:
            template = self._origin.url(f"/o/{number:03}/{{00000..{objects - 1:05}}}")
            body |= {"type": "range", "template": template, "subdir": f"{number:03}"}
        headers = {"Idempotency-Key": f"job-{number}"}

        def accepted() -> str:
            proxy = self._chance.choice(self._nodes.proxy_ids)
            with contextlib.suppress(httpx.TransportError):
                answer = self._nodes.api_of(proxy).http.post("/v1/download", json=body, headers=headers)
                assert answer.status_code in (200, 503), answer.text
                return str(answer.json().get("id", ""))
            return ""

        return wait_for(accepted, seconds=_PATIENCE_SECONDS, what="the job is accepted")

    def _status(self, job: str) -> dict[str, object] | None:
        """By the first proxy that answers in a random order; None when none does."""
        for proxy in self._chance.sample(self._nodes.proxy_ids, len(self._nodes.proxy_ids)):
            with contextlib.suppress(httpx.TransportError):
                answer = self._nodes.api_of(proxy).call("GET", "/v1/download", {"id": job, "only_active_tasks": True})
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    return dict(answer.json())
        return None

    def _has_ended(self, job: str, objects: int) -> bool:
        status = self._status(job)
        if status is None:
            return False
        assert status["total"] == objects, status
        assert int(str(status["finished_cnt"])) + int(str(status["error_cnt"])) <= objects, status
        return not str(status["finished_time"]).startswith("1970")

    def _misfortune(self) -> str:
        name = self._chance.choice(sorted(self._misfortunes))
        self.happened[name] += 1
        return self._misfortunes[name]()

    def _kill_target(self) -> str:
        target = self._any_target()
        self._nodes.kill(target)
        self._start(target)
        return f"{target} killed"

    def _lose_target(self) -> str:
        target = self._any_target()
        self._nodes.kill(target)
        wait_for(lambda: target not in self._members(), seconds=_PATIENCE_SECONDS, what=f"{target} is given up")
        self._start(target)
        return f"{target} lost and back"

    def _stop_target(self) -> str:
        target, seconds = self._any_target(), self._chance.uniform(0.5, 3) * (_LEASE_SECONDS + _GRACE_SECONDS)
        with self._stopped(target):
            _pass(seconds)
        return f"{target} stopped for {seconds:.1f} s"

    def _kill_proxy(self) -> str:
        proxy = self._chance.choice(self._nodes.proxy_ids)
        self._nodes.kill(proxy)
        self._start(proxy)
        return f"{proxy} killed"

    def _stop_leader(self) -> str:
        leader, seconds = self._leader(), self._chance.uniform(0.5, 3) * _LEASE_SECONDS
        with self._stopped(leader):
            _pass(seconds)
        return f"leader {leader} stopped for {seconds:.1f} s"

    def _kill_member(self) -> str:
        member = self._chance.randrange(3)
        self._etcd.kill(member)
        _pass(self._chance.uniform(0, 3))
        self._etcd.mend()
        return f"member {member} of the store killed"

    def _pause_store(self) -> str:
        seconds = self._chance.uniform(0.5, 3) * _LEASE_SECONDS
        members = self._chance.choice([(0, 1, 2), (0, 1), (1, 2)])
        self._etcd.pause(*members)
        _pass(seconds)
        self._etcd.resume(*members)
        self._etcd.mend()
        return f"{len(members)} members of the store paused for {seconds:.1f} s"

    def _end_node(self) -> str:
        node = self._chance.choice([*self._nodes.proxy_ids, *self._nodes.target_ids])
        code = self._nodes.stop(node)
        assert code == 0, f"{node} has ended with {code}: {self._nodes.log_of(node)[-500:]}"
        self._start(node)
        return f"{node} told to end"

    def _kill_carrier(self) -> str:
        target = self._any_target()
        carriers = carriers_of(self._nodes.pid(target), MOUNTPATHS)
        os.kill(self._chance.choice(carriers), signal.SIGKILL)
        return f"carrier of {target} killed"

    def _rest(self) -> str:
        target = self._any_target()
        self._change("start-maintenance", target)
        _pass(self._chance.uniform(0, 6))
        self._change("stop-maintenance", target)
        return f"{target} has rested"

    def _join(self) -> str:
        if self._has_joined:
            return self._kill_target()
        self._has_joined = True
        self._nodes.add_target(SPARE)
        self._start(SPARE)
        return f"{SPARE} joins"

    def _kill_all(self) -> str:
        nodes = [*self._nodes.proxy_ids, *self._nodes.target_ids]
        for node in nodes:
            self._nodes.kill(node)
        self._chance.shuffle(nodes)
        for node in nodes:
            self._nodes.start(node)
        for node in nodes:
            self._wait_until_ready(node)
        return "everything killed"

    def _any_target(self) -> str:
        return self._chance.choice(self._nodes.target_ids)

    @contextlib.contextmanager
    def _stopped(self, node: str) -> Iterator[None]:
        """A target's carriers go on, as they would when only its own process hangs."""
        self._nodes.signal(node, signal.SIGSTOP)
        try:
            yield
        finally:
            self._nodes.signal(node, signal.SIGCONT)

    def _start(self, node: str) -> None:
        self._nodes.start(node)
        self._wait_until_ready(node)

    def _wait_until_ready(self, node: str) -> None:
        def ready() -> bool:
            assert self._nodes.is_running(node), f"{node} has ended by itself"
            return is_ready(self._nodes.urls[node])

        wait_for(ready, seconds=_PATIENCE_SECONDS, what=f"{node} ready")

    def _members(self) -> set[str]:
        for proxy in self._nodes.proxy_ids:
            with contextlib.suppress(httpx.TransportError, AssertionError):
                return self._nodes.members(proxy)
        return set(self._nodes.target_ids)

    def _leader(self) -> str:
        return wait_for(self._nodes.leader, seconds=_PATIENCE_SECONDS, what="a leader")

    def _change(self, action: str, target: str) -> None:
        body = {"action": action, "value": {"sid": target}}

        def done() -> bool:
            proxy = self._chance.choice(self._nodes.proxy_ids)
            return self._nodes.api_of(proxy).call("PUT", "/v1/cluster", body).status_code == 200

        wait_for(done, seconds=_PATIENCE_SECONDS, what=f"{action} of {target}")

    def _settle(self) -> None:
        """Until everybody is a member, and every object lies where it belongs."""
        everybody = set(self._nodes.target_ids)
        wait_for(lambda: self._members() == everybody, seconds=_PATIENCE_SECONDS, what="all targets are members")
        wait_for(self._is_settled, seconds=_PATIENCE_SECONDS * 3, what="the placement is settled")

    def _is_settled(self) -> bool:
        answer = self._nodes.api.call("GET", "/v1/cluster?what=status", {"kind": "rebalance"})
        return answer.status_code == 404 or (answer.status_code == 200 and answer.json()["end_time"] != 0)

    def _check_listing(self, names: list[str]) -> None:
        for proxy in self._nodes.proxy_ids:
            listed = [entry["name"] for entry in self._nodes.api_of(proxy).list(BUCKET, props="name")]
            assert listed == names, f"{proxy} lists {len(listed)} objects, {len(set(names) - set(listed))} are missing"

    def _look_at_disks(self, names: list[str]) -> Tally:
        targets = sorted(self._nodes.target_ids)
        digests = [digest(target) for target in targets]
        found: dict[str, list[tuple[str, bytes]]] = {name: [] for name in names}
        for target in targets:
            for root in (self._nodes.directory / target).glob(f"mp*/@ais/{BUCKET}/%ob"):
                for path in root.rglob("*"):
                    if path.is_file():
                        found.setdefault(str(path.relative_to(root)), []).append((target, path.read_bytes()))
        tally = Tally()
        for name, copies in found.items():
            owner = targets[choose(digest(f"ais/@#/{BUCKET}/{name}"), digests)]
            if not copies:
                tally.lost.append(name)
            if len(copies) > 1 or any(target != owner for target, _ in copies):
                tally.duplicated.append(name)
            if any(body != f"/o/{name}".encode() + BODY for _, body in copies):
                tally.corrupt.append(name)
        return tally


def _pass(seconds: float) -> None:
    """Let time pass: how long a misfortune lasts is its whole point."""
    deadline = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= deadline, seconds=seconds + 60)


def run(seed: int, jobs: int, objects: int, minutes: float, directory: Path) -> tuple[Tally, Counter[str]]:
    """One run on a cluster of its own."""
    with (
        Etcd(directory / "etcd") as etcd,
        pattern_origin(BODY) as origin,
        Nodes(
            directory / "nodes",
            proxies=3,
            targets=4,
            mountpaths=MOUNTPATHS,
            meta_store=etcd.meta_store,
            proxy_settings={"keep_alive_seconds": 0.5, "failover_grace_seconds": _GRACE_SECONDS},
            target_settings={"rebalance_keep_seconds": 3.0},
        ) as nodes,
    ):
        chaos = Chaos(random.Random(seed), etcd, nodes, origin)
        return chaos.run(jobs, objects, minutes * 60), chaos.happened


def main() -> int:
    """Run and say what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    print(f"seed {arguments.seed}; {directory} is kept if it does not end well", flush=True)
    begun = time.monotonic()
    per_job = arguments.objects // arguments.jobs
    tally, happened = run(arguments.seed, arguments.jobs, per_job, arguments.minutes, directory)
    for name, count in sorted(happened.items()):
        print(f"{count:4} × {name}")
    minutes = (time.monotonic() - begun) / 60
    print(f"seed {arguments.seed}: {per_job * arguments.jobs} objects, {minutes:.0f} minutes: {tally}")
    if tally.lost or tally.duplicated or tally.corrupt:
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
