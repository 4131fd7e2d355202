"""The generic job API: downloads, copies, what is done at once; by id, by kind, by bucket, as clients ask."""

from __future__ import annotations

from typing import Any

import pytest

from tests.actions.acting import act, copy, ended, fill, snaps, started, status, total
from tests.cluster import Api, Cluster
from tests.origin import Origin
from tests.waiting import wait_for


def ask(api: Api, what: str, **query: Any) -> Any:
    answer = api.call("GET", f"/v1/cluster?what={what}", query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_download_job_has_snapshots_of_each_target(cluster: Cluster, origin: Origin, destination: str) -> None:
    links = [origin.put(f"/{destination}/{number}", b"x" * 1000) for number in range(30)]
    job = cluster.api.download(type="multi", bucket={"name": destination}, objects=links)
    cluster.api.finished(job)
    found = snaps(cluster.api, ID=job, Kind="", DaemonID="")
    assert set(found) == {"t1", "t2", "t3"}
    assert all(len(of_target) == 1 for of_target in found.values())
    assert (total(cluster.api, job, "loc-objs"), total(cluster.api, job, "loc-bytes")) == (30, 30_000)
    for snap in (of_target[0] for of_target in found.values()):
        assert (snap["id"], snap["kind"], snap["is_idle"], snap["aborted"]) == (job, "download", True, False)
        assert snap["bck"]["name"] == destination
        assert snap["start-time"] < snap["end-time"]
    shown = status(cluster.api, job)
    assert (shown["kind"], shown["err"], shown["end_time"] > 0) == ("multi", "", True)


def test_a_running_download_is_not_idle_and_can_be_stopped(cluster: Cluster, origin: Origin, destination: str) -> None:
    link = origin.put(f"/{destination}/slow", b"x")
    gate = origin.gate(f"/{destination}/slow")
    try:
        job = cluster.api.download(type="single", bucket={"name": destination}, link=link)
        wait_for(lambda: cluster.api.status(job).get("current_tasks"), what="it has begun")
        assert f"download[{job}]" in ask(cluster.api, "running_all", kind="", node="", show_active=True)
        assert job in [one["uuid"] for one in ask(cluster.api, "status_all", kind="download", show_active=True)]
        assert {snap["is_idle"] for found in snaps(cluster.api, id=job).values() for snap in found} == {False}
        assert any(found for found in snaps(cluster.api, kind="download", show_active=True).values())
        stop = {"action": "stop", "value": {"ID": job, "Kind": "download", "DaemonID": "", "Bck": None}}
        assert cluster.api.call("PUT", "/v1/cluster", stop).status_code == 200
        shown = ended(cluster.api, job)
        assert shown["aborted"]
        assert {snap["aborted"] for found in snaps(cluster.api, id=job).values() for snap in found} == {True}
        assert f"download[{job}]" not in ask(cluster.api, "running_all")
    finally:
        gate.release()


def test_objects_that_failed_are_the_jobs_error(cluster: Cluster, origin: Origin, destination: str) -> None:
    links = [origin.put(f"/{destination}/there", b"x"), origin.url(f"/{destination}/missing")]
    job = cluster.api.download(type="multi", bucket={"name": destination}, objects=links)
    assert ended(cluster.api, job)["err"] == "1 of 2 objects could not be downloaded"


def test_what_was_done_at_once_has_ended(cluster: Cluster, source: str) -> None:
    made = fill(cluster, source, 3)
    message = {"action": "delete-listrange", "value": {"objnames": list(made)}}
    job = started(cluster.api.call("DELETE", f"/v1/buckets/{source}", message))
    assert status(cluster.api, job)["end_time"] > 0
    found = snaps(cluster.api, id=job)
    assert {(snap["kind"], snap["is_idle"]) for of_target in found.values() for snap in of_target} == {
        ("delete-listrange", True)
    }
    assert cluster.api.list(source) == []


def test_jobs_are_found_by_kind_by_its_display_name_and_by_bucket(
    cluster: Cluster, source: str, destination: str
) -> None:
    made = fill(cluster, source, 3)
    whole = copy(cluster.api, source, destination)
    message = {"objnames": list(made), "tobck": {"name": destination}, "prepend": "x/"}
    some = started(act(cluster.api, source, "copy-listrange", message))
    for job in (whole, some):
        ended(cluster.api, job)

    def ids(**query: Any) -> set[str]:
        return {snap["id"] for found in snaps(cluster.api, **query).values() for snap in found}

    bucket = {"name": source, "provider": "ais"}
    assert ids(kind="copy-bck", bck=bucket) == ids(Kind="copy-bucket", Bck=bucket) == {whole}
    assert ids(Kind="copy-objects", Buckets=[bucket]) == ids(kind="COPY-LISTRANGE", bck=bucket) == {some}
    assert ids(bck=bucket) == ids(bck={"name": destination, "provider": ""}) == {whole, some}
    assert ids(bck=bucket, show_active=True) == ids(bck={"name": "other", "provider": ""}) == set()
    assert set(snaps(cluster.api, id=whole, node="t1")["t2"]) == set()
    assert {one["uuid"] for one in ask(cluster.api, "status_all", bck=bucket)} == {whole, some}
    assert ask(cluster.api, "status", kind="copy-bck", bck=bucket)["uuid"] == whole


@pytest.mark.parametrize("kind", ["lru", "resilver", "ec-encode", "nonesuch", "blob-download", "ls"])
def test_kinds_without_jobs(cluster: Cluster, kind: str) -> None:
    assert all(found == [] for found in snaps(cluster.api, kind=kind).values())
    assert ask(cluster.api, "status_all", kind=kind) is None
    assert ask(cluster.api, "running_all", kind=kind) == []


@pytest.mark.parametrize("job", ["dnl-unknown99", "cpy-unknown99", "nonesuch", "E1jJkJVXMU", "a/../b", "x" * 500])
def test_jobs_that_do_not_exist(cluster: Cluster, job: str) -> None:
    for what in ("status", "qryxstats"):
        answer = cluster.api.call("GET", f"/v1/cluster?what={what}", {"id": job})
        assert answer.status_code == 404, answer.text


def test_what_is_no_query(cluster: Cluster) -> None:
    for query in ({"id": 5}, {"kind": []}, {"buckets": {}}, {"bck": "name"}, {"bck": {"name": "a b"}}):
        assert cluster.api.call("GET", "/v1/cluster?what=qryxstats", query).status_code == 400, query
    assert cluster.api.call("GET", "/v1/cluster?what=status", {}).status_code == 400


def test_what_can_be_started(cluster: Cluster) -> None:
    def start(kind: str) -> tuple[int, str]:
        answer = cluster.api.call("PUT", "/v1/cluster", {"action": "start", "value": {"ID": "", "Kind": kind}})
        return answer.status_code, answer.text

    assert start("rebalance")[0] == 200
    for kind, code, text in (
        ("download", 400, "must be done via a separate documented API"),
        ("lru", 501, "ErrUnsupp"),
        ("copy-bck", 400, "send the action to the bucket"),
        ("", 400, "value.kind"),
    ):
        shown = start(kind)
        assert (shown[0], text in shown[1]) == (code, True), shown
    nothing = cluster.api.call("PUT", "/v1/cluster", {"action": "stop", "value": {}})
    assert nothing.status_code == 400


@pytest.mark.parametrize(
    ("value", "code", "named"),
    [
        ({"bucket": {"name": "b"}}, 400, "bucket"),
        ({"bck": {"nam": "b"}}, 400, "nam"),
        ({"buckets": [{"Name": "b"}]}, 400, "Name"),
        ({"node": "t1"}, 501, "node"),
        ({"DaemonID": "t1"}, 501, "DaemonID"),
    ],
)
def test_a_stop_that_would_be_narrower_stops_nothing(
    cluster: Cluster, origin: Origin, destination: str, value: dict[str, Any], code: int, named: str
) -> None:
    path = f"/{destination}/slow"
    link, gate = origin.put(path, b"x"), origin.gate(path)
    try:
        job = cluster.api.download(type="single", bucket={"name": destination}, link=link)
        answer = cluster.api.call("PUT", "/v1/cluster", {"action": "stop", "value": {"kind": "download"} | value})
        assert (answer.status_code, named in answer.json()["message"]) == (code, True), answer.text
    finally:
        gate.release()
    assert not ended(cluster.api, job)["aborted"]


def test_what_clients_say_at_a_stop_is_known(cluster: Cluster, origin: Origin, destination: str) -> None:
    path = f"/{destination}/slow"
    link, gate = origin.put(path, b"x"), origin.gate(path)
    nothing = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}
    try:
        job = cluster.api.download(type="single", bucket={"name": destination}, link=link)
        value = {
            "ID": job,
            "Kind": "",
            "DaemonID": "",
            "Bck": nothing,
            "Buckets": None,
            "Timeout": 0,
            "Flags": 0,
            "Force": False,
            "OnlyRunning": False,
        }
        answer = cluster.api.call("PUT", "/v1/cluster", {"action": "stop", "name": "", "value": value})
        assert answer.status_code == 200, answer.text
        assert ended(cluster.api, job)["aborted"]
    finally:
        gate.release()
