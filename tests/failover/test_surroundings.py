"""Nodes whose surroundings fail them: no descriptors, the log's disk is full, clocks jump, disks take their time."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from common.logs import Lines
from tests.crash.processes import pattern_origin
from tests.crash.test_carriers import children, nursery_of
from tests.nodes import ROOT, Nodes, is_ready
from tests.origin import Origin
from tests.waiting import wait_for

OBJECTS = 1_000
BODY = b"body" * 100
TEMPLATE = f"/o/{{0000..{OBJECTS - 1:04}}}"


@contextmanager
def running(directory: Path, **settings: object) -> Iterator[tuple[Origin, Nodes]]:
    with pattern_origin(BODY) as origin, Nodes(directory, targets=2, proxy_settings=settings or None) as nodes:
        yield origin, nodes


def check_job(nodes: Nodes, job: str, proxy: str = "p1") -> None:
    status = nodes.api_of(proxy).finished(job, seconds=100)
    assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (OBJECTS, 0, OBJECTS)
    assert len(nodes.api_of(proxy).list("b")) == OBJECTS


def count(nodes: Nodes, job: str) -> int:
    return int(nodes.api.status(job, only_active_tasks=True)["finished_cnt"])


def restart(nodes: Nodes, node_id: str, **how: object) -> None:
    assert nodes.stop(node_id) == 0
    nodes.start(node_id, **how)  # type: ignore[arg-type]
    wait_for(lambda: is_ready(nodes.urls[node_id]), seconds=90, what=f"{node_id} ready")


@pytest.mark.parametrize("node_id", ["p1", "t1"])
def test_a_node_out_of_descriptors_works_again_when_it_has_some(node_id: str, tmp_path: Path) -> None:
    """F16: what runs goes on; connections that nobody could accept are served when there is room."""
    with running(tmp_path, failover_grace_seconds=60) as (origin, nodes):
        job = nodes.api.download(type="range", template=origin.url(TEMPLATE), limits={"connections": 2})
        wait_for(lambda: count(nodes, job) > 50, what="some objects")
        pid = nodes.pid(node_id)
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, limits[1]))
        address = httpx.URL(nodes.urls[node_id])
        clients = [httpx.Client(base_url=address, timeout=2) for _ in range(24)]
        refused = 0
        for client in clients:
            try:
                client.get("/v1/health")
            except httpx.TransportError:
                refused += 1
        assert refused > 0, "there are fewer descriptors than clients"
        for client in clients:
            client.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        wait_for(lambda: is_ready(nodes.urls[node_id]), what=f"{node_id} answers again")
        check_job(nodes, job)


@pytest.mark.parametrize("node_id", ["p1", "t1"])
def test_a_log_that_nobody_can_take_stops_nothing(node_id: str, tmp_path: Path) -> None:
    """F18: the log is on a full disk."""
    with running(tmp_path, failover_grace_seconds=60) as (origin, nodes):
        restart(nodes, node_id, log_to=Path("/dev/full"))
        nodes.wait_until_ready()
        job = nodes.api.download(type="range", template=origin.url(TEMPLATE))
        check_job(nodes, job)
        assert nodes.stop(node_id) == 0


def test_lines_that_were_dropped_are_counted() -> None:
    """The reader of the log lives and does not read: nobody waits for it, though the pipe would let them."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        lines = Lines(writing)
        lines.msg("first lost")
        lines.msg("second lost")
        read_all(reading)
        lines.msg('{"event": "taken"}')
        told = [json.loads(line) for line in read_all(reading).splitlines()]
    finally:
        os.close(reading)
        os.close(writing)
    assert told == [{"event": "log.dropped", "lines": 2, "level": "warning"}, {"event": "taken"}]


def read_all(descriptor: int) -> bytes:
    """What is in a pipe now."""
    os.set_blocking(descriptor, False)
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := os.read(descriptor, 65536):
            parts.append(part)
    return b"".join(parts)


