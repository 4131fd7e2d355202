"""Jobs under way: status, list, abort, remove, limits and fairness, from any proxy."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgpack
import pytest

from common.placement import digest
from tests.cluster import Api, Cluster
from tests.origin import Gate, Origin
from tests.waiting import wait_for


@pytest.fixture
def other(cluster: Cluster) -> Iterator[Api]:
    api = Api(cluster.urls["p2"])
    yield api
    api.close()


@pytest.fixture
def held(origin: Origin, request: pytest.FixtureRequest) -> Iterator[tuple[list[str], list[Gate]]]:
    """Twelve links whose answers are held back until the gates are released."""
    paths = [f"/{request.node.name}/{n:02}" for n in range(12)]
    links = [origin.put(path, b"h" * 100) for path in paths]
    gates = [origin.gate(path) for path in paths]
    yield links, gates
    for gate in gates:
        gate.release()


def test_a_running_job_shows_its_current_tasks(api: Api, held: tuple[list[str], list[Gate]]) -> None:
    links, gates = held
    job = api.download(type="multi", objects=links, description="under way")
    status = wait_for(lambda: s if len((s := api.status(job)).get("current_tasks", [])) == 12 else None)
    assert [task["name"] for task in status["current_tasks"]] == [f"{n:02}" for n in range(12)]
    assert status["finished_time"] == "1970-01-01T00:00:00Z"
    assert (status["total"], status["scheduled_cnt"], status["finished_cnt"]) == (12, 12, 0)
    for gate in gates:
        gate.release()
    status = api.finished(job)
    assert status["finished_cnt"] == 12
    assert "current_tasks" not in status
    assert status["started_time"] <= status["finished_time"]


def test_all_proxies_answer_alike(api: Api, other: Api, held: tuple[list[str], list[Gate]]) -> None:
    links, gates = held
    job = other.download(type="multi", objects=links[:3], description="alike")
    wait_for(lambda: len(api.status(job).get("current_tasks", [])) == 3)
    assert api.call("GET", "/v1/download", {"regex": "^alike$"}).json()[0]["id"] == job
    for gate in gates:
        gate.release()
    assert api.finished(job) == other.finished(job)
    assert other.call("GET", "/v1/download").json() == api.call("GET", "/v1/download", {}).json()


def test_abort_drops_what_runs_and_remove_forgets(api: Api, other: Api, held: tuple[list[str], list[Gate]]) -> None:
    links, _ = held
    job = api.download(type="multi", bucket={"name": "aborted"}, objects=links)
    wait_for(lambda: len(api.status(job).get("current_tasks", [])) == 12)
    running = api.call("DELETE", "/v1/download/remove", {"id": job})
    assert (running.status_code, running.json()["message"]) == (400, f'job "{job}" is still running')
    for _ in range(2):
        assert other.call("DELETE", "/v1/download/abort", {"id": job}).status_code == 200
    status = api.finished(job)
    assert status["aborted"]
    assert "current_tasks" not in status
    assert api.list("aborted") == []
    assert other.call("DELETE", "/v1/download/remove", {"id": job}).status_code == 200
    for method, path in (("GET", ""), ("DELETE", "/abort"), ("DELETE", "/remove")):
        gone = api.call(method, f"/v1/download{path}", {"id": job})
        assert (gone.status_code, gone.json()["tcode"]) == (404, "ErrNotFound")


def test_list_by_regular_expression_and_activity(api: Api, held: tuple[list[str], list[Gate]]) -> None:
    links, gates = held
    done = api.download(type="multi", objects=[], description="regex 7 done")
    running = api.download(type="multi", objects=links[:1], description="regex 7 running")
    api.finished(done)

    def listed(**body: object) -> list[str]:
        return sorted(job["id"] for job in api.call("GET", "/v1/download", body).json())

    assert listed(regex="^regex [0-9]") == sorted([done, running])
    assert listed(regex="^regex [0-9]", only_active_tasks=True) == [running]
    assert listed(regex="nothing like it") == []
    for gate in gates:
        gate.release()
    for bad in ("[(", "\\d+", "(a"):
        response = api.call("GET", "/v1/download", {"regex": bad})
        assert response.status_code == 400
        assert "error parsing regexp" in response.json()["message"]


def test_limit_of_connections_is_per_target(api: Api, origin: Origin, held: tuple[list[str], list[Gate]]) -> None:
    links, gates = held
    job = api.download(type="multi", bucket={"name": "limited"}, objects=links, limits={"connections": 1})
    owners = wait_for(lambda: t if len(t := api.status(job).get("current_tasks", [])) == 3 else None)
    asked = sum(origin.count(f"/{link.split('/', 3)[3]}") for link in links)
    assert len(owners) == asked == 3
    for gate in gates:
        gate.release()
    assert api.finished(job)["finished_cnt"] == 12


def test_a_large_job_does_not_hold_up_a_small_one(api: Api, origin: Origin) -> None:
    origin.serve_pattern("/fair/", lambda path: path.encode())
    large = api.download(
        type="range", bucket={"name": "large"}, template=origin.url("/fair/{000000..019999}"), description="large"
    )
    small = api.download(type="range", bucket={"name": "small"}, template=origin.url("/fair/s{0..2}"))
    assert api.finished(small)["finished_cnt"] == 3
    assert api.status(large, only_active_tasks=True)["finished_time"].startswith("1970")
    assert api.finished(large)["finished_cnt"] == 20000


def test_bytes_per_hour_hold_a_job_back(api: Api, origin: Origin) -> None:
    link = origin.put("/budget", bytes(200_000))
    job = api.download(type="single", link=link, limits={"connections": 0, "bytes_per_hour": 36_000_000})
    (task,) = wait_for(lambda: t if (t := api.status(job).get("current_tasks")) and t[0]["downloaded"] != "0" else None)
    assert 0 < int(task["downloaded"]) < 100_000
    api.call("DELETE", "/v1/download/abort", {"id": job})
    assert api.finished(job)["aborted"]


def test_ended_tasks_come_in_pages(api: Api, origin: Origin) -> None:
    origin.serve_pattern("/paged/", lambda path: path.encode())
    job = api.download(type="range", template=origin.url("/paged/{000..249}"))
    api.finished(job)
    names: list[str] = []
    after = -1
    while after is not None:
        page = api.status(job, tasks_limit=100, tasks_after=after)
        names += [task["name"] for task in page["finished_tasks"]]
        after = page.get("tasks_next")
    assert names == [f"{n:03}" for n in range(250)]


def test_bytes_per_hour_are_for_the_whole_cluster(api: Api, origin: Origin) -> None:
    origin.serve_pattern("/budgets/", lambda path: bytes(4000))
    limits = {"bytes_per_hour": 3600 * 30_000}
    job = api.download(type="range", template=origin.url("/budgets/{00..89}"), limits=limits)
    began = time.monotonic()
    assert api.finished(job)["finished_cnt"] == 90
    # 360,000 bytes, of which each of three targets may take one second's share at once
    assert time.monotonic() - began > (360_000 - 30_000) / 30_000 * 0.8


def test_a_host_has_a_rate_limit_that_all_jobs_and_targets_share(tmp_path: Path, origin: Origin) -> None:
    origin.serve_pattern("/hosts/", lambda path: bytes(4000))
    rate = 60_000
    with Cluster(tmp_path, targets=3, mountpaths=2, rate_limit={"127.0.0.1": rate}) as cluster:
        api = cluster.api
        began = time.monotonic()
        jobs = [
            api.download(type="range", template=origin.url("/hosts/{000..059}"), subdir=subdir)
            for subdir in ("one", "two")
        ]
        other = origin.url("/hosts/{000..299}").replace("127.0.0.1", "localhost")
        free = api.download(type="range", template=other, subdir="three")
        assert api.finished(free)["finished_cnt"] == 300
        assert any(api.status(job)["finished_cnt"] < 60 for job in jobs), "another name is another host"
        assert [api.finished(job)["finished_cnt"] for job in jobs] == [60, 60]
        assert time.monotonic() - began > (480_000 - rate) / rate * 0.8


def test_a_job_and_its_host_may_both_be_limited(tmp_path: Path, origin: Origin) -> None:
    link = origin.put("/both", bytes(150_000))
    with Cluster(tmp_path, targets=1, mountpaths=1, rate_limit={"127.0.0.1": 20_000}) as cluster:
        api = cluster.api
        job = api.download(type="single", link=link, limits={"bytes_per_hour": 3600 * 10_000_000})
        (task,) = wait_for(lambda: t if (t := api.status(job).get("current_tasks")) else None)
        began = time.monotonic()
        assert api.finished(job)["finished_cnt"] == 1
        assert time.monotonic() - began > (150_000 - int(task["downloaded"]) - 40_000) / 20_000 * 0.8
        assert api.get("b", "both").content == bytes(150_000)


def _ended(cluster: Cluster, target: str, job: str) -> bool:
    """Whether a target's share of a job has ended, by its own word."""
    body = msgpack.packb({"ids": [job]})
    answer = httpx.post(f"{cluster.urls[target]}/intra/v1/shares/status", content=body)
    return bool(msgpack.unpackb(answer.content)["shares"][0]["finished_ns"])


