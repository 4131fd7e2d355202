"""Renames of buckets that are being written to: what was acknowledged is under the new name, in its last state."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.actions.records import ActionRecord
from proxy.actions.tending import Tending
from tests.actions.acting import act, contents, ended, fill, started, total
from tests.cluster import Api, Cluster
from tests.origin import Origin
from tests.waiting import wait_for

OBJECTS = 300
_WRITERS = 6


class Writer(threading.Thread):
    """Changes its own objects of a bucket all the time, and keeps what was acknowledged of each.

    With `direct` it asks the target that it was redirected to before, as one does who has kept the address. An answer
    that leaves open what is there ends the test; one that refuses leaves everything as it was.
    """

    def __init__(self, cluster: Cluster, bucket: str, number: int, *, direct: bool) -> None:
        super().__init__()
        self._cluster = cluster
        self._bucket = bucket
        self._number = number
        self._direct = direct
        self._places: dict[str, str] = {}
        self.acknowledged: dict[str, tuple[bytes, str] | None] = {}
        self.refused = 0
        self.stopping = threading.Event()
        self.trouble: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._cluster.urls["p1"], timeout=30) as client:
            turn = 0
            while not self.stopping.is_set() and not self.trouble:
                self._turn(client, turn)
                turn += 1

    def _turn(self, client: httpx.Client, turn: int) -> None:
        name = f"w{self._number}/{turn % 12}"
        known = self.acknowledged.get(name)
        match turn % 7:
            case 3 if known is not None:
                value = {"value": {"turn": str(turn)}}
                if self._ask(client, "PATCH", name, json=value):
                    self.acknowledged[name] = known[0], str(turn)
            case 5 if known is not None:
                if self._ask(client, "DELETE", name):
                    self.acknowledged[name] = None
            case 6 if known is not None:  # the same bytes, with other metadata
                self._put(client, name, known[0], str(turn))
            case _:
                self._put(client, name, f"{turn} of {self._number}".encode(), str(turn))

    def _put(self, client: httpx.Client, name: str, data: bytes, custom: str) -> None:
        if self._ask(client, "PUT", name, content=data, headers={"Ais-Custom-Md": f"turn={custom}"}):
            self.acknowledged[name] = data, custom

    def _ask(self, client: httpx.Client, method: str, name: str, **more: Any) -> bool:
        path = f"/v1/objects/{self._bucket}/{name}"
        place = self._places.get(name) if self._direct else None
        if place is None:
            redirect = client.request(method, path, **more)
            if redirect.status_code != 307:
                return self._is_done(redirect)
            place = self._places[name] = redirect.headers["Location"]
        return self._is_done(client.request(method, place, **more))

    def _is_done(self, answer: httpx.Response) -> bool:
        if answer.status_code == 200:
            return True
        self.refused += 1
        is_later = answer.status_code == 503 and "being renamed" in answer.text and "Retry-After" in answer.headers
        if not is_later and answer.status_code != 404:  # 404: the bucket has its new name
            self.trouble.append(f"{answer.status_code} {answer.text}")
        return False


def state(api: Api, bucket: str, name: str) -> tuple[bytes, str] | None:
    found = api.get(bucket, name)
    if found.status_code == 404:
        return None
    custom = found.headers.get("Ais-Custom-Md", "").partition("=")[2]
    return found.content, custom


def moved(api: Api, source: str, destination: str) -> str:
    return started(act(api, source, "move-bck", to=destination))


def redirected(api: Api, method: str, path: str) -> str:
    """Where a request is sent to."""
    answer = api.http.request(method, path, follow_redirects=False)
    assert answer.status_code == 307, answer.text
    return str(answer.headers["Location"])


def closed(cluster: Cluster, place: str) -> httpx.Response:
    """The answer that refuses a PUT at a target."""

    def refused() -> httpx.Response | None:
        answer = httpx.put(place, content=b"late")
        return answer if answer.status_code != 200 else None

    return wait_for(refused, what="the bucket is closed")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Renames stay closed, with everything copied, until this is set."""
    go_on, removing = threading.Event(), Tending._move_on

    async def move_on(self: Tending, record: ActionRecord, figures: Any) -> ActionRecord:
        return record if record.order.is_closing and not go_on.is_set() else await removing(self, record, figures)

    monkeypatch.setattr(Tending, "_move_on", move_on)
    return go_on


