"""`ais download` in all forms, with `--progress` and `--wait`: requests in their order, fields that are read (wire.md
§1, §8, §9.2). The origin is on this machine."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.ais.goapi import GoApi, GoError, status_of
from tests.faults import Status
from tests.origin import Origin
from tests.waiting import wait_for

JOB = {
    "id": str,
    "xaction_id": str,
    "description": str,
    "started_time": str,
    "finished_time": str,
    "finished_cnt": int,
    "scheduled_cnt": int,
    "skipped_cnt": int,
    "error_cnt": int,
    "total": int,
    "all_dispatched": bool,
    "aborted": bool,
}
EPOCH = "1970-01-01T00:00:00Z"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\Z")


def check_job(job: dict[str, Any]) -> None:
    assert {name: type(job[name]) for name in JOB} == JOB
    assert TIME.match(job["started_time"])
    assert TIME.match(job["finished_time"])
    assert job["id"].startswith("dnl-")


def warn(ais: GoApi, bucket: str) -> bool:
    """What every form begins with: whether the bucket is there."""
    status = status_of(lambda: ais.head_bucket(bucket))
    assert status in (200, 404)
    return status == 404


def begun(ais: GoApi, job_id: str) -> dict[str, Any]:
    """After the start the program looks a few times, one second apart."""
    status = ais.download_status(job_id, only_active=True)
    check_job(status)
    return status


def waited(ais: GoApi, job_id: str) -> dict[str, Any]:
    """`--wait`: running tasks only until the end, then all once more."""
    wait_for(lambda: ais.download_status(job_id, only_active=True)["finished_time"] != EPOCH, what=f"end of {job_id}")
    return ais.download_status(job_id)


def test_one_link(ais: GoApi, bucket: str, origin: Origin) -> None:
    link = origin.put("/dir/one.bin", b"one")
    assert warn(ais, bucket) is False
    job_id = ais.download(bucket, type="single", link=link, object_name="sub/one.bin")
    begun(ais, job_id)
    status = waited(ais, job_id)
    assert (status["finished_cnt"], status["error_cnt"], status["total"], status["scheduled_cnt"]) == (1, 0, 1, 1)
    assert status["description"] == f"{link} -> ais://{bucket}/sub/one.bin"
    (task,) = status["finished_tasks"]
    assert (task["name"], task["downloaded"], task["total"]) == ("sub/one.bin", "3", "3")
    assert "download_errors" not in status
    assert ais.get_object(bucket, "sub/one.bin").body == b"one"


def test_into_a_bucket_that_is_not_there(ais: GoApi, origin: Origin) -> None:
    link = origin.put("/new.bin", b"new")
    assert warn(ais, "made-by-a-job") is True
    job_id = ais.download("made-by-a-job", type="single", link=link, object_name="")
    assert waited(ais, job_id)["finished_cnt"] == 1
    assert ais.names("made-by-a-job") == ["new.bin"]


def test_a_range(ais: GoApi, bucket: str, origin: Origin) -> None:
    origin.serve_pattern("/range/", lambda path: path.encode())
    job_id = ais.download(bucket, type="range", template=origin.url("/range/f-{000..020..10}.bin"), subdir="rng")
    status = waited(ais, job_id)
    assert (status["finished_cnt"], status["total"]) == (3, 3)
    assert ais.names(bucket) == ["rng/f-000.bin", "rng/f-010.bin", "rng/f-020.bin"]


def test_a_bad_template(ais: GoApi, bucket: str, origin: Origin) -> None:
    with pytest.raises(GoError) as raised:
        ais.download(bucket, type="range", template=origin.url("/{1}.bin"), subdir="")
    assert raised.value.status == 400
    assert raised.value.message.startswith("Error starting download: ")
    assert "(expecting e.g. 'prefix-{0001..0010..1}-suffix')" in raised.value.message


def test_an_object_list(ais: GoApi, bucket: str, origin: Origin) -> None:
    links = [origin.put(f"/list/{name}", name.encode()) for name in ("x", "y")]
    job_id = ais.download(bucket, type="multi", objects=links)
    assert waited(ais, job_id)["finished_cnt"] == 2
    assert ais.names(bucket) == ["x", "y"]


def test_a_map_of_a_model(ais: GoApi, bucket: str, origin: Origin) -> None:
    """What the program makes of a repository of HuggingFace: names and links, a token in the headers."""
    files = {"config.json": b"{}", "onnx/model.onnx": b"weights"}
    objects = {name: origin.put(f"/model/resolve/main/{name}", data) for name, data in files.items()}
    headers = {"Authorization": ["Bearer hf_token"]}
    job_id = ais.download(bucket, type="multi", objects=objects, headers=headers)
    assert waited(ais, job_id)["finished_cnt"] == 2
    assert ais.names(bucket) == sorted(files)
    asked = [request for request in origin.requests if request.path.startswith("/model/")]
    assert {request.headers["authorization"] for request in asked} == {"Bearer hf_token"}


def test_another_cluster_by_its_links(ais: GoApi, bucket: str, origin: Origin) -> None:
    link = origin.put("/v1/objects/theirs/obj", b"theirs").removeprefix("http://")
    job_id = ais.download(bucket, type="single", link=link, object_name="obj")
    assert waited(ais, job_id)["finished_cnt"] == 1


def test_a_cloud_bucket_that_is_the_backend(ais: GoApi, bucket: str, cloud: str) -> None:
    assert "aws" in ais.cluster("backends")
    backend = {"name": cloud, "provider": "aws", "namespace": {"uuid": "", "name": ""}}
    message = {"action": "set-bprops", "value": {"backend_bck": backend}}
    ais.call("PATCH", f"/v1/buckets/{bucket}", {"provider": "ais"}, message=message)
    properties = ais.head_bucket(bucket, adds=True)
    assert (properties["backend_bck"]["name"], properties["backend_bck"]["provider"]) == (cloud, "aws")
    job_id = ais.download(bucket, type="backend", prefix="a/", suffix="", synchronize=False)
    status = waited(ais, job_id)
    assert status["description"].endswith(f" -> ais://{bucket}")
    assert (status["finished_cnt"], status["scheduled_cnt"], status["error_cnt"]) == (2, 2, 0)
    assert status["total"] in (-3, 2), "below 0 the program's bar counts what is scheduled, which is the same"
    assert ais.names(bucket, flags="1") == ["a/1", "a/2"]


def test_a_backend_job_of_a_plain_bucket(ais: GoApi, bucket: str) -> None:
    with pytest.raises(GoError) as raised:
        ais.download(bucket, type="backend", prefix="", suffix="", synchronize=False)
    assert raised.value.status == 400
    assert "bucket download requires a remote bucket" in raised.value.message


def test_progress_of_one_object(ais: GoApi, bucket: str, origin: Origin) -> None:
    link = origin.put("/slow.bin", b"x" * 100_000)
    gate = origin.gate("/slow.bin")
    job_id = ais.download(bucket, type="single", link=link, object_name="slow.bin")
    try:
        first = ais.download_status(job_id)
        assert first["total"] == 1
        assert first["finished_time"] == EPOCH, "or the program says that all files are there"
        wait_for(lambda: ais.download_status(job_id, only_active=True).get("current_tasks"), what="a bar")
        status = ais.download_status(job_id, only_active=True)
        (task,) = status["current_tasks"]
        assert task["name"] == "slow.bin"
        assert task["downloaded"].isdecimal()
        assert not {"finished_tasks", "download_errors"} & status.keys()
    finally:
        gate.release()

    def is_over() -> bool:
        status = ais.download_status(job_id, only_active=True)
        done = status["finished_cnt"] + status["error_cnt"]
        return bool(status["aborted"] or (status["all_dispatched"] and status["scheduled_cnt"] == done))

    wait_for(is_over, what="the bar's end")
    assert waited(ais, job_id)["finished_cnt"] == 1


def test_progress_of_many_objects(ais: GoApi, bucket: str, origin: Origin) -> None:
    origin.serve_pattern("/many/", lambda path: path.encode())
    job_id = ais.download(bucket, type="range", template=origin.url("/many/{1..20}"), subdir="")
    wait_for(lambda: ais.download_status(job_id)["finished_time"] != EPOCH, what="end")
    assert len(ais.download_status(job_id)["finished_tasks"]) == 20


def test_what_could_not_be_fetched(ais: GoApi, bucket: str, origin: Origin) -> None:
    origin.misbehave("/broken", Status(403), lasting=True)
    objects = {"gone": origin.url("/nonesuch"), "broken": origin.url("/broken"), "fine": origin.put("/fine", b"x")}
    job_id = ais.download(bucket, type="multi", objects=objects)
    status = waited(ais, job_id)
    assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (1, 2, 3)
    errors = {error["name"]: error["error"] for error in status["download_errors"]}
    assert errors["gone"] == f"{origin.url('/nonesuch')} does not exist"
    assert "403" in errors["broken"]
