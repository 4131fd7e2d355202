"""Copies of what is outside of the cluster: fetched into the destination, by jobs that the generic job API shows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.actions.acting import act, contents, ended, snaps, started, summary, total
from tests.cluster import Cluster
from tests.remote.asking import set_backend

NAMES = ["a/1", "a/2", "a/3", "b", "100%", "ü/x y"]


@pytest.fixture
def filled(s3: Any, bucket: str) -> str:
    for name in NAMES:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    return bucket


def copy(cluster: Cluster, bucket: str, to: str, **value: Any) -> Any:
    path = f"/v1/buckets/{bucket}?provider=aws&bck_to=ais/@%23/{to}/"
    return cluster.api.call("POST", path, {"action": "copy-bck", "value": value})


def test_a_remote_bucket_is_copied_with_what_is_not_here_yet(cluster: Cluster, filled: str) -> None:
    job = started(copy(cluster, filled, f"copy-of-{filled}"))
    assert ended(cluster.api, job)["err"] == ""
    assert contents(cluster.api, f"copy-of-{filled}") == {name: name.encode() for name in NAMES}
    assert total(cluster.api, job, "loc-objs") == len(NAMES)


def test_a_part_of_it_below_a_path(cluster: Cluster, filled: str) -> None:
    job = started(copy(cluster, filled, f"copy-of-{filled}", prefix="a/", prepend="x/"))
    assert ended(cluster.api, job)["err"] == ""
    assert sorted(contents(cluster.api, f"copy-of-{filled}")) == ["x/a/1", "x/a/2", "x/a/3"]


def test_some_objects_of_a_bucket_with_a_backend(cluster: Cluster, filled: str) -> None:
    cluster.api.create_bucket(f"front-of-{filled}")
    assert set_backend(cluster, f"front-of-{filled}", filled).status_code == 200
    message = {"objnames": ["b", "100%"], "tobck": {"name": f"copy-of-{filled}"}, "prepend": "p-"}
    job = started(act(cluster.api, f"front-of-{filled}", "copy-listrange", message))
    assert ended(cluster.api, job)["err"] == ""
    assert contents(cluster.api, f"copy-of-{filled}") == {"p-b": b"b", "p-100%": b"100%"}


def test_what_a_copy_of_a_remote_bucket_cannot_do(cluster: Cluster, filled: str) -> None:
    for value in ({"dry_run": True}, {"ext": {"a": "b"}}, {"prepend": "no-path-"}):
        assert copy(cluster, filled, f"copy-of-{filled}", **value).status_code == 501
    answer = cluster.api.call("POST", f"/v1/buckets/{filled}?provider=aws&bck_to=ais/@%23/x/", {"action": "move-bck"})
    assert (answer.status_code, answer.json()["tcode"]) == (501, "ErrUnsupp")
    assert cluster.api.call("HEAD", f"/v1/buckets/copy-of-{filled}").status_code == 404


def test_a_prefetch_is_shown_as_one(cluster: Cluster, filled: str) -> None:
    path = f"/v1/buckets/{filled}?provider=aws"
    message = {"action": "prefetch-listrange", "value": {"objnames": ["a/1", "b"], "coer": False, "latest-ver": False}}
    job = started(cluster.api.call("POST", path, message))
    assert ended(cluster.api, job)["err"] == ""
    of_bucket = {"name": filled, "provider": "aws"}
    for kind in ("prefetch", "prefetch-listrange", "download"):
        found = [snap for of_target in snaps(cluster.api, kind=kind, bck=of_bucket).values() for snap in of_target]
        assert {(snap["id"], snap["kind"]) for snap in found} == {(job, "prefetch-listrange")}
    assert total(cluster.api, job, "loc-bytes") == 4


def test_a_summary_counts_what_is_outside_when_that_is_asked_for(cluster: Cluster, filled: str) -> None:
    assert cluster.api.http.get(f"/v1/objects/{filled}/b?provider=aws").status_code == 200
    path = f"/v1/buckets/{filled}?provider=aws"
    (found,) = summary(cluster.api, path, cached=False, present=False)
    assert found["ObjCount"] == {"obj_count_present": "1", "obj_count_remote": str(len(NAMES))}
    size = sum(len(name.encode()) for name in NAMES)
    assert (found["TotalSize"]["size_all_present_objs"], found["TotalSize"]["size_all_remote_objs"]) == ("1", str(size))
    (here,) = summary(cluster.api, path)
    assert here["ObjCount"]["obj_count_remote"] == "0"