def test_nothing_that_was_acknowledged_is_lost(cluster: Cluster, source: str, destination: str) -> None:
    made = fill(cluster, source, OBJECTS, 2_000)
    writers = [Writer(cluster, source, number, direct=number % 2 == 0) for number in range(_WRITERS)]
    for writer in writers:
        writer.start()
    try:
        wait_for(lambda: all(len(writer.acknowledged) > 8 for writer in writers), what="everybody writes")
        job = moved(cluster.api, source, destination)
        shown = ended(cluster.api, job)
    finally:
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join()
    assert (shown["err"], [writer.trouble for writer in writers]) == ("", [[]] * _WRITERS)
    assert all(writer.refused for writer in writers)
    assert cluster.api.call("HEAD", f"/v1/buckets/{source}").status_code == 404
    expected = {name: found for writer in writers for name, found in writer.acknowledged.items()}
    assert {name: state(cluster.api, destination, name) for name in expected} == expected
    present = {name for name, found in expected.items() if found is not None}
    assert {entry["name"] for entry in cluster.api.list(destination)} == made.keys() | present


def test_a_closed_bucket_is_read_and_not_changed_whoever_is_asked(
    cluster: Cluster, source: str, destination: str, held: threading.Event
) -> None:
    made = fill(cluster, source, 20)
    name = next(iter(made))
    path = f"/v1/objects/{source}/{name}"
    places = {method: redirected(cluster.api, method, path) for method in ("PUT", "PATCH", "DELETE", "POST")}
    other = redirected(cluster.api, "PUT", f"/v1/objects/{source}/late")
    job = moved(cluster.api, source, destination)
    properties = {"action": "set-bprops", "value": {"mirror": {"copies": 2}}}
    refusals = [
        closed(cluster, other),
        httpx.put(places["PUT"], content=b"late"),
        httpx.patch(places["PATCH"], json={"value": {"a": "b"}}),
        httpx.delete(places["DELETE"]),
        httpx.post(places["POST"], json={"action": "rename-obj", "name": "new"}),
        httpx.post(places["POST"], json={"action": "mpt-upload"}),
        httpx.put(places["PUT"] + "&append_type=append", content=b"late"),
        cluster.api.http.put(path, content=b"late"),
        cluster.api.http.put(path.replace("/v1/objects", "/s3"), content=b"late"),
        cluster.api.call("PATCH", f"/v1/buckets/{source}", properties),
    ]
    for refusal in refusals:
        assert (refusal.status_code, refusal.headers.get("Retry-After")) == (503, "2"), refusal.text
        assert f"ais://{source} is being renamed to ais://{destination} (job {job})" in refusal.text
    assert cluster.api.get(source, name).content == made[name]
    assert {one["name"] for one in cluster.api.list(source)} >= made.keys()
    held.set()
    assert ended(cluster.api, job)["err"] == ""
    found = contents(cluster.api, destination)
    assert {one: found[one] for one in made} == made
    assert cluster.api.http.delete(f"/v1/objects/{destination}/{name}").status_code == 200


