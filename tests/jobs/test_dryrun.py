"""Dry runs: what would be fetched, without fetching, storing or remembering anything."""

from typing import Any

import pytest

from tests.cluster import Api, Cluster
from tests.origin import Origin


def dry(api: Api, **job: Any) -> dict[str, Any]:
    response = api.call("POST", "/v1/download", {"bucket": {"name": "dry"}, "dry_run": True, **job})
    assert response.status_code == 200, response.text
    return dict(response.json())


def methods(origin: Origin, prefix: str) -> set[str]:
    return {request.method for request in list(origin.requests) if request.path.startswith(prefix)}


def test_counts_objects_and_bytes_and_leaves_no_trace(api: Api, origin: Origin) -> None:
    for n in range(20):
        origin.put(f"/dry/{n:02}.bin", b"d" * 1000)
    jobs = len(api.call("GET", "/v1/download").json())
    found = dry(api, type="range", template=origin.url("/dry/{00..24}.bin"), subdir="dry")
    assert (found["objects"], found["checked"], found["present"], found["to_fetch"]) == (25, 25, 0, 25)
    assert (found["bytes"], found["bytes_known"], found["asked"]) == (20_000, 20, 25)
    assert found["error_cnt"] == 5
    assert {error["name"] for error in found["errors"]} == {f"dry/{n}.bin" for n in range(20, 25)}
    assert methods(origin, "/dry/") == {"HEAD"}
    assert len(api.call("GET", "/v1/download").json()) == jobs
    assert api.call("HEAD", "/v1/buckets/dry").status_code == 404


def test_what_is_there_already_is_not_asked_for(api: Api, origin: Origin) -> None:
    for n in range(10):
        origin.put(f"/have/{n}.bin", b"h" * 10)
    template = origin.url("/have/{0..9}.bin")
    api.finished(api.download(type="range", template=origin.url("/have/{0..5}.bin"), subdir="have"))
    origin.requests.clear()
    found = dry(api, type="range", template=template, subdir="have", bucket={"name": "b"})
    assert (found["present"], found["present_bytes"], found["to_fetch"], found["bytes"]) == (6, 60, 4, 40)
    assert found["asked"] == 4


def test_sizes_that_the_job_knows_need_no_origin(api: Api, origin: Origin) -> None:
    objects = {f"k{n}": {"link": origin.url(f"/known/{n}"), "size": 7} for n in range(5)}
    found = dry(api, type="multi", objects=objects)
    assert (found["to_fetch"], found["bytes"], found["bytes_known"], found["asked"]) == (5, 35, 5, 0)
    assert methods(origin, "/known/") == set()


def test_objects_with_digests_and_no_size_are_asked_for(api: Api, origin: Origin) -> None:
    objects = {f"d{n}": {"link": origin.put(f"/digests/{n}", b"d" * 9), "sha256": "0" * 64} for n in range(4)}
    found = dry(api, type="multi", objects=objects)
    assert (found["asked"], found["bytes"], found["error_cnt"]) == (4, 36, 0)


def test_a_long_list_is_no_more_work_for_origins_than_a_template(api: Api, origin: Origin) -> None:
    origin.serve_pattern("/long/", lambda path: b"l" * 10)
    before = sum(origin.counts().values())
    found = dry(api, type="multi", objects=[origin.url(f"/long/{n:05}") for n in range(20_000)])
    assert found["checked"] == 20_000
    assert found["asked"] == sum(origin.counts().values()) - before
    assert 0 < found["asked"] <= 3 * 256
    assert found["bytes_estimate"] == 200_000


def test_of_many_objects_a_sample_is_asked(api: Api, origin: Origin) -> None:
    origin.serve_pattern("/sample/", lambda path: b"s" * 100)
    found = dry(api, type="range", template=origin.url("/sample/{0000..2999}"), subdir="s")
    assert found["objects"] == found["checked"] == 3000
    assert found["asked"] <= 3 * 256
    assert found["bytes_estimate"] == 300_000


def test_where_nothing_may_be_dialled_nothing_is(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> None:
    link = origin.put("/forbidden", b"f")
    with Cluster(tmp_path_factory.mktemp("closed"), targets=1, mountpaths=1, allow_origins=()) as closed:
        before = origin.connections
        found = dry(closed.api, type="single", object_name="x", link=link)
        assert found["error_cnt"] == 1
        assert "egress blocked" in found["errors"][0]["error"]
        assert origin.connections == before


@pytest.mark.parametrize("value", ["yes", 1, [True]])
def test_dry_run_is_true_or_false(api: Api, value: object) -> None:
    job = {"type": "single", "bucket": {"name": "dry"}, "link": "http://127.0.0.1:1/x", "dry_run": value}
    response = api.call("POST", "/v1/download", job)
    assert response.status_code == 400
    assert "dry_run" in response.json()["message"]


@pytest.mark.parametrize("field", ["dry_run", "dry-run", "maxDelete"])
def test_a_dry_run_that_is_asked_for_in_the_query_starts_nothing(api: Api, field: str) -> None:
    before = api.call("GET", "/v1/download", {}).json()
    job = {"type": "single", "bucket": {"name": "dry"}, "link": "http://127.0.0.1:1/x"}
    response = api.call("POST", f"/v1/download?{field}=true", job)
    assert response.status_code == 400
    assert "belongs into the body" in response.json()["message"]
    assert api.call("GET", "/v1/download", {}).json() == before