def test_clocks_that_are_wrong_and_jump_change_nothing(tmp_path: Path) -> None:
    """F63: a proxy lives an hour ahead, a target's clock jumps by hours each second; no lease and no order minds."""
    with running(tmp_path, failover_grace_seconds=60) as (origin, nodes):
        for node_id, how in (("p2", "ahead"), ("t2", "jumping")):
            path = f"PYTHONPATH={Path(__file__).parent / 'wrongclock'}:{ROOT}"
            restart(nodes, node_id, under=["env", path, f"WRONG_CLOCK={how}"])
        nodes.wait_until_ready()
        for proxy in ("p1", "p2"):
            bucket = {"name": f"by-{proxy}"}
            job = nodes.api_of(proxy).download(type="range", template=origin.url(TEMPLATE), bucket=bucket)
            for asked in ("p1", "p2"):
                status = nodes.api_of(asked).finished(job)
                assert (status["finished_cnt"], status["error_cnt"]) == (OBJECTS, 0)
            assert len(nodes.api_of("p1").list(f"by-{proxy}")) == OBJECTS
        assert nodes.members("p1") == nodes.members("p2") == {"t1", "t2"}
        assert created_ns(nodes, "by-p2") - created_ns(nodes, "by-p1") > 3300 * 10**9, (
            "the clock of p2 was wrong indeed"
        )
        assert "given_up" not in nodes.log_of("p1") + nodes.log_of("p2")


def created_ns(nodes: Nodes, bucket: str) -> int:
    """When a bucket was made, by the clock of the proxy that made it."""
    answer = nodes.api.http.head(f"/v1/buckets/{bucket}")
    return int(json.loads(answer.headers["ais-bucket-props"])["created"])


def test_a_disk_that_takes_seconds_for_a_sync_costs_no_lease(tmp_path: Path) -> None:
    """F17: every sync of a target takes 6 s, longer than its lease, and it says that it lives all the while."""
    disk = {"durability": "power-loss"}
    lease = {"keep_alive_seconds": 1, "failover_grace_seconds": 4}
    with (
        pattern_origin(BODY) as origin,
        Nodes(tmp_path, targets=2, target_settings=disk, proxy_settings=lease) as nodes,
    ):
        job = nodes.api.download(type="range", template=origin.url(TEMPLATE), limits={"connections": 2})
        wait_for(lambda: count(nodes, job) > 50, what="some objects")
        log = tmp_path / "strace.log"
        pids = [nodes.pid("t1"), *children(nursery_of(nodes.pid("t1")))]
        attached = [part for pid in pids for part in ("-p", str(pid))]
        calls = "fsync,fdatasync,syncfs"
        command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}"]
        tracing = subprocess.Popen([*command, "-e", f"inject={calls}:delay_enter=6000000", *attached])
        try:
            wait_for(
                lambda: log.exists() and log.read_text().count("DELAYED") >= 4, seconds=100, what="syncs are held up"
            )
        finally:
            tracing.terminate()
            tracing.wait()
        check_job(nodes, job)
        assert nodes.members() == {"t1", "t2"}
        assert "node_offline" not in nodes.log_of("p1") + nodes.log_of("p2")


def test_a_proxy_that_dies_between_a_new_map_and_telling_it_leaves_one_map(tmp_path: Path) -> None:
    """F4: what is in the store is told by the others; nobody has a map of its own."""
    with running(tmp_path) as (_, nodes):
        assert nodes.stop("p1") == 0
        nodes.start("p1", "map.before_push=kill@1")
        # It changes the map as it joins: its incarnation is new.
        assert nodes.wait_for_end("p1") == -9
        version = int(nodes.smap("p2")["version"])
        nodes.start("p1")
        wait_for(lambda: is_ready(nodes.urls["p1"]), seconds=90, what="p1 ready")

        def versions() -> set[int]:
            found = {int(nodes.smap(proxy)["version"]) for proxy in nodes.proxy_ids}
            for target in nodes.target_ids:
                answer = httpx.get(f"{nodes.urls[target]}/v1/daemon", params={"what": "smap"}, timeout=5)
                found.add(int(answer.json()["version"]))
            return found

        wait_for(lambda: len(versions()) == 1, what="one version everywhere")
        assert versions().pop() >= version


def test_a_node_whose_data_directory_is_damaged_says_so(tmp_path: Path) -> None:
    with running(tmp_path) as (_, nodes):
        assert nodes.stop("t2") == 0
        (nodes.directory / "t2" / "node.json").write_text("{", encoding="utf-8")
        nodes.start("t2")
        assert nodes.wait_for_end("t2") == 1
        assert "node.json cannot be read" in nodes.log_of("t2")