def test_what_a_rename_brings_is_not_deleted_before_its_end(
    cluster: Cluster, source: str, destination: str, held: threading.Event
) -> None:
    """It would be brought again by the next walk."""
    made = fill(cluster, source, 5)
    name = next(iter(made))
    job = moved(cluster.api, source, destination)
    wait_for(lambda: contents(cluster.api, destination) == made, what="copies of everything")
    path = f"/v1/objects/{destination}/{name}"
    for answer in (cluster.api.http.delete(path), cluster.api.call("PATCH", path, {"value": {"a": "b"}})):
        assert answer.status_code == 503, answer.text
        assert f"ais://{destination} is what ais://{source} is being renamed to" in answer.json()["message"]
    assert cluster.api.http.put(path, content=b"newer").status_code == 200
    held.set()
    assert ended(cluster.api, job)["err"] == ""
    assert contents(cluster.api, destination) == made | {name: b"newer"}


def test_an_upload_that_began_before_is_refused_at_its_end(
    cluster: Cluster, source: str, destination: str, held: threading.Event
) -> None:
    made = fill(cluster, source, 5)
    place = redirected(cluster.api, "PUT", f"/v1/objects/{source}/slow")
    jobs: list[str] = []

    def body() -> Iterator[bytes]:
        yield b"x" * 100_000
        jobs.append(moved(cluster.api, source, destination))
        closed(cluster, place)
        yield b"the end"

    answer = httpx.put(place, content=body(), timeout=60)
    assert (answer.status_code, "being renamed" in answer.text) == (503, True), answer.text
    held.set()
    assert ended(cluster.api, jobs[0])["err"] == ""
    found = contents(cluster.api, destination)
    assert found.pop("slow", b"late") == b"late"
    assert found == made


def test_an_aborted_rename_opens_the_bucket_again(
    cluster: Cluster, source: str, destination: str, held: threading.Event
) -> None:
    made = fill(cluster, source, 10)
    place = redirected(cluster.api, "PUT", f"/v1/objects/{source}/late")
    job = moved(cluster.api, source, destination)
    closed(cluster, place)
    assert cluster.api.call("PUT", "/v1/cluster", {"action": "stop", "value": {"id": job}}).status_code == 200
    wait_for(lambda: httpx.put(place, content=b"later").status_code == 200, what="the bucket is open")
    name = next(iter(made))
    for bucket in (source, destination):
        assert cluster.api.http.delete(f"/v1/objects/{bucket}/{name}").status_code == 200
    assert cluster.api.get(source, "late").content == b"later"