def test_a_budget_outlives_the_target_that_keeps_its_book(tmp_path: Path, origin: Origin) -> None:
    origin.serve_pattern("/keeper/", lambda path: bytes(4000))
    with Cluster(tmp_path, targets=3, mountpaths=1) as cluster:
        api = cluster.api
        limits = {"bytes_per_hour": 3600 * 60_000}
        job = api.download(type="range", template=origin.url("/keeper/{00..89}"), limits=limits)
        keeper = cluster.target_ids[digest(job) % 3]
        wait_for(lambda: api.status(job)["finished_cnt"] >= 10, what="a beginning")
        cluster.stop(keeper)
        wait_for(
            lambda: all(_ended(cluster, target, job) for target in cluster.target_ids if target != keeper),
            what="the others' parts",
        )
        cluster.start(keeper)
        cluster.wait_until_ready()
        assert api.finished(job)["finished_cnt"] == 90


def test_a_bucket_destroyed_under_a_job_ends_its_tasks_at_once(api: Api, origin: Origin) -> None:
    links = [origin.put(f"/doomed/{n}", b"d") for n in range(6)]
    gates = [origin.gate(f"/doomed/{n}") for n in range(6)]
    job = api.download(type="multi", bucket={"name": "doomed"}, objects=links)
    wait_for(lambda: len(api.status(job).get("current_tasks", [])) == 6)
    assert api.call("DELETE", "/v1/buckets/doomed", {"action": "destroy-bck"}).status_code == 200
    for gate in gates:
        gate.release()
    status = api.finished(job)
    assert (status["finished_cnt"], status["error_cnt"]) == (0, 6)
    assert {error["error"] for error in status["download_errors"]} == {'bucket "ais://doomed" does not exist'}
    assert [origin.count(f"/doomed/{n}") for n in range(6)] == [1] * 6


def test_nobody_passes_for_a_node_of_the_cluster(cluster: Cluster, api: Api) -> None:
    api.create_bucket("callers")
    api.put("callers", "o", b"x")
    for url in (cluster.urls["p1"] + "/v1/buckets", *(cluster.urls[t] + "/v1/objects/callers/o" for t in ("t1", "t2"))):
        response = api.http.get(url, headers={"Ais-Caller-Id": "p1"})
        assert (response.status_code, "Ais-Caller-Id" in response.json()["message"]) == (403, True)


def test_a_target_takes_no_object_that_is_anothers(cluster: Cluster, api: Api) -> None:
    api.create_bucket("strays")
    owner = api.put("strays", "o", b"right").url
    for target in ("t1", "t2", "t3"):
        url = f"{cluster.urls[target]}/v1/objects/strays/o?pid=p1&utm=1"
        if str(owner).startswith(cluster.urls[target]):
            continue
        response = api.http.put(url, content=b"stray")
        assert (response.status_code, "send the request to a proxy" in response.json()["message"]) == (409, True)
    assert api.get("strays", "o").content == b"right"
