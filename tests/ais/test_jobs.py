"""`ais show job|wait|stop|job rm` for downloads: requests in their order, fields that are read (wire.md §1.5, §1.6, §5,
§9.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

import pytest

from tests.ais.goapi import GoApi, GoError, status_of
from tests.ais.test_downloads import EPOCH, check_job, waited
from tests.origin import Origin
from tests.waiting import wait_for

_numbers = count(1)


@pytest.fixture
def running(ais: GoApi, bucket: str, origin: Origin) -> Iterator[str]:
    """A job whose origin does not answer before the test is over."""
    path = f"/held-{next(_numbers)}"
    gate = origin.gate(path)
    link = origin.put(path, b"held")
    yield ais.download(bucket, type="single", link=link, object_name="held", description=f"slow {path}")
    gate.release()


def test_show_job_download(ais: GoApi, running: str, bucket: str, origin: Origin) -> None:
    done = ais.download(bucket, type="single", link=origin.put("/done", b"x"), object_name="done")
    waited(ais, done)
    active = {job["id"]: job for job in ais.downloads(only_active=True)}
    assert running in active
    assert done not in active
    every = {job["id"]: job for job in ais.downloads()}
    assert {running, done} <= set(every)
    for job in every.values():
        check_job(job)
        assert "current_tasks" not in job
    assert active[running]["finished_time"] == EPOCH
    assert [job["id"] for job in ais.downloads("^slow", only_active=True)] == [running]
    ais.abort(running)


def test_show_job_download_verbose(ais: GoApi, running: str) -> None:
    """Of each job the program asks by its xaction, too."""
    (job,) = [job for job in ais.downloads(only_active=True) if job["id"] == running]
    message = {"id": job["xaction_id"], "kind": "download", "bck": {"name": "", "provider": ""}}
    snaps = [snap for of in ais.cluster("qryxstats", message).values() for snap in of or ()]
    assert {snap["kind"] for snap in snaps} == {"download"}
    for snap in snaps:
        assert all(isinstance(value, str) for value in snap["stats"].values())
        assert all(isinstance(snap[name], str) for name in ("start-time", "end-time", "id"))
        assert (snap["aborted"], snap["end-time"][:4]) == (False, "0001")
    ais.abort(running)


def test_show_job_by_id(ais: GoApi, bucket: str, origin: Origin) -> None:
    objects = {"here": origin.put("/here", b"x"), "gone": origin.url("/gone")}
    job_id = ais.download(bucket, type="multi", objects=objects)
    waited(ais, job_id)
    ais.smap()
    status = ais.download_status(job_id)
    assert (status["finished_cnt"], status["total"]) == (1, 2)
    assert [error["name"] for error in status["download_errors"]] == ["gone"], "shown with -v"


@pytest.mark.parametrize("kind", ["download", "rebalance", "resilver", "prefetch-listrange", "copy-bck", "nonesuch"])
def test_show_job_asks_for_every_kind(ais: GoApi, kind: str) -> None:
    message = {"kind": kind, "id": "", "show_active": True, "bck": {"name": "", "provider": ""}}
    assert status_of(lambda: ais.cluster("qryxstats", message)) in (200, 404)


def test_show_job_of_nothing(ais: GoApi) -> None:
    with pytest.raises(GoError) as raised:
        ais.download_status("dnl-nonesuch1")
    assert (raised.value.status, raised.value.code) == (404, "ErrNotFound")
    assert "download job dnl-nonesuch1 does not exist" in raised.value.message
    with pytest.raises(GoError) as raised:
        ais.cluster("qryxstats", {"id": "nonesuch1", "kind": "", "bck": {"name": "", "provider": ""}})
    assert raised.value.status == 404


def test_wait_download(ais: GoApi, bucket: str, origin: Origin) -> None:
    ais.smap()
    job_id = ais.download(bucket, type="single", link=origin.put("/waited", b"x"), object_name="waited")
    status = waited(ais, job_id)
    assert status["aborted"] is False


def test_wait_by_the_generic_status(ais: GoApi, bucket: str, origin: Origin) -> None:
    job_id = ais.download(bucket, type="single", link=origin.put("/generic", b"x"), object_name="generic")
    message = {"id": job_id, "kind": "", "bck": {"name": "", "provider": ""}}
    wait_for(lambda: ais.cluster("status", message)["end_time"] != 0, what="end")
    status = ais.cluster("status", message)
    assert (status["kind"], status["uuid"], status["err"], status["aborted"]) == ("single", job_id, "", False)
    assert isinstance(status["end_time"], int)


def test_running_jobs_of_the_cluster(ais: GoApi, running: str) -> None:
    assert f"download[{running}]" in ais.cluster("running_all", {"kind": ""})
    ais.abort(running)


def test_stop_and_rm(ais: GoApi, running: str) -> None:
    ais.smap()
    with pytest.raises(GoError) as raised:
        ais.remove(running)
    assert (raised.value.status, raised.value.message.rpartition(": ")[2]) == (400, f'job "{running}" is still running')
    ais.abort(running)
    ais.abort(running)
    status = ais.download_status(running)
    assert status["aborted"] is True
    assert status["finished_time"] != EPOCH
    ais.remove(running)
    for gone in (ais.remove, ais.abort, ais.download_status):
        with pytest.raises(GoError) as raised:
            gone(running)
        assert raised.value.status == 404


def test_stop_all_and_rm_all(ais: GoApi, running: str) -> None:
    for job in ais.downloads(only_active=True):
        ais.abort(job["id"])
    assert ais.downloads(only_active=True) == []
    for job in ais.downloads():
        ais.remove(job["id"])
    assert ais.downloads() == []
    with pytest.raises(GoError):
        ais.download_status(running)


def test_what_is_not_offered_has_no_jobs(ais: GoApi) -> None:
    """`ais show job` lists these, too, and goes on."""
    assert json.loads(ais.call("GET", "/v1/etl").body) == []
    assert json.loads(ais.call("GET", "/v1/sort", {"regex": "", "only_active": "true"}).body) == []
    assert status_of(lambda: ais.call("GET", "/v1/sort", {"uuid": "srt-nonesuch1"})) == 404


def test_sorting_is_not_offered(ais: GoApi) -> None:
    """`ais start dsort`: an error that the program shows, and does not repeat."""
    assert status_of(lambda: ais.call("POST", "/v1/sort", message={"extension": ".tar"})) == 501
