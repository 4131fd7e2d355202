"""Targets that are lost in the middle of jobs: what they held is done by the others, once, and told."""

from __future__ import annotations

import signal
from pathlib import Path

import msgpack
import pytest
from xxhash import xxh64_hexdigest

from common.names import Bucket
from common.placement import choose, digest
from tests.crash.processes import pattern_origin
from tests.nodes import Nodes
from tests.origin import Origin
from tests.waiting import wait_for

OBJECTS = 4_000
BODY = b"body" * 100


def expected_body(name: str) -> bytes:
    return f"/o/{name}".encode() + BODY


def start_job(nodes: Nodes, origin: Origin, kind: str, proxy: str = "p1", **fields: object) -> str:
    if kind == "range":
        return nodes.api_of(proxy).download(
            type="range", template=origin.url(f"/o/{{0000..{OBJECTS - 1:04}}}"), **fields
        )
    objects = {f"{number:04}": origin.url(f"/o/{number:04}") for number in range(OBJECTS)}
    return nodes.api_of(proxy).download(type="multi", objects=objects, **fields)


def check_complete(nodes: Nodes, job: str, proxy: str = "p1") -> None:
    """Every object is there once, right, and counted once."""
    api = nodes.api_of(proxy)
    status = api.finished(job, seconds=90)
    assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (OBJECTS, 0, OBJECTS)
    entries = api.list("b", props="name,size,checksum")
    names = [f"{number:04}" for number in range(OBJECTS)]
    assert [(entry["name"], entry["checksum"]) for entry in entries] == [
        (name, xxh64_hexdigest(expected_body(name))) for name in names
    ]


def progress(nodes: Nodes, job: str, proxy: str = "p1") -> int:
    return int(nodes.api_of(proxy).status(job, only_active_tasks=True)["finished_cnt"])


@pytest.mark.parametrize("kind", ["range", "multi"])
def test_a_target_killed_for_good_is_replaced(kind: str, tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path) as nodes:
        job = start_job(nodes, origin, kind, limits={"connections": 4})
        wait_for(lambda: progress(nodes, job) > OBJECTS // 8, what="an eighth of the job")
        nodes.kill("t2")
        wait_for(lambda: nodes.members() == {"t1", "t3"}, what="t2 given up")
        check_complete(nodes, job)
        story = nodes.api.call("GET", f"/v1/download/{job}/story").json()["decisions"]
        assert any("t2 is lost" in line["reason"] for line in story)
        ledger = nodes.api.call("GET", f"/v1/download/{job}/ledger").text.splitlines()
        assert len(ledger) == OBJECTS


def test_a_job_of_one_object_outlives_its_target(tmp_path: Path) -> None:
    with Origin() as origin, Nodes(tmp_path) as nodes:
        link = origin.put("/x", b"x" * 1000)
        gate = origin.gate("/x")
        job = nodes.api.download(type="single", link=link, object_name="x", headers={"Authorization": ["S3CRET"]})
        wait_for(lambda: origin.count("/x") == 1, what="the request")
        holder = next(
            node for node in nodes.target_ids if b"S3CRET" in journal_of(nodes, node) and holds(nodes, node, job)
        )
        nodes.kill(holder)
        gate.release()
        status = nodes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (1, 0, 1)
        assert nodes.api.get("b", "x").content == b"x" * 1000
        assert {request.headers.get("authorization") for request in origin.requests if request.path == "/x"} == {
            "S3CRET"
        }
        left = [node for node in nodes.target_ids if node != holder]
        wait_for(lambda: not any(b"S3CRET" in journal_of(nodes, node) for node in left), what="no secret is left")


def journal_of(nodes: Nodes, node_id: str) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((nodes.directory / node_id).glob("journal.db*")))


def holds(nodes: Nodes, node_id: str, job: str) -> bool:
    answer = msgpack.unpackb(nodes.intra(node_id, "/intra/v1/shares/known", {"shares": [job], "copies": []}).content)
    return bool(answer["shares"] == [job])


def keeps(nodes: Nodes, node_id: str, job: str, holder: str) -> bool:
    """Whether a target keeps the copy of what another was given first of the job."""
    answer = nodes.intra(node_id, "/intra/v1/shares/known", {"shares": [], "copies": [[job, holder]]})
    return bool(msgpack.unpackb(answer.content)["copies"])


@pytest.mark.parametrize("kind", ["range", "multi"])
def test_two_targets_are_lost_one_after_the_other(kind: str, tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, targets=4) as nodes:
        job = start_job(nodes, origin, kind, limits={"connections": 2})
        for victim, left in (("t2", {"t1", "t3", "t4"}), ("t4", {"t1", "t3"})):
            if kind == "multi":
                keepers = [target for target in left if target != victim]
                wait_for(
                    lambda victim=victim, keepers=keepers: any(keeps(nodes, one, job, victim) for one in keepers),
                    what=f"a copy of the list of {victim}",
                )
            before = progress(nodes, job)
            wait_for(lambda before=before: progress(nodes, job) > before, what="progress")
            nodes.kill(victim)
            wait_for(lambda left=left: nodes.members() == left, what=f"{victim} given up")
            wait_for(
                lambda victim=victim: f"{victim} is lost" in nodes.api.call("GET", f"/v1/download/{job}/story").text,
                what="assigned again",
            )
        check_complete(nodes, job)


