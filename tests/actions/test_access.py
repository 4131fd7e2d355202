"""A bucket's properties as clients set and read them, and what its `access` keeps them from."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from common.buckets import BucketTable, check_properties, merged_properties
from common.errors import InvalidRequest
from common.names import Bucket
from tests.actions.acting import act, fill
from tests.cluster import Api, Cluster

ALL = (1 << 64) - 1
GET, HEAD, PUT, APPEND, DELETE, MOVE_OBJECT = (1 << bit for bit in range(6))
HEAD_BUCKET, LIST, DESTROY, MOVE = (1 << bit for bit in (8, 9, 15, 16))


def set_properties(api: Api, bucket: str, value: dict[str, Any]) -> None:
    answer = api.call("PATCH", f"/v1/buckets/{bucket}", {"action": "set-bprops", "value": value})
    assert answer.status_code == 200, answer.text


def properties(api: Api, bucket: str) -> dict[str, Any]:
    return dict(json.loads(api.call("HEAD", f"/v1/buckets/{bucket}").headers["Ais-Bucket-Props"]))


def test_all_that_is_set_is_shown(cluster: Cluster, source: str) -> None:
    cluster.api.create_bucket(source)
    before = properties(cluster.api, source)
    changes = {
        "versioning": {"enabled": False, "validate_warm_get": True},
        "checksum": {"type": "sha256", "validate_warm_get": True},
        "mirror": {"enabled": True, "copies": 3},
        "lru": {"enabled": True, "dont_evict_time": "10m"},
        "rate_limit": {"backend": {"enabled": True}},
        "chunks": {"chunk_size": "64MiB"},
        "write_policy": {"md": "never"},
        "extra": {"aws": {"cloud_region": "eu"}},
        "access": str(ALL & ~PUT),
        "features": "2",
        "force": True,
    }
    set_properties(cluster.api, source, changes)
    shown = properties(cluster.api, source)
    for section in ("versioning", "checksum", "mirror", "lru", "chunks", "write_policy"):
        assert shown[section] == before[section] | changes[section]
    assert shown["rate_limit"]["backend"] == before["rate_limit"]["backend"] | {"enabled": True}
    assert shown["rate_limit"]["frontend"] == before["rate_limit"]["frontend"]
    assert (shown["access"], shown["features"]) == (changes["access"], "2")
    assert shown["extra"] == before["extra"] | {"aws": {"cloud_region": "eu"}}
    set_properties(cluster.api, source, {key: value for key, value in shown.items() if key not in _READ_ONLY})
    assert properties(cluster.api, source) == shown
    bmd = cluster.api.call("GET", "/v1/daemon?what=bmd").json()
    assert bmd["providers"]["ais"]["@#"][source] == shown
    assert cluster.api.call("PATCH", f"/v1/buckets/{source}", {"action": "reset-bprops"}).status_code == 200
    assert properties(cluster.api, source) == before


_READ_ONLY = frozenset({"provider", "Renamed", "bid", "created", "backend_bck"})


@pytest.mark.parametrize(
    "value",
    [
        {"access": "x"},
        {"access": -1},
        {"access": str(1 << 64)},
        {"access": True},
        {"access": "9" * 5000},
        {"mirror": {"copies": "two"}},
        {"mirror": {"enabled": 1}},
        {"mirror": {"copies": -1}},
        {"rate_limit": {"backend": 5}},
        {"rate_limit": {"nonesuch": {}}},
        {"checksum": {"type": True}},
        {"checksum": {"type": "x" * 500}},
        {"extra": {"custom": "x" * 20_000}},
        {"extra": []},
        {"extra": {"custom": json.loads("[" * 600 + "]" * 600)}},
        {"extra": {"custom": "\ud800"}},
        {"extra": {"custom": 1 << 70}},
        {"lru": {"dont_evict_time": "\ud800"}},
    ],
)
def test_values_that_no_property_has(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        check_properties(value)


def test_a_change_leaves_the_defaults_as_they_are() -> None:
    changes = check_properties({"rate_limit": {"backend": {"enabled": True}}})
    table = BucketTable().with_bucket(Bucket("a"), 1, merged_properties({}, changes)).with_bucket(Bucket("b"), 2, {})
    assert table.get(Bucket("a")).to_bprops()["rate_limit"]["backend"]["enabled"] is True
    assert table.get(Bucket("b")).to_bprops()["rate_limit"]["backend"]["enabled"] is False


def test_what_access_does_not_permit_is_refused(cluster: Cluster, source: str, destination: str) -> None:
    (name, data), *_ = fill(cluster, source, 2).items()
    api, path = cluster.api, f"/v1/objects/{source}/{name}"
    bucket = f"/v1/buckets/{source}"

    def download() -> httpx.Response:
        return api.call("POST", "/v1/download", {"bucket": {"name": source}, "type": "single", "link": "http://x/y"})

    def delete_some() -> httpx.Response:
        return api.call("DELETE", bucket, {"action": "delete-listrange", "value": {"objnames": [name]}})

    def rename() -> httpx.Response:
        return api.call("POST", path, {"action": "rename-obj", "name": "new"})

    refused = {
        GET: [lambda: api.http.get(path), lambda: act(api, source, "copy-bck", {}, to=destination)],
        HEAD: [lambda: api.http.head(path)],
        PUT: [lambda: api.http.put(path, content=b"x"), download],
        DELETE: [lambda: api.http.delete(path), delete_some],
        APPEND: [lambda: api.http.put(f"{path}?append_type=append", content=b"x")],
        MOVE_OBJECT: [rename],
        HEAD_BUCKET: [lambda: api.call("HEAD", bucket)],
        LIST: [lambda: api.call("GET", bucket, {"action": "list", "value": {}})],
        DESTROY: [lambda: api.call("DELETE", bucket, {"action": "destroy-bck"})],
        MOVE: [lambda: act(api, source, "move-bck", to=destination)],
    }
    for bit, requests in refused.items():
        set_properties(api, source, {"access": str(ALL & ~bit)})
        for request in requests:
            answer = request()
            assert answer.status_code == 403, (bit, answer.text)
            assert f'bucket \\"ais://{source}\\": access denied' in answer.headers.get("hdr-error", answer.text)
    set_properties(api, source, {"access": str(ALL)})
    assert api.http.get(path).content == data
    assert api.call("HEAD", f"/v1/buckets/{destination}").status_code == 404


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "POST", "PUT"])
def test_a_copy_that_is_none_needs_what_the_request_does(
    cluster: Cluster, source: str, destination: str, method: str
) -> None:
    """The name of a copy beside another request, or spelled so that only the proxy would take it for one."""
    (name, data), *_ = fill(cluster, source, 1).items()
    cluster.api.create_bucket(destination)
    set_properties(cluster.api, source, {"access": str(ALL & ~PUT & ~DELETE)})
    key = "%6fbject_to" if method == "PUT" else "object_to"
    content = json.dumps({"action": "rename-obj", "name": "new", "value": {"a": "b"}} if method == "POST" else {})
    path = f"/v1/objects/{source}/{name}?{key}=ais/@%23/{destination}/copy"
    answer = cluster.api.http.request(method, path, content=content)
    assert answer.status_code == (200 if method == "PUT" else 403), answer.text
    assert cluster.api.get(source, name).content == data
    assert [entry["name"] for entry in cluster.api.list(destination)] == (["copy"] if method == "PUT" else [])


def test_bodies_that_are_nested_too_deeply_are_refused(cluster: Cluster) -> None:
    for url in (cluster.api.url, cluster.urls["t1"]):
        for path in ("/v1/daemon", "/v1/daemon/mountpaths"):
            assert cluster.api.http.put(url + path, content=b"[" * 50_000).status_code == 400, (url, path)
