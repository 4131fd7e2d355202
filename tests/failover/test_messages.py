"""Messages between nodes that come late, out of order and more than once, and answers that are lost (F59, F60)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgpack
import pytest
from xxhash import xxh64_hexdigest

from common.shares import ShareStatus
from tests.crash.processes import pattern_origin
from tests.faults import Drip
from tests.messages import Postman
from tests.nodes import Nodes
from tests.origin import Origin
from tests.waiting import wait_for

OBJECTS = 6_000
BODY = b"body" * 50
SETTINGS = {"keep_alive_seconds": 1.0, "failover_grace_seconds": 300.0}
ROUNDS = 8
pytestmark = pytest.mark.timeout(400)


@dataclass
class Running:
    """A cluster whose nodes speak to each other through the postman; clients do not."""

    postman: Postman
    origin: Origin
    nodes: Nodes
    chance: random.Random

    def ask(self, method: str, path: str, body: Any = None, *, but: tuple[int, ...] = ()) -> httpx.Response:
        """Of any proxy, again while it says 503, or a stream is cut off because a target's part of it was lost.

        Nothing else may go wrong, but for statuses that are expected.
        """

        def answer() -> httpx.Response | None:
            try:
                response = self.nodes.api_of(self.chance.choice(self.nodes.proxy_ids)).call(method, path, body)
            except httpx.RemoteProtocolError:  # the body's end is missing, as docs/wire.md says
                return None
            if response.status_code == 503:
                assert int(response.headers["retry-after"]) > 0
                return None
            assert response.status_code in (200, *but), f"{method} {path}: {response.status_code} {response.text}"
            return response

        return wait_for(answer, seconds=60, what=f"{method} {path}")

    def download(self, bucket: str, count: int, **fields: Any) -> str:
        body = {"bucket": {"name": bucket}, **fields}
        if fields.get("type") == "multi":
            body["objects"] = {f"{number:04}": self.origin.url(f"/o/{number:04}") for number in range(count)}
        else:
            body |= {"type": "range", "template": self.origin.url(f"/o/{{0000..{count - 1:04}}}")}
        return str(self.ask("POST", "/v1/download", body).json()["id"])

    def status(self, job: str) -> dict[str, Any]:
        return dict(self.ask("GET", "/v1/download", {"id": job, "only_active_tasks": True}).json())

    def fetches(self, target: str, job: str) -> bool:
        """Whether a target, asked by the test itself, is at work on a job."""
        answer = self.nodes.intra(target, "/intra/v1/shares/status", {"ids": [job]})
        return any(ShareStatus.from_wire(share).current_tasks for share in msgpack.unpackb(answer.content)["shares"])

    def finished(self, job: str) -> dict[str, Any]:
        """The status that told the end: another proxy may not have heard of all targets yet when it is asked next."""

        def ended() -> dict[str, Any] | None:
            status = self.status(job)
            return None if status["finished_time"].startswith("1970") else status

        return wait_for(ended, seconds=120, what=f"end of {job}")

    def listed(self, bucket: str) -> list[tuple[str, str]]:
        """Names and checksums, page by page."""
        found: list[tuple[str, str]] = []
        message = {"props": "name,size,checksum", "pagesize": 1000, "continuation_token": "", "uuid": ""}
        while True:
            page = self.ask("GET", f"/v1/buckets/{bucket}", {"action": "list", "value": message}).json()
            found += [(entry["name"], entry["checksum"]) for entry in page["entries"] or []]
            message |= {"continuation_token": page["continuation_token"], "uuid": page["uuid"]}
            if not page["continuation_token"]:
                return found

    def check_complete(self, job: str, bucket: str, count: int) -> None:
        status = self.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (count, 0, count)
        assert self.listed(bucket) == [
            (name, xxh64_hexdigest(f"/o/{name}".encode() + BODY)) for name in (f"{n:04}" for n in range(count))
        ]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with (
        Postman(seed) as postman,
        pattern_origin(BODY) as origin,
        Nodes(tmp_path, proxy_settings=SETTINGS, intra_url=postman.in_front_of) as nodes,
    ):
        yield Running(postman, origin, nodes, random.Random(seed))
        print(dict(postman.happened))


@pytest.mark.parametrize("kind", ["range", "multi"])
def test_every_object_is_counted_once(kind: str, running: Running) -> None:
    job = running.download("b", OBJECTS, type=kind, limits={"connections": 8})
    running.check_complete(job, "b", OBJECTS)
    running.postman.finish()
    running.check_complete(job, "b", OBJECTS)
    assert set(running.origin.counts().values()) == {1}
    ledger = running.ask("GET", f"/v1/download/{job}/ledger").text.splitlines()
    assert len(ledger) == OBJECTS
    assert running.postman.happened["repeated"] > 0


def test_a_job_is_paused_or_runs_as_it_was_told_last(running: Running) -> None:
    running.origin.everywhere = Drip(piece_bytes=100, interval_seconds=0.01)
    job, targets = running.download("b", OBJECTS, limits={"connections": 1}), running.nodes.target_ids
    for round_number in range(ROUNDS):
        orders = ["pause", "resume", "pause", "resume", "pause"][: 4 + round_number % 2]
        for order in orders:
            running.ask("POST", f"/v1/download/{order}", {"id": job})
        running.postman.finish()
        if orders[-1] == "pause":
            wait_for(lambda: not any(running.fetches(one, job) for one in targets), what="the job rests")
            assert running.status(job)["paused"]
            running.ask("POST", "/v1/download/resume", {"id": job})
        else:
            for one in targets:
                wait_for(lambda one=one: running.fetches(one, job), what=f"{one} goes on")
    running.origin.everywhere = None
    running.check_complete(job, "b", OBJECTS)
    assert max(running.origin.counts().values()) <= 1 + 2 * ROUNDS


def test_what_was_aborted_and_removed_stays_so(running: Running) -> None:
    for round_number in range(ROUNDS):
        bucket = f"b{round_number}"
        job = running.download(bucket, OBJECTS, limits={"connections": 1})
        running.ask("DELETE", "/v1/download/abort", {"id": job})
        status = running.finished(job)
        assert status["aborted"]
        running.ask("DELETE", "/v1/download/remove", {"id": job})
        running.postman.finish()
        assert running.ask("GET", "/v1/download", {"id": job}, but=(404,)).status_code == 404
        wait_for(lambda job=job: not holders(running.nodes, job), what="no target has anything of the job")


def holders(nodes: Nodes, job: str) -> list[str]:
    """The targets that have something of a job."""
    asked = {"shares": [job], "copies": []}
    answers = {one: nodes.intra(one, "/intra/v1/shares/known", asked) for one in nodes.target_ids}
    return [one for one, answer in answers.items() if msgpack.unpackb(answer.content)["shares"]]


def test_buckets_are_there_or_not_as_was_asked_last(running: Running) -> None:
    """A bucket that was made again after it was destroyed keeps what was stored in it since."""
    for round_number in range(ROUNDS):
        running.ask("POST", "/v1/buckets/b", {"action": "create-bck"}, but=(409,))
        job = running.download("b", 50)
        running.check_complete(job, "b", 50)
        if round_number < ROUNDS - 1:
            running.ask("DELETE", "/v1/buckets/b", {"action": "destroy-bck"}, but=(404,))
            if round_number % 2:
                running.ask("POST", "/v1/buckets/b", {"action": "create-bck"}, but=(409,))
                assert running.listed("b") == []
                running.ask("DELETE", "/v1/buckets/b", {"action": "destroy-bck"}, but=(404,))
    running.postman.finish()
    running.check_complete(job, "b", 50)
