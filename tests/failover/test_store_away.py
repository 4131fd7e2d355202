"""A cluster on three etcds that are paused, lose their quorum, come back, or are not what they were."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from xxhash import xxh64_hexdigest

from tests.crash.processes import pattern_origin
from tests.etcd import Etcd
from tests.nodes import Nodes
from tests.origin import Origin
from tests.waiting import wait_for

OBJECTS = 300
HELD = 20
BODY = b"body" * 100
LEASE_SECONDS = 2.0
"""What three missed keep-alives of `Nodes` come to, in etcd's whole seconds."""


@dataclass(frozen=True)
class Running:
    """Two proxies and two targets on three members of etcd."""

    etcd: Etcd
    origin: Origin
    nodes: Nodes

    def job(self, name: str) -> dict[str, object]:
        """A job of one object."""
        return {"type": "single", "bucket": {"name": "new"}, "link": self.origin.url(f"/o/{name}"), "object_name": name}

    def accepted(self, proxy: str, body: dict[str, object]) -> str:
        """The id of a new job; empty while there can be none."""
        response = self.nodes.api_of(proxy).call("POST", "/v1/download", body)
        assert response.status_code in {200, 503}, response.text
        return str(response.json().get("id", ""))

    def finished_count(self, job: str, proxy: str = "p1") -> int:
        return int(self.nodes.api_of(proxy).status(job, only_active_tasks=True)["finished_cnt"])

    def check_new_jobs(self) -> None:
        """Every proxy takes a job again, and it is done."""
        for proxy in self.nodes.proxy_ids:
            body = self.job(f"{proxy}-{time.monotonic_ns()}")
            new = wait_for(lambda proxy=proxy, body=body: self.accepted(proxy, body), what="new jobs are accepted")
            assert self.nodes.api_of(proxy).finished(new)["finished_cnt"] == 1


@contextmanager
def started(directory: Path, grace_seconds: float = 3.0) -> Iterator[Running]:
    with Etcd(directory / "etcd") as etcd, pattern_origin(BODY) as origin:
        settings = {"failover_grace_seconds": grace_seconds}
        nodes = Nodes(directory / "nodes", targets=2, meta_store=etcd.meta_store, proxy_settings=settings)
        with nodes:
            yield Running(etcd, origin, nodes)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def running(shared: Running) -> Iterator[Running]:
    """All of it is well at the beginning of a test."""
    yield shared
    shared.etcd.mend()
    shared.check_new_jobs()


def check_complete(nodes: Nodes, job: str, bucket: str) -> None:
    status = nodes.api.finished(job)
    assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (OBJECTS, 0, OBJECTS)
    entries = nodes.api.list(bucket, props="name,size,checksum")
    assert [(entry["name"], entry["checksum"]) for entry in entries] == [
        (name, xxh64_hexdigest(f"/o/{name}".encode() + BODY)) for name in (f"{n:04}" for n in range(OBJECTS))
    ]


TakeAway = Callable[[Etcd], Callable[[], None]]
"""Takes the store away; what it returns brings it back."""


def pause_all(etcd: Etcd) -> Callable[[], None]:
    etcd.pause()
    return etcd.resume


def lose_quorum(etcd: Etcd) -> Callable[[], None]:
    etcd.kill(1)
    etcd.kill(2)

    def bring_back() -> None:
        etcd.start(1)
        etcd.start(2)

    return bring_back