def test_the_leader_opens_what_the_proxy_that_ended_a_rename_has_left_closed(
    cluster: Cluster, source: str, destination: str, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        return

    fill(cluster, source, 3)
    place = redirected(cluster.api, "PUT", f"/v1/objects/{source}/late")
    job = moved(cluster.api, source, destination)
    closed(cluster, place)
    with monkeypatch.context() as patched:
        patched.setattr(Tending, "_unmark", dies)
        cluster.api.call("PUT", "/v1/cluster", {"action": "stop", "value": {"id": job}})
        assert ended(cluster.api, job)["aborted"]
        assert httpx.put(place, content=b"late").status_code == 503
    wait_for(lambda: httpx.put(place, content=b"later").status_code == 200, what="the bucket is open")


def test_the_proxy_that_began_a_rename_dies_while_somebody_writes(tmp_path: Path) -> None:
    with Cluster(tmp_path, proxies=2, report_seconds=0.3) as cluster:
        made = fill(cluster, "a", OBJECTS)
        writer = Writer(cluster, "a", 1, direct=True)
        writer.start()
        other = Api(cluster.urls["p2"])
        try:
            wait_for(lambda: len(writer.acknowledged) > 8, what="it writes")
            job = moved(other, "a", "b")
            cluster.stop("p2")
            assert ended(cluster.api, job)["err"] == ""
        finally:
            writer.stopping.set()
            writer.join()
            other.close()
        assert writer.trouble == []
        assert total(cluster.api, job, "loc-objs") >= OBJECTS
        expected = writer.acknowledged
        assert {name: state(cluster.api, "b", name) for name in expected} == expected
        found = contents(cluster.api, "b")
        assert {name: found[name] for name in made} == made


def test_a_proxy_that_has_read_a_rename_before_another_one_removed_its_source_does_not_end_it(
    cluster: Cluster, source: str, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, end = Tending._advance, Tending._end
    read_before: list[tuple[ActionRecord, Any]] = []

    async def remember(self: Tending, record: ActionRecord, figures: Any) -> ActionRecord:
        if record.order.is_closing and not record.is_removing:
            read_before.append((record, figures))
        return await advance(self, record, figures)

    async def end_after_another(self: Tending, record: ActionRecord, *rest: Any, **more: Any) -> ActionRecord:
        if record.is_removing and read_before:
            another = read_before.pop()
            read_before.clear()
            assert (await advance(self, *another)).is_running
        return await end(self, record, *rest, **more)

    made = fill(cluster, source, 5)
    monkeypatch.setattr(Tending, "_advance", remember)
    monkeypatch.setattr(Tending, "_end", end_after_another)
    assert ended(cluster.api, moved(cluster.api, source, destination))["err"] == ""
    assert not read_before
    assert contents(cluster.api, destination) == made


def test_a_target_is_restarted_while_a_bucket_is_closed(tmp_path: Path, held: threading.Event) -> None:
    with Cluster(tmp_path, report_seconds=0.3) as cluster:
        made = fill(cluster, "a", 60)
        place = redirected(cluster.api, "PUT", "/v1/objects/a/late")
        job = moved(cluster.api, "a", "b")
        closed(cluster, place)
        for target in ("t1", "t2", "t3"):
            cluster.stop(target)
            cluster.start(target)
        cluster.wait_until_ready()
        refusal = httpx.put(place, content=b"late")
        assert (refusal.status_code, "being renamed" in refusal.text) == (503, True), refusal.text
        held.set()
        assert ended(cluster.api, job)["err"] == ""
        found = contents(cluster.api, "b")
        assert {name: found[name] for name in made} == made


def test_a_rename_waits_for_what_is_just_being_downloaded(tmp_path: Path) -> None:
    with Origin() as origin, Cluster(tmp_path, report_seconds=0.3) as cluster:
        made = fill(cluster, "a", 10)
        links = {f"new/{number}": origin.put(f"/{number}", b"%d" % number) for number in range(30)}
        gates = [origin.gate(f"/{number}") for number in range(25, 30)]
        download = cluster.api.download(type="multi", bucket={"name": "a"}, objects=links)
        wait_for(lambda: cluster.api.status(download, only_active_tasks=True)["finished_cnt"] == 25, what="25 arrived")
        job = moved(cluster.api, "a", "b")
        for gate in gates:
            gate.release()
        assert ended(cluster.api, job)["err"] == ""
        status = cluster.api.finished(download)
        assert (status["finished_cnt"], status["error_cnt"]) == (30, 0)
        assert contents(cluster.api, "b") == made | {f"new/{number}": b"%d" % number for number in range(30)}


def test_a_put_of_the_same_bytes_with_other_metadata_replaces_what_was_copied(
    cluster: Cluster, source: str, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(_: Tending, record: ActionRecord, __: object) -> ActionRecord:
        return record

    made = fill(cluster, source, 6)
    with monkeypatch.context() as patched:
        patched.setattr(Tending, "_move_on", wait)
        job = moved(cluster.api, source, destination)
        wait_for(lambda: contents(cluster.api, destination) == made, what="copies of everything")
        for name, data in made.items():
            path = f"/v1/objects/{source}/{name}"
            assert cluster.api.http.put(path, content=data, headers={"Ais-Custom-Md": "turn=2"}).status_code == 200
    assert ended(cluster.api, job)["err"] == ""
    assert {name: state(cluster.api, destination, name) for name in made} == {
        name: (data, "2") for name, data in made.items()
    }
    assert {cluster.api.get(destination, name).headers["Ais-Version"] for name in made} == {"2"}
