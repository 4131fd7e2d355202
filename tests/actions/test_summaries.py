"""How much is in buckets, asked as AIStore's clients ask: started, then asked for until it is known."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.actions.acting import fill, summary
from tests.cluster import Api, Cluster
from tests.waiting import wait_for


def info(api: Api, path: str, **query: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    started = api.http.head(path, params={"bsumm_remote": "False", **query})
    assert started.status_code == 202
    asked = {"bsumm_remote": "False", **query, "uuid": started.headers["Ais-Xaction-Id"]}

    def ask() -> httpx.Response | None:
        answer = api.http.head(path.split("?", maxsplit=1)[0], params=asked)
        assert answer.status_code in (200, 202, 206)
        return answer if answer.status_code == 200 else None

    done = wait_for(ask, what="the summary")
    return json.loads(started.headers["Ais-Bucket-Props"]), json.loads(done.headers["Ais-Bucket-Summ"])


def test_objects_and_sizes_are_counted(cluster: Cluster, source: str) -> None:
    made = fill(cluster, source, 50)
    sizes = [len(data) for data in made.values()]
    (found,) = summary(cluster.api, f"/v1/buckets/{source}?provider=ais", uuid="", prefix="", cached=True, present=True)
    assert (found["name"], found["provider"], found["is_present"]) == (source, "ais", True)
    assert found["ObjCount"] == {"obj_count_present": "50", "obj_count_remote": "0"}
    assert found["ObjSize"] == {
        "obj_min_size": min(sizes),
        "obj_avg_size": sum(sizes) // 50,
        "obj_max_size": max(sizes),
    }
    assert (found["TotalSize"]["size_all_present_objs"], found["TotalSize"]["size_all_remote_objs"]) == (
        str(sum(sizes)),
        "0",
    )
    assert int(found["TotalSize"]["total_disks_size"]) > 0


def test_a_part_of_a_bucket_and_another_proxy(cluster: Cluster, source: str) -> None:
    made = fill(cluster, source, 50)
    other = Api(cluster.urls["p2"])
    try:
        (found,) = summary(cluster.api, f"/v1/buckets/{source}", other, prefix="d1/")
    finally:
        other.close()
    expected = [data for name, data in made.items() if name.startswith("d1/")]
    assert found["ObjCount"]["obj_count_present"] == str(len(expected))
    assert found["TotalSize"]["size_all_present_objs"] == str(sum(map(len, expected)))


def test_all_buckets_and_empty_ones(cluster: Cluster, source: str, destination: str) -> None:
    fill(cluster, source, 5)
    cluster.api.create_bucket(destination)
    found = {one["name"]: one for one in summary(cluster.api, "/v1/buckets?provider=ais")}
    assert found[source]["ObjCount"]["obj_count_present"] == "5"
    assert found[destination]["ObjCount"]["obj_count_present"] == "0"
    assert found[destination]["ObjSize"] == {"obj_min_size": 0, "obj_avg_size": 0, "obj_max_size": 0}


def test_in_headers(cluster: Cluster, source: str) -> None:
    fill(cluster, source, 50)
    properties, found = info(cluster.api, f"/v1/buckets/{source}", presence=0)
    assert properties["provider"] == "ais"
    assert found["ObjCount"]["obj_count_present"] == "50"
    _, below = info(cluster.api, f"/v1/buckets/{source}/d1/")
    assert below["ObjCount"]["obj_count_present"] == "10"


def test_a_target_that_has_forgotten_a_summary_counts_again(cluster: Cluster, source: str) -> None:
    fill(cluster, source, 30)
    path = f"/v1/buckets/{source}"
    (found,) = summary(cluster.api, path)
    (again,) = wait_for(
        lambda: cluster.api.call("GET", path, {"action": "summary-bck", "value": {"uuid": "sunknown"}}).json(),
        what="a summary under an id that no target knows",
    )
    assert again == found


def test_what_is_refused(cluster: Cluster, source: str) -> None:
    cluster.api.create_bucket(source)
    for path, value, code in (
        (f"/v1/buckets/{source}", {"uuid": "a/b"}, 400),
        (f"/v1/buckets/{source}", {"nonesuch": 1}, 400),
        (f"/v1/buckets/{source}", [], 400),
        ("/v1/buckets/nonesuch", {}, 404),
    ):
        answer = cluster.api.call("GET", path, {"action": "summary-bck", "value": value})
        assert answer.status_code == code, answer.text
    assert cluster.api.call("GET", f"/v1/buckets/{source}/x", {"action": "list"}).status_code == 400
    assert cluster.api.call("HEAD", f"/v1/buckets/{source}/x").status_code == 400