def test_a_target_that_comes_back_in_time_goes_on(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, proxy_settings={"failover_grace_seconds": 60}) as nodes:
        job = start_job(nodes, origin, "multi", limits={"connections": 4})
        wait_for(lambda: progress(nodes, job) > OBJECTS // 8)
        nodes.kill("t2")
        wait_for(lambda: nodes.api.status(job, only_active_tasks=True).get("stale_targets") == ["t2"])
        nodes.start("t2")
        check_complete(nodes, job)
        assert "lost" not in nodes.api.call("GET", f"/v1/download/{job}/story").text
        assert max(origin.counts().values()) <= 2


@pytest.mark.parametrize("kind", ["range", "multi"])
def test_a_target_that_comes_back_late_gives_up_what_is_others_by_then(kind: str, tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path) as nodes:
        job = start_job(nodes, origin, kind, limits={"connections": 1})
        wait_for(lambda: progress(nodes, job) > OBJECTS // 20)
        nodes.signal("t2", signal.SIGSTOP)
        wait_for(lambda: nodes.members() == {"t1", "t3"}, what="t2 given up")
        wait_for(lambda: "t2 is lost" in nodes.api.call("GET", f"/v1/download/{job}/story").text, what="assigned again")
        nodes.signal("t2", signal.SIGCONT)
        wait_for(lambda: nodes.members() == {"t1", "t2", "t3"}, what="t2 is a member again")
        wait_for(lambda: "shares_given_up" in nodes.log_of("t2"), what="t2 has given up its share")
        check_complete(nodes, job)


def test_a_share_that_had_ended_is_forgotten_by_who_comes_back_when_others_have_done_it_again(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(30)]
    with Origin() as origin, Nodes(tmp_path) as nodes:
        digests = [digest(target) for target in nodes.target_ids]
        chosen = {name: nodes.target_ids[choose(digest(f"{Bucket('b').uname}{name}"), digests)] for name in names}
        links = {name: origin.put(f"/{name}", b"x" * 100) for name in names}
        done = nodes.api.download(type="multi", bucket={"name": "other"}, objects=links)
        nodes.api.finished(done)
        gates = [origin.gate(f"/{name}") for name in names if chosen[name] != "t2"]
        job = nodes.api.download(type="multi", objects=links)
        wait_for(lambda: progress(nodes, job) == len(names) - len(gates), what="t2 has done its part")
        assert nodes.stop("t2") == 0
        wait_for(lambda: "t2 is lost" in nodes.api.call("GET", f"/v1/download/{job}/story").text, what="assigned again")
        for gate in gates:
            gate.release()
        status = nodes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (len(names), 0)
        nodes.start("t2")
        wait_for(lambda: nodes.members() == {"t1", "t2", "t3"}, what="t2 is a member again")
        wait_for(lambda: "ended_shares_forgotten" in nodes.log_of("t2"), what="t2 has forgotten its share")
        assert not holds(nodes, "t2", job)
        assert holds(nodes, "t2", done), "the results of a job that has ended are still wanted"


def test_a_target_without_its_journal_is_given_its_part_again(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, proxy_settings={"failover_grace_seconds": 60}) as nodes:
        job = start_job(nodes, origin, "multi", limits={"connections": 2})
        wait_for(lambda: progress(nodes, job) > OBJECTS // 8)
        nodes.kill("t2")
        for file in (nodes.directory / "t2").glob("journal.db*"):
            file.unlink()
        nodes.start("t2")
        check_complete(nodes, job)
        assert "t2 is lost" in nodes.api.call("GET", f"/v1/download/{job}/story").text


def test_a_paused_job_stays_paused_and_is_complete_after_a_loss(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path) as nodes:
        job = start_job(nodes, origin, "multi", limits={"connections": 2})
        wait_for(lambda: progress(nodes, job) > OBJECTS // 8)
        assert nodes.api.call("POST", "/v1/download/pause", {"id": job}).status_code == 200
        nodes.kill("t3")
        wait_for(lambda: "t3 is lost" in nodes.api.call("GET", f"/v1/download/{job}/story").text, what="assigned again")
        status = nodes.api.status(job, only_active_tasks=True)
        assert status["paused"]
        assert not status.get("current_tasks")
        assert nodes.api.call("POST", "/v1/download/resume", {"id": job}).status_code == 200
        check_complete(nodes, job)


def test_more_than_half_of_the_targets_are_not_given_up_at_once(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path) as nodes:
        job = start_job(nodes, origin, "range", limits={"connections": 2})
        for victim in ("t1", "t2"):
            nodes.signal(victim, signal.SIGSTOP)
        leader_log = lambda: nodes.log_of("p1") + nodes.log_of("p2")  # noqa: E731
        wait_for(lambda: "too_many_silent" in leader_log(), what="the leader says so")
        assert nodes.members() == {"t1", "t2", "t3"}
        for victim in ("t1", "t2"):
            nodes.signal(victim, signal.SIGCONT)
        check_complete(nodes, job)
