"""Any proxy answers, and they answer the same; one that is killed is missed by nobody who asks another."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crash.processes import pattern_origin
from tests.etcd import Etcd
from tests.nodes import Nodes, is_ready
from tests.waiting import wait_for

PROXIES = ["p1", "p2", "p3"]
BODY = b"body" * 100


def asked_of_each(nodes: Nodes, method: str, path: str, body: Any = None) -> list[tuple[int, Any]]:
    answers = [nodes.api_of(proxy).call(method, path, body) for proxy in PROXIES]
    return [(answer.status_code, _plain(answer)) for answer in answers]


def _plain(answer: httpx.Response) -> Any:
    try:
        plain = answer.json()
    except json.JSONDecodeError:
        return answer.content
    if not isinstance(plain, dict):
        return plain
    # An error names the proxy that has found it, and who has asked.
    return {name: value for name, value in plain.items() if name not in ("node", "remote_addr", "uuid")}


def check_same(nodes: Nodes, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """The answer that all of them give; what one learns from a change is there for the others at once or soon."""

    def same() -> bool:
        first, *others = asked_of_each(nodes, method, path, body)
        return all(other == first for other in others)

    wait_for(same, what=f"the same answer of each to {method} {path} {body}")
    return asked_of_each(nodes, method, path, body)[0]


def test_three_proxies_give_the_same_answers(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, proxies=3) as nodes:
        for proxy in PROXIES:
            nodes.api_of(proxy).create_bucket(f"of-{proxy}")
        names = [bucket["name"] for bucket in check_same(nodes, "GET", "/v1/buckets", {"action": "list"})[1]]
        assert names == [f"of-{proxy}" for proxy in PROXIES]
        jobs = []
        for number, proxy in enumerate(PROXIES):
            template = origin.url(f"/o/{number}{{000..199}}")
            jobs.append(nodes.api_of(proxy).download(type="range", template=template, bucket={"name": "of-p1"}))
        for proxy, job in zip((*PROXIES[1:], PROXIES[0]), jobs, strict=True):
            assert nodes.api_of(proxy).finished(job)["finished_cnt"] == 200
        for job in jobs:
            status, answer = check_same(nodes, "GET", "/v1/download", {"id": job})
            assert (status, answer["finished_cnt"], answer["error_cnt"]) == (200, 200, 0)
        assert {job["id"] for job in check_same(nodes, "GET", "/v1/download")[1]} == set(jobs)
        listing = {"action": "list", "value": {"props": "name,size,checksum", "pagesize": 1000}}
        entries = check_same(nodes, "GET", "/v1/buckets/of-p1", listing)[1]["entries"]
        assert len(entries) == 600
        for proxy in PROXIES:
            nodes.api_of(proxy).put("of-p2", f"by-{proxy}", proxy.encode())
        for reader in PROXIES:
            for writer in PROXIES:
                assert nodes.api_of(reader).get("of-p2", f"by-{writer}").content == writer.encode()
        assert nodes.api_of("p3").http.delete("/v1/objects/of-p2/by-p1").status_code == 200
        assert {status for status, _ in asked_of_each(nodes, "GET", "/v1/objects/of-p2/by-p1")} == {404}
        smap = check_same(nodes, "GET", "/v1/daemon?what=smap")[1]
        assert sorted(smap["pmap"]) == PROXIES
        for path, body in (
            ("/v1/download", {"id": "dnl-nonesuch"}),
            ("/v1/buckets/nonesuch", {"action": "list", "value": {}}),
        ):
            assert check_same(nodes, "GET", path, body)[0] == 404


def test_a_job_is_aborted_and_removed_by_other_proxies_than_its_own(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, proxies=3) as nodes:
        template = origin.url("/o/{00000..99999}")
        job = nodes.api_of("p1").download(type="range", template=template, limits={"connections": 1})
        answer = nodes.api_of("p2").call("DELETE", "/v1/download/remove", {"id": job})
        assert answer.status_code == 400, "it is still running"
        assert nodes.api_of("p2").call("DELETE", "/v1/download/abort", {"id": job}).status_code == 200
        for proxy in PROXIES:
            assert nodes.api_of(proxy).finished(job)["aborted"], proxy
        assert nodes.api_of("p3").call("DELETE", "/v1/download/remove", {"id": job}).status_code == 200
        for proxy in PROXIES:
            gone = lambda proxy=proxy: nodes.api_of(proxy).call("GET", "/v1/download", {"id": job}).status_code == 404  # noqa: E731
            wait_for(gone, what=f"{proxy} knows that it is removed")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_proxy_dies_and_another_answers(end: signal.Signals, tmp_path: Path) -> None:
    """The leader first: the one that took the job, too, and whoever has come to lead after it.

    On an etcd: a process that is stopped in the middle of a write to the embedded store holds its file for ever.
    """
    with (
        pattern_origin(BODY) as origin,
        Etcd(tmp_path / "etcd", members=1) as etcd,
        Nodes(tmp_path / "nodes", proxies=3, meta_store=etcd.meta_store) as nodes,
    ):
        leader = wait_for(nodes.leader, what="a leader")
        template = origin.url("/o/{0000..3999}")
        job = nodes.api_of(leader).download(type="range", template=template, limits={"connections": 2})
        left, seen = list(PROXIES), 0
        for _ in range(2):
            leader = wait_for(lambda: nodes.leader(left[0]), what="a leader")
            nodes.signal(leader, end)
            left.remove(leader)
            for proxy in left:
                finished = nodes.api_of(proxy).status(job, only_active_tasks=True)["finished_cnt"]
                assert finished >= seen
                seen = finished
            wait_for(lambda: nodes.leader(left[0]) in left, what="another leads")
        status = nodes.api_of(left[0]).finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (4000, 0)
        more = nodes.api_of(left[0]).download(type="range", template=origin.url("/o/{5000..5009}"))
        assert nodes.api_of(left[0]).finished(more)["finished_cnt"] == 10


def test_figures_do_not_go_back_while_proxies_are_killed_and_asked_in_turn(tmp_path: Path) -> None:
    """A client that polls ten times a second by round robin, and goes on to the next proxy when one fails (F5)."""
    with pattern_origin(BODY) as origin, Nodes(tmp_path, proxies=3) as nodes:
        template = origin.url("/o/{00000..11999}")
        job = nodes.api.download(type="range", template=template, limits={"connections": 1})
        polled, failures, stopping = [0], [], threading.Event()

        def poll() -> None:
            turn = 0
            with httpx.Client(timeout=30) as http:
                while not stopping.wait(0.1):
                    for _ in range(len(PROXIES)):
                        turn += 1
                        url = nodes.urls[PROXIES[turn % 3]] + "/v1/download"
                        try:
                            answer = http.request("GET", url, content=json.dumps({"id": job}))
                        except httpx.TransportError:
                            continue
                        if answer.status_code != 200 or answer.json()["finished_cnt"] < polled[-1]:
                            failures.append((url, polled[-1], answer.text))
                        polled.append(answer.json().get("finished_cnt", 0))
                        break
                    else:
                        failures.append("nobody has answered")

        thread = threading.Thread(target=poll)
        thread.start()
        try:
            for proxy in ("p2", "p1", "p3"):
                before = polled[-1]
                wait_for(lambda before=before: polled[-1] > before or polled[-1] == 12_000, what="progress")
                nodes.kill(proxy)
                before = polled[-1]
                wait_for(lambda before=before: polled[-1] > before or polled[-1] == 12_000, what="progress without it")
                nodes.start(proxy)
                wait_for(lambda proxy=proxy: is_ready(nodes.urls[proxy]), seconds=90, what=f"{proxy} ready")
            status = nodes.api.finished(job)
        finally:
            stopping.set()
            thread.join()
        assert not failures, failures[:3]
        assert (status["finished_cnt"], status["error_cnt"]) == (12_000, 0)
        assert len(polled) > 10


def test_a_client_that_sends_its_job_again_to_another_proxy_gets_one_job(tmp_path: Path) -> None:
    """It has not heard the answer of a proxy that died while it took the job (F3)."""
    with pattern_origin(BODY) as origin, Nodes(tmp_path, proxies=3) as nodes:
        body = {"type": "range", "bucket": {"name": "b"}, "template": origin.url("/o/{000..099}")}
        ids: set[str] = set()
        for proxy in PROXIES:
            headers = {"Idempotency-Key": "one-and-the-same"}
            answer = nodes.api_of(proxy).http.post("/v1/download", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            ids.add(answer.json()["id"])
            other = nodes.api_of(proxy).http.post("/v1/download", json={**body, "description": "x"}, headers=headers)
            assert (other.status_code, ids.copy().pop() in other.json()["message"]) == (400, True)
        assert len(ids) == 1
        assert nodes.api.finished(ids.pop())["finished_cnt"] == 100
        assert set(origin.counts().values()) == {1}
        for key in ("", "with space", "x" * 256, "é"):
            answer = nodes.api.http.post("/v1/download", json=body, headers={"Idempotency-Key": key.encode()})
            assert (answer.status_code, "Idempotency-Key" in answer.text) == (400, True), key