@pytest.mark.parametrize("take_away", [pause_all, lose_quorum])
def test_what_runs_goes_on_and_what_is_new_waits(take_away: TakeAway, running: Running) -> None:
    nodes, origin, bucket = running.nodes, running.origin, take_away.__name__
    gates = [origin.gate(f"/o/{number:04}") for number in range(HELD)]
    template = origin.url(f"/o/{{0000..{OBJECTS - 1:04}}}")
    job = nodes.api.download(type="range", template=template, bucket={"name": bucket})
    for proxy in nodes.proxy_ids:
        wait_for(
            lambda proxy=proxy: running.finished_count(job, proxy) == OBJECTS - HELD, what=f"{proxy} knows the job"
        )
    version = nodes.smap()["version"]

    bring_back = take_away(running.etcd)
    away_since = time.monotonic()
    for gate in gates[: HELD // 2]:
        gate.release()
    for proxy in nodes.proxy_ids:
        response = nodes.api_of(proxy).call("POST", "/v1/download", running.job("too-early"))
        assert response.status_code == 503, response.text
        assert int(response.headers["retry-after"]) > 0
        assert "meta store" in response.json()["message"]
        assert nodes.api_of(proxy).call("GET", "/v1/download").status_code == 200
        wait_for(
            lambda proxy=proxy: running.finished_count(job, proxy) == OBJECTS - HELD // 2,
            what="the job goes on, and its status is told",
        )
    wait_for(lambda: time.monotonic() - away_since > 3 * LEASE_SECONDS, what="all leases have ended")
    for gate in gates[HELD // 2 :]:
        gate.release()
    wait_for(lambda: running.finished_count(job) == OBJECTS, what="the job's end")
    assert nodes.api.get(bucket, "0001").content == b"/o/0001" + BODY

    bring_back()
    running.check_new_jobs()
    check_complete(nodes, job, bucket)
    # Nobody was taken for dead because nobody could be heard.
    assert nodes.members() == {"t1", "t2"}
    assert nodes.smap()["version"] == version


def test_targets_begin_what_is_left_with_a_dead_proxy_too(tmp_path: Path) -> None:
    grace_seconds = 8.0
    with started(tmp_path, grace_seconds) as running:
        nodes, gate = running.nodes, running.origin.gate("/o/0000")
        template = running.origin.url(f"/o/{{0000..{OBJECTS - 1:04}}}")
        job = nodes.api.download(type="range", template=template, limits={"connections": 1})
        wait_for(lambda: running.finished_count(job) > 0, what="the job runs")
        nodes.kill("p2")
        running.etcd.pause()
        away_since = time.monotonic()
        wait_for(
            lambda: time.monotonic() - away_since > LEASE_SECONDS + 2 * grace_seconds,
            what="a target that nobody has answered holds still",
        )
        begun = running.finished_count(job)
        gate.release()
        wait_for(lambda: running.finished_count(job) == OBJECTS, what="the job's end")
        assert begun < OBJECTS
        running.etcd.resume()
        nodes.start("p2")
        nodes.wait_until_ready()
        check_complete(nodes, job, "b")
        assert nodes.members() == {"t1", "t2"}


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_one_etcd_less_holds_nothing_up(how: str, running: Running) -> None:
    getattr(running.etcd, how)(running.etcd.leader())
    running.check_new_jobs()
    leading = running.nodes.leader()
    (other,) = set(running.nodes.proxy_ids) - {leading}
    running.nodes.kill(leading)
    wait_for(lambda: running.nodes.leader(other) == other, what="another proxy leads")
    running.nodes.start(leading)
    running.nodes.wait_until_ready()


def test_a_proxy_that_starts_while_the_store_is_away_waits_a_little(running: Running) -> None:
    nodes = running.nodes
    nodes.kill("p2")
    running.etcd.pause()
    nodes.start("p2")
    wait_for(lambda: "proxy.start_delayed" in nodes.log_of("p2"), what="p2 has tried")
    running.etcd.resume()
    nodes.wait_until_ready()


def test_an_etcd_that_was_made_anew_stops_the_proxies(tmp_path: Path) -> None:
    with started(tmp_path) as running:
        etcd, nodes = running.etcd, running.nodes
        nodes.api.finished(running.accepted("p1", running.job("kept")))
        for member in range(3):
            etcd.kill(member)
        for member in range(3):
            shutil.rmtree(etcd.directory / f"m{member}")
            etcd.start(member)
        for proxy in nodes.proxy_ids:
            assert nodes.wait_for_end(proxy) == 1
            assert "Stop all nodes of Haul" in nodes.log_of(proxy).splitlines()[-1]
        # What was stored is stored.
        assert len(list(nodes.directory.glob("t*/mp*/@ais/**/kept"))) == 1
