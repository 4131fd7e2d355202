"""Listings of buckets that have a backend: what is there, page by page, and which of it is here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from tests.cluster import Cluster
from tests.remote.asking import props, set_backend
from tests.remote.recording import Recorder

CACHED_ONLY, NAME_ONLY, NOT_ADDED, NOT_CACHED, ONLY_OUTSIDE, NOT_RECURSIVE = "1", "16", "256", "512", "1024", "2048"
CACHED, DIRECTORY = 64, 256
NAMES = ["a-", "a/1", "a/2", "a/3", "a/b/1", "b", "c/1", "c/2", "d", "ü"]


@pytest.fixture
def filled(s3: Any, bucket: str, cluster: Cluster) -> str:
    """A bucket with ten objects, of which `a/2` and `ü` are here."""
    for name in ("a/1", "a/2", "a/3", "a/b/1", "a-", "b", "c/1", "c/2", "d", "ü"):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode() * 3)
    for name in ("a/2", "ü"):
        assert cluster.api.http.get(f"/v1/objects/{bucket}/{name}?provider=aws").status_code == 200
    return bucket


def pages(cluster: Cluster, bucket: str, **message: Any) -> Iterator[list[dict[str, Any]]]:
    return cluster.api.pages(f"{bucket}?provider=aws", **message)


def listed(cluster: Cluster, bucket: str, **message: Any) -> list[dict[str, Any]]:
    return [entry for page in pages(cluster, bucket, **message) for entry in page]


def flags(entries: list[dict[str, Any]]) -> dict[str, int]:
    return {entry["name"]: entry.get("flags", 0) for entry in entries}


def test_what_is_outside_is_listed_with_what_is_here(cluster: Cluster, filled: str) -> None:
    entries = listed(cluster, filled)
    assert [entry["name"] for entry in entries] == NAMES
    assert {name for name, one in flags(entries).items() if one == CACHED} == {"a/2", "ü"}
    assert {entry["name"]: entry["size"] for entry in entries} == {name: str(len(name.encode()) * 3) for name in NAMES}


def test_page_by_page(cluster: Cluster, filled: str) -> None:
    found = list(pages(cluster, filled, pagesize=3))
    assert [len(page) for page in found] == [3, 3, 3, 1]
    assert [entry["name"] for page in found for entry in page] == NAMES
    assert {name for page in found for name, one in flags(page).items() if one} == {"a/2", "ü"}


def test_a_prefix(cluster: Cluster, filled: str) -> None:
    assert [entry["name"] for entry in listed(cluster, filled, prefix="a/")] == NAMES[1:5]
    assert listed(cluster, filled, prefix="nothing") == []


def test_properties_of_both(cluster: Cluster, filled: str) -> None:
    wanted = "name,size,checksum,atime,version,location,custom,copies"
    entries = {entry["name"]: entry for entry in listed(cluster, filled, props=wanted, prefix="a/")}
    assert {"checksum", "atime", "location", "copies"} <= entries["a/2"].keys()
    assert entries["a/2"]["location"].startswith("t[t")
    assert {"checksum", "atime", "location", "copies"}.isdisjoint(entries["a/1"])
    assert entries["a/1"]["custom-md"].startswith("[source:aws ETag:")


def test_only_what_is_here_or_what_is_not(cluster: Cluster, recorder: Recorder, filled: str) -> None:
    asked = len(recorder.seen)
    assert flags(listed(cluster, filled, flags=CACHED_ONLY, pagesize=1)) == {"a/2": CACHED, "ü": CACHED}
    assert len(recorder.seen) == asked
    absent = [name for name in NAMES if name not in ("a/2", "ü")]
    assert flags(listed(cluster, filled, flags=NOT_CACHED, pagesize=4)) == dict.fromkeys(absent, 0)
    assert set(flags(listed(cluster, filled, flags=ONLY_OUTSIDE)).values()) == {0}


def test_one_level_at_a_time(cluster: Cluster, filled: str) -> None:
    for pagesize in (0, 2):
        top = listed(cluster, filled, flags=NOT_RECURSIVE, pagesize=pagesize)
        assert sorted(flags(top).items()) == [
            *(("a-", 0), ("a/", DIRECTORY), ("b", 0), ("c/", DIRECTORY), ("d", 0), ("ü", CACHED)),
        ]
        assert len(top) == 6
    below = listed(cluster, filled, flags=NOT_RECURSIVE, prefix="a/")
    assert flags(below) == {"a/b/": DIRECTORY, "a/1": 0, "a/2": CACHED, "a/3": 0}


def test_what_a_service_shows_as_a_folder_is_no_object(cluster: Cluster, s3: Any, bucket: str) -> None:
    for name in ("folder/", "folder/one", "bad/../name"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    assert [entry["name"] for entry in listed(cluster, bucket)] == ["bad/../name", "folder/one"]


def test_in_msgpack_as_the_sdk_reads_it(cluster: Cluster, filled: str) -> None:
    body = {"action": "list", "value": {"prefix": "a/", "pagesize": 3}}
    path = f"/v1/buckets/{filled}?provider=aws"
    answer = cluster.api.http.request("GET", path, json=body, headers={"Accept": "application/msgpack"})
    page = msgpack.unpackb(answer.content)
    assert page["UUID"]
    assert page["ContinuationToken"]
    assert page["Entries"] == [{"n": "a/1", "s": 9}, {"n": "a/2", "s": 9, "f": CACHED}, {"n": "a/3", "s": 9}]


def test_a_bucket_that_has_it_as_its_backend(cluster: Cluster, filled: str) -> None:
    front = f"front-{filled}"
    cluster.api.create_bucket(front)
    cluster.api.put(front, "only-here", b"1")
    assert set_backend(cluster, front, filled).status_code == 200
    assert cluster.api.get(front, "b").status_code == 200
    entries = flags(cluster.api.list(front))
    assert list(entries) == NAMES
    assert {name for name, one in entries.items() if one} == {"b"}
    assert set(flags(cluster.api.list(front, flags=CACHED_ONLY))) == {"b", "only-here"}


def test_what_a_listing_refuses(cluster: Cluster, filled: str) -> None:
    cluster.api.create_bucket(f"plain-{filled}")
    for bucket, value in [
        (f"{filled}?provider=aws", {"start_after": "a"}),
        (f"{filled}?provider=aws", {"continuation_token": "no token of ours"}),
        (f"{filled}?provider=aws", {"flags": str(1 | 512)}),
        (f"plain-{filled}", {"flags": NOT_CACHED}),
    ]:
        answer = cluster.api.call("GET", f"/v1/buckets/{bucket}", {"action": "list", "value": value})
        assert answer.status_code == 400, value


def test_listing_records_the_bucket_unless_told_otherwise(cluster: Cluster, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="one", Body=b"1")
    unrecorded = "provider=aws&dont_add_remote_bck_md=true"
    assert flags(listed(cluster, bucket, flags=NOT_ADDED)) == {"one": 0}
    assert props(cluster, bucket, unrecorded)["bid"] == "0"
    assert flags(listed(cluster, bucket)) == {"one": 0}
    assert props(cluster, bucket, unrecorded)["bid"] != "0"


def test_a_service_that_is_busy_fails_the_page(cluster: Cluster, recorder: Recorder, filled: str) -> None:
    recorder.is_busy = True
    try:
        body = {"action": "list", "value": {}}
        assert cluster.api.call("GET", f"/v1/buckets/{filled}?provider=aws", body).status_code == 503
        cached = {"action": "list", "value": {"flags": CACHED_ONLY}}
        assert cluster.api.call("GET", f"/v1/buckets/{filled}?provider=aws", cached).status_code == 200
    finally:
        recorder.is_busy = False
