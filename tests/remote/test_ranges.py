"""Many objects at once: evicted, deleted, prefetched; by name, by template, by prefix."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.cluster import Cluster
from tests.remote.asking import problem, set_backend
from tests.remote.recording import Recorder

NAMES = ["a/1", "a/2", "a/3", "b", "100%", "d?#e", "ü/x y"]


@pytest.fixture
def filled(s3: Any, bucket: str) -> str:
    for name in NAMES:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    return bucket


def act(cluster: Cluster, action: str, bucket: str, value: object) -> httpx.Response:
    method = "POST" if action == "prefetch" else "DELETE"
    return cluster.api.call(method, f"/v1/buckets/{bucket}", {"action": f"{action}-listrange", "value": value})


def here(cluster: Cluster, bucket: str) -> list[str]:
    """What is in the cluster of a bucket."""
    return [entry["name"] for entry in cluster.api.list(bucket, flags="1")]


def prefetched(cluster: Cluster, bucket: str, value: object) -> dict[str, Any]:
    answer = act(cluster, "prefetch", bucket, value)
    assert answer.status_code == 200, answer.text
    return cluster.api.finished(answer.text)


def test_named_objects_are_fetched_and_kept(cluster: Cluster, recorder: Recorder, filled: str) -> None:
    remote = f"{filled}?provider=aws"
    status = prefetched(cluster, remote, {"objnames": NAMES})
    assert (status["finished_cnt"], status["error_cnt"]) == (len(NAMES), 0)
    assert here(cluster, remote) == sorted(NAMES, key=str.encode)
    asked = len(recorder.seen)
    for name in ("a/1", "b"):
        assert cluster.api.http.get(f"/v1/objects/{filled}/{name}?provider=aws").content == name.encode()
    assert len(recorder.seen) == asked
    again = prefetched(cluster, remote, {"objnames": NAMES, "latest-ver": True})
    assert (again["finished_cnt"], again["skipped_cnt"]) == (len(NAMES), len(NAMES))


def test_what_a_reader_has_had_fetched_is_known_to_a_prefetch(cluster: Cluster, filled: str) -> None:
    for name in ("a/1", "a/2"):
        assert cluster.api.http.get(f"/v1/objects/{filled}/{name}?provider=aws").status_code == 200
    status = prefetched(cluster, f"{filled}?provider=aws", {"template": "a/{1..3}"})
    assert (status["finished_cnt"], status["skipped_cnt"]) == (3, 2)


def test_what_is_missing_is_an_error_of_the_job(cluster: Cluster, filled: str) -> None:
    status = prefetched(cluster, f"{filled}?provider=aws", {"objnames": ["b", "nothing"]})
    assert (status["finished_cnt"], status["error_cnt"]) == (1, 1)


def test_by_prefix(cluster: Cluster, filled: str) -> None:
    remote = f"{filled}?provider=aws"
    assert prefetched(cluster, remote, {"template": "a/"})["finished_cnt"] == 3
    assert here(cluster, remote) == ["a/1", "a/2", "a/3"]
    assert prefetched(cluster, remote, {"template": ""})["finished_cnt"] == len(NAMES)
    assert act(cluster, "evict", remote, {"template": "a/"}).status_code == 200
    assert here(cluster, remote) == sorted(set(NAMES) - {"a/1", "a/2", "a/3"}, key=str.encode)
    assert act(cluster, "evict", remote, {"template": ""}).status_code == 200
    assert here(cluster, remote) == []


def test_evicted_objects_are_fetched_again_when_they_are_read(
    cluster: Cluster, recorder: Recorder, filled: str
) -> None:
    remote = f"{filled}?provider=aws"
    prefetched(cluster, remote, {"objnames": NAMES})
    evicted = act(cluster, "evict", remote, {"objnames": ["a/1", "b", "never here"]})
    assert evicted.status_code == 200
    assert here(cluster, remote) == sorted(set(NAMES) - {"a/1", "b"}, key=str.encode)
    assert act(cluster, "evict", remote, {"template": "a/{2..9}"}).status_code == 200
    assert cluster.api.http.get(f"/v1/objects/{filled}/b?provider=aws").content == b"b"
    assert recorder.fetches(filled, "b") == 2


def test_whoever_waits_for_an_eviction_is_told_that_it_is_done(cluster: Cluster, filled: str) -> None:
    evicted = act(cluster, "evict", f"{filled}?provider=aws", {"objnames": ["b"]}).text
    status = cluster.api.call("GET", "/v1/cluster?what=status", {"id": evicted}).json()
    assert (status["kind"], status["uuid"], status["aborted"]) == ("evict-listrange", evicted, False)
    assert status["end_time"] > 0
    assert cluster.api.call("GET", "/v1/cluster?what=qryxstats", {"id": evicted}).status_code == 200
    assert cluster.api.call("GET", "/v1/cluster?what=status", {"id": f"{evicted}x"}).status_code == 404


def test_through_a_bucket_that_has_it_as_its_backend(cluster: Cluster, filled: str) -> None:
    front = f"front-{filled}"
    cluster.api.create_bucket(front)
    assert act(cluster, "prefetch", front, {"objnames": ["b"]}).status_code == 400
    assert set_backend(cluster, front, filled).status_code == 200
    assert prefetched(cluster, front, {"objnames": NAMES})["finished_cnt"] == len(NAMES)
    assert here(cluster, front) == sorted(NAMES, key=str.encode)
    assert act(cluster, "evict", front, {"template": "a/{1..3}"}).status_code == 200
    assert len(here(cluster, front)) == len(NAMES) - 3


def test_what_is_only_here_is_deleted_and_not_evicted(cluster: Cluster, filled: str) -> None:
    plain = f"plain-{filled}"
    cluster.api.create_bucket(plain)
    for name in ("a/1", "a/2", "b"):
        cluster.api.put(plain, name, b"x")
    assert act(cluster, "evict", plain, {"objnames": ["b"]}).status_code == 400
    assert act(cluster, "delete", plain, {"objnames": ["b", "nothing"]}).status_code == 200
    assert act(cluster, "delete", plain, {"template": "a/{1..1}"}).status_code == 200
    assert [entry["name"] for entry in cluster.api.list(plain)] == ["a/2"]
    assert problem(act(cluster, "delete", f"{filled}?provider=aws", {"objnames": ["b"]})) == (501, "ErrUnsupp")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"objnames": "b"},
        {"objnames": [5]},
        {"objnames": ["../x"]},
        {"template": "a/{3..1}"},
        {"template": "a/{1..2}/../x"},
        {"objnames": ["b"], "template": "a"},
        {"objnames": [], "template": ""},
        {"template": "x*2"},
        {"template": "*x"},
        {"template": "a/{1..2}*"},
        {"template": "a/@3"},
        {"template": "a/%02d"},
        {"objnames": ["b"], "coer": "yes"},
        {"objnames": ["b"], "num-workers": "2"},
    ],
)
def test_messages_that_mean_nothing(cluster: Cluster, bucket: str, value: object) -> None:
    for action in ("evict", "prefetch"):
        assert act(cluster, action, f"{bucket}?provider=aws", value).status_code == 400


@pytest.mark.parametrize(
    ("value", "code", "named"),
    [
        ({"objnames": ["a1"], "dry_run": True}, 400, "dry_run"),
        ({"prefix": "x/", "template": ""}, 400, "prefix"),
        ({"template": "s-{00..01}", "prefix": "q"}, 400, "prefix"),
        ({"objnames": ["a1"], "latest-ver": True}, 400, "latest-ver"),
        ({"template": "", "non-recurs": True}, 501, "non-recurs"),
    ],
)
def test_nothing_is_deleted_when_a_message_says_more(
    cluster: Cluster, bucket: str, value: object, code: int, named: str
) -> None:
    plain = f"more-{bucket}"
    cluster.api.create_bucket(plain)
    names = ["a1", "s-00", "x/1"]
    for name in names:
        cluster.api.put(plain, name, b"x")
    answer = act(cluster, "delete", plain, value)
    assert (answer.status_code, named in answer.json()["message"]) == (code, True), answer.text
    assert [entry["name"] for entry in cluster.api.list(plain)] == names


def test_all_that_clients_say_is_known(cluster: Cluster, filled: str) -> None:
    remote = f"{filled}?provider=aws"
    common = {"coer": True, "num-workers": 2, "non-recurs": False}
    value = {"objnames": ["b"], "template": "", "latest-ver": False, "blob-threshold": 1 << 20, **common}
    assert prefetched(cluster, remote, value)["finished_cnt"] == 1
    for selection in ({"objnames": None, "template": "a/*"}, {"ObjNames": ["b"], "continue_on_err": False}):
        answer = act(cluster, "evict", remote, selection | common)
        assert answer.status_code == 200, answer.text
    assert here(cluster, remote) == []
