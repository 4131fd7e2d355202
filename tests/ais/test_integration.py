"""What AIStore's own integration tests in Go ask of a cluster: their start, and those for the downloader that need no
cloud (wire.md §10)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.ais.goapi import GoApi, GoError, status_of
from tests.ais.test_downloads import EPOCH, waited
from tests.cluster import Cluster
from tests.origin import Origin
from tests.waiting import wait_for

PREFIX = f"downloader-test-integration-{os.getpid()}"
_numbers = count(1)


@pytest.fixture
def described(ais: GoApi) -> Iterator[str]:
    """A description as theirs; jobs of theirs are aborted and removed at the end."""
    clear(ais)
    yield f"{PREFIX}-2026-11-27T12:00:00.{next(_numbers):09}Z"
    clear(ais)


def clear(ais: GoApi) -> None:
    jobs = ais.downloads(f"^{PREFIX}")
    for job in jobs:
        if job["finished_time"] == EPOCH:
            ais.abort(job["id"])
    wait_for(lambda: not ais.downloads(f"^{PREFIX}", only_active=True), what="no job")
    for job in jobs:
        ais.remove(job["id"])


def maps(ais: GoApi) -> list[dict[str, Any]]:
    """The cluster map as each node has it."""
    smap = ais.smap()
    return [smap, *(ais.node(node_id, "smap") for node_id in (*smap["pmap"], *smap["tmap"]))]


def test_start(ais: GoApi, cluster: Cluster) -> None:
    ais.call("GET", "/v1/health", {"readiness": "true"})
    rebalance = {"kind": "rebalance", "bck": {"name": "", "provider": ""}}
    # The map has one version more once all objects lie where new targets want them; nodes learn it a moment later.
    wait_for(lambda: ais.cluster("status", rebalance)["end_time"], what="the end of the rebalance")
    wait_for(lambda: len({smap["version"] for smap in maps(ais)}) == 1, what="one map everywhere")
    smap = ais.smap()
    assert ais.cluster("remote") == {"a": None, "ver": 0}
    for node_id in (*smap["pmap"], *smap["tmap"]):
        own = ais.node(node_id, "smap")
        assert (own["version"], own["uuid"]) == (smap["version"], smap["uuid"])
        assert set(own["tmap"]) == set(smap["tmap"])
    assert status_of(lambda: ais.cluster("status", rebalance)) in (200, 404)
    ais.call("GET", "/v1/health", {"prr": "true"})
    config = ais.cluster("cluster_config")
    assert config["mirror"]["copies"] == 2
    assert config["checksum"]["type"] == "xxhash2"
    for node_id in (*smap["pmap"], *smap["tmap"]):
        url = (smap["pmap"] | smap["tmap"])[node_id]["public_net"]["direct_url"]
        state = GoApi(url).read("GET", "/v1/health", {"cii": "true"})
        assert state["smap"]["version"] == smap["version"]
        assert state["flags"] & 6 == 6
    assert (
        ais.cluster("qryxstats", {"kind": "resilver", "bck": {"name": "", "provider": ""}}).keys()
        == smap["tmap"].keys()
    )


def test_single(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    gates = [origin.gate(f"/large-{number}") for number in (1, 2)]
    first, second = (
        ais.download(
            bucket,
            type="single",
            link=origin.put(f"/large-{number}", b"large").removeprefix("http://"),
            object_name=f"large-{number}",
            description=described,
        )
        for number in (1, 2)
    )
    ais.abort(second)
    ais.abort(first)
    for job_id in (first, second):
        wait_for(lambda job_id=job_id: ais.download_status(job_id)["finished_time"] != EPOCH, what="end")
        status = ais.download_status(job_id)
        assert status["aborted"] is True
        assert not status.get("current_tasks")
    ais.abort(first)
    ais.remove(first)
    with pytest.raises(GoError):
        ais.remove(first)
    for gate in gates:
        gate.release()
    link = origin.put("/small", b"small")
    third = ais.download(bucket, type="single", link=link, object_name="object", description=described)
    assert waited(ais, third)["finished_cnt"] == 1
    assert ais.names(bucket) == ["object"]
    assert {job["id"] for job in ais.downloads(f"^{PREFIX}")} == {second, third}


RANGES = {"{0..4}": ["0", "1", "2", "3", "4"], "{23..25..2}.{0..1}": ["23.0", "23.1", "25.0", "25.1"]}


@pytest.mark.parametrize("template", RANGES)
def test_range(ais: GoApi, bucket: str, origin: Origin, described: str, template: str) -> None:
    origin.serve_pattern("/file/", lambda path: path.encode())
    link = origin.url(f"/file/{template}").removeprefix("http://")
    job_id = ais.download(bucket, type="range", template=link, subdir="", description=described)
    assert waited(ais, job_id)["finished_cnt"] == len(RANGES[template])
    assert ais.names(bucket) == RANGES[template]


def test_multi_map(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    objects = {name: origin.put(f"/mapped/{name}", b"x") for name in ("ais", "k8s")}
    job_id = ais.download(bucket, type="multi", objects=objects, description=described)
    assert waited(ais, job_id)["finished_cnt"] == 2
    assert ais.names(bucket) == ["ais", "k8s"]


def test_multi_list(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    links = [f"{origin.put('/LICENSE', b'license')}?query=values", origin.put("/README.md", b"readme")]
    job_id = ais.download(bucket, type="multi", objects=links, description=described)
    assert waited(ais, job_id)["finished_cnt"] == 2
    assert ais.names(bucket) == ["LICENSE", "README.md"]


def test_timeout(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    link = origin.put("/timeout", b"x")
    gate = origin.gate("/timeout")
    job_id = ais.download(bucket, type="single", link=link, object_name="object", description=described, timeout="1ms")
    status = waited(ais, job_id)
    gate.release()
    assert status["error_cnt"] == 1
    (error,) = status["download_errors"]
    assert error["name"] == "object"
    assert "deadline exceeded" in error["error"] or "timeout" in error["error"]
    assert ais.names(bucket) == []
    assert [job["id"] for job in ais.downloads(f"^{PREFIX}")] == [job_id]


def test_status(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    gate = origin.gate("/long")
    objects = {"short": origin.put("/short", b"short"), "long": origin.put("/long", b"long")}
    job_id = ais.download(bucket, type="multi", objects=objects, description=described)
    wait_for(lambda: ais.download_status(job_id)["finished_cnt"] == 1, what="the short one")
    wait_for(lambda: ais.download_status(job_id).get("current_tasks"), what="the long one")
    status = ais.download_status(job_id)
    assert status["total"] == 2
    assert [task["name"] for task in status["current_tasks"]] == ["long"]
    gate.release()
    waited(ais, job_id)


def test_status_error(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    objects = {"invalidURL": "http://some.invalid.url", "notFound": origin.url("/some/path/that/is/not/there")}
    job_id = ais.download(bucket, type="multi", objects=objects, description=described)
    status = waited(ais, job_id)
    assert (status["total"], status["finished_cnt"], status["error_cnt"]) == (2, 0, 2)
    assert sorted(error["name"] for error in status["download_errors"]) == ["invalidURL", "notFound"]


def test_valid_checksum(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    message = {"action": "set-bprops", "value": {"checksum": {"validate_warm_get": True}}}
    ais.call("PATCH", f"/v1/buckets/{bucket}", {"provider": "ais"}, message=message)
    link = origin.put("/checked", b"checked")
    job_id = ais.download(bucket, type="single", link=link, object_name="checked", description=described)
    waited(ais, job_id)
    assert ais.get_object(bucket, "checked").body == b"checked"


def test_into_a_bucket_that_is_not_there(ais: GoApi, origin: Origin, described: str) -> None:
    name = f"nonexistent-{next(_numbers)}"
    with pytest.raises(GoError):
        ais.head_bucket(name)
    link = origin.put("/into", b"into")
    waited(ais, ais.download(name, type="single", link=link, object_name="into", description=described))
    ais.head_bucket(name)
    ais.call("DELETE", f"/v1/buckets/{name}", {"provider": "ais"}, message={"action": "destroy-bck"})


def test_aborted_with_a_mountpath_less(
    ais: GoApi, cluster: Cluster, bucket: str, origin: Origin, described: str
) -> None:
    path, headers = str(cluster.mountpaths("t1")[1]), {"Ais-Node-Id": "t1"}
    gate = origin.gate("/gated")
    objects: dict[str, Any] = {f"obj-{number}": origin.put("/gated", b"x") for number in range(10)}
    job_id = ais.download(bucket, type="multi", objects=objects, description=described)
    ais.call("POST", "/v1/reverse/daemon/mountpaths", message={"action": "disable-mp", "value": path}, headers=headers)
    ais.abort(job_id)
    gate.release()
    ais.call("POST", "/v1/reverse/daemon/mountpaths", message={"action": "enable-mp", "value": path}, headers=headers)
    wait_for(lambda: path in ais.node("t1", "mountpaths")["available"], what="enabled")
    assert ais.names(bucket) == []


def test_many_objects_are_all_there(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    origin.serve_pattern("/hundred/", lambda path: path.encode())
    objects = {f"object-{number}": origin.url(f"/hundred/{number}") for number in range(100)}
    job_id = ais.download(bucket, type="multi", objects=objects, description=described)
    assert waited(ais, job_id)["finished_cnt"] == 100
    assert ais.names(bucket) == sorted(objects)


def test_override_an_object_of_the_web(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    link = origin.put("/LICENSE", b"x" * 1075)
    fields: dict[str, Any] = {"type": "single", "link": link, "object_name": "LICENSE", "description": described}
    assert waited(ais, ais.download(bucket, **fields))["finished_cnt"] == 1
    ais.put_object(bucket, "LICENSE", b"x" * 10)
    before = ais.call("HEAD", f"/v1/objects/{bucket}/LICENSE", {"provider": "ais", "presence": "2"})
    assert before.header("Content-Length") == "10"
    status = waited(ais, ais.download(bucket, **fields))
    assert (status["finished_cnt"], status["skipped_cnt"]) == (1, 0)
    after = ais.call("HEAD", f"/v1/objects/{bucket}/LICENSE", {"provider": "ais", "presence": "2"})
    assert after.header("Content-Length") == "1075"
    assert after.header("Ais-Atime") != before.header("Ais-Atime")


def test_skip_an_object_that_is_there(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    link = origin.put("/same", b"x" * 65)
    fields: dict[str, Any] = {"type": "single", "link": link, "object_name": "same", "description": described}
    assert waited(ais, ais.download(bucket, **fields))["skipped_cnt"] == 0
    status = waited(ais, ais.download(bucket, **fields))
    assert (status["finished_cnt"], status["skipped_cnt"], status["error_cnt"]) == (1, 1, 0)


def test_two_jobs_at_once(ais: GoApi, cluster: Cluster, bucket: str, origin: Origin, described: str) -> None:
    """One of few connections leaves room for another."""
    origin.serve_pattern("/slow/", lambda path: b"x" * 64)
    gates = [origin.gate(f"/slow/{number}") for number in range(12)]
    fields: dict[str, Any] = {"type": "range", "description": described}
    limits = {"connections": 1, "bytes_per_hour": 0}
    first = ais.download(bucket, template=origin.url("/slow/{0..11}"), subdir="a", limits=limits, **fields)
    second = ais.download(bucket, template=origin.url("/slow/{0..11}"), subdir="b", **fields)

    def running(job_id: str) -> int:
        return len(ais.download_status(job_id, only_active=True).get("current_tasks") or ())

    wait_for(lambda: running(first) and running(second), what="both run")
    assert running(first) <= len(cluster.target_ids)
    for gate in gates:
        gate.release()
    assert [waited(ais, job_id)["finished_cnt"] for job_id in (first, second)] == [12, 12]


def test_connections_are_limited(ais: GoApi, cluster: Cluster, bucket: str, origin: Origin, described: str) -> None:
    origin.serve_pattern("/limited/", lambda path: b"x" * 64)
    gates = [origin.gate(f"/limited/{number}") for number in range(30)]
    limits = {"connections": 2, "bytes_per_hour": 0}
    job_id = ais.download(
        bucket, type="range", template=origin.url("/limited/{0..29}"), subdir="", limits=limits, description=described
    )
    wait_for(
        lambda: len(ais.download_status(job_id, only_active=True).get("current_tasks", ())) > 3,
        what="more than targets",
    )
    status = ais.download_status(job_id, only_active=True)
    assert len(status["current_tasks"]) <= 2 * len(cluster.target_ids)
    for gate in gates:
        gate.release()
    last = waited(ais, job_id)
    assert last["finished_cnt"] == 30
    assert last["xaction_id"] == status["xaction_id"]


def test_bytes_are_limited(ais: GoApi, bucket: str, origin: Origin, described: str) -> None:
    link = origin.put("/throttled", b"x" * 1_000_000)
    limits = {"connections": 0, "bytes_per_hour": 5 * 1024}
    job_id = ais.download(
        bucket, type="single", link=link, object_name="throttled", limits=limits, description=described
    )
    wait_for(lambda: ais.download_status(job_id, only_active=True).get("current_tasks"), what="a running task")
    (task,) = ais.download_status(job_id, only_active=True)["current_tasks"]
    assert int(task["downloaded"]) < 7 * 1024
    ais.abort(job_id)
