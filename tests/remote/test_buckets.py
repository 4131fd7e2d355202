"""Buckets that are outside as clients see them: found when first used, shown, evicted; and as backends of others."""

from __future__ import annotations

import pytest

from common.access import Permission
from tests.cluster import Cluster
from tests.remote.asking import problem, props, set_backend

CREATE, DESTROY, EVICT = ({"action": action} for action in ("create-bck", "destroy-bck", "evict-remote-bck"))


def listed(cluster: Cluster, query: str = "") -> set[str]:
    answer = cluster.api.call("GET", f"/v1/buckets?{query}", {"action": "list"})
    assert answer.status_code == 200, answer.text
    return {f"{bucket['provider']}/{bucket['name']}" for bucket in answer.json()}


def test_a_bucket_is_recorded_when_it_is_first_used(cluster: Cluster, bucket: str) -> None:
    unrecorded = props(cluster, bucket, "provider=s3&dont_add_remote_bck_md=true")
    assert (unrecorded["provider"], unrecorded["bid"]) == ("aws", "0")
    absent = cluster.api.call("HEAD", f"/v1/buckets/{bucket}?provider=aws&presence=2")
    assert absent.status_code == 404
    assert f"aws/{bucket}" not in listed(cluster)
    found = props(cluster, bucket, "provider=aws")
    assert found["bid"] != "0"
    assert props(cluster, bucket, "provider=aws&presence=2") == found
    assert f"aws/{bucket}" in listed(cluster, "presence=2")
    assert f"aws/{bucket}" in listed(cluster, "provider=s3")
    assert f"aws/{bucket}" not in listed(cluster, "provider=ais")
    assert listed(cluster, "presence=5") == set()


def test_a_bucket_that_is_nowhere_is_named_as_its_service_does(cluster: Cluster) -> None:
    for method, path in [
        ("HEAD", "/v1/buckets/nowhere-at-all?provider=aws"),
        ("GET", "/v1/objects/nowhere-at-all/x?provider=aws"),
    ]:
        assert problem(cluster.api.call(method, path)) == (404, "ErrRemoteBckNotFound")
    missing = cluster.api.call("POST", "/v1/buckets/nowhere-at-all?provider=aws", CREATE)
    assert problem(missing) == (404, "ErrRemoteBckNotFound")
    assert "s3://nowhere-at-all" in missing.json()["message"]
    assert "aws/nowhere-at-all" not in listed(cluster)


def test_a_bucket_of_a_provider_without_a_backend(cluster: Cluster) -> None:
    assert cluster.api.call("HEAD", "/v1/buckets/some?provider=oci").status_code == 404


def test_the_clouds_that_can_be_reached_are_told(cluster: Cluster) -> None:
    assert cluster.api.call("GET", "/v1/cluster?what=backends").json() == ["aws", "azure", "gcp"]


def test_a_bucket_can_be_recorded_on_demand_once(cluster: Cluster, bucket: str) -> None:
    path = f"/v1/buckets/{bucket}?provider=aws"
    assert cluster.api.call("POST", path, CREATE).status_code == 200
    assert problem(cluster.api.call("POST", path, CREATE)) == (409, "ErrBucketAlreadyExists")


def test_a_bucket_of_a_cloud_is_evicted_and_not_destroyed(cluster: Cluster, bucket: str) -> None:
    path = f"/v1/buckets/{bucket}?provider=aws"
    first = props(cluster, bucket, "provider=aws")
    refused = cluster.api.call("DELETE", path, DESTROY)
    assert problem(refused) == (405, "ErrUnsupp")
    assert "destroy cloud bucket" in refused.json()["message"]
    assert cluster.api.call("DELETE", f"{path}&keep_bck_md=True", EVICT).status_code == 200
    assert f"aws/{bucket}" in listed(cluster)
    assert cluster.api.call("DELETE", f"{path}&keep_bck_md=False", EVICT).status_code == 200
    assert f"aws/{bucket}" not in listed(cluster)
    assert problem(cluster.api.call("DELETE", path, EVICT)) == (404, "ErrBckNotFound")
    assert int(props(cluster, bucket, "provider=aws")["bid"]) > int(first["bid"])


def test_what_may_not_be_done_to_a_bucket_that_is_outside(cluster: Cluster, bucket: str) -> None:
    path = f"/v1/buckets/{bucket}?provider=aws"
    everything = int(props(cluster, bucket, "provider=aws")["access"])
    named = {"objnames": ["o"]}
    for denied, method, action, value in (
        (Permission.DESTROY_BUCKET, "DELETE", "evict-remote-bck", None),
        (Permission.DELETE_OBJECT, "DELETE", "evict-listrange", named),
        (Permission.GET, "POST", "prefetch-listrange", named),
    ):
        change = {"action": "set-bprops", "value": {"access": str(everything & ~denied)}}
        assert cluster.api.call("PATCH", path, change).status_code == 200
        refused = cluster.api.call(method, path, {"action": action, "value": value})
        assert refused.status_code == 403
        assert str(denied.name).replace("_", "-") in refused.json()["message"]
    assert f"aws/{bucket}" in listed(cluster)


def test_what_is_only_here_is_not_evicted(cluster: Cluster) -> None:
    cluster.api.create_bucket("only-here")
    refused = cluster.api.call("DELETE", "/v1/buckets/only-here", EVICT)
    assert refused.status_code == 400
    assert "ais://only-here" in refused.json()["message"]


class TestBackendOfAnother:
    """`backend_bck`, as the command line of AIStore sets and compares it (wire.md §9.2)."""

    def test_it_is_shown_as_it_was_set_and_detached_again(self, cluster: Cluster, bucket: str) -> None:
        cluster.api.create_bucket(f"front-{bucket}")
        before = props(cluster, f"front-{bucket}")
        assert before["backend_bck"] == {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}
        assert set_backend(cluster, f"front-{bucket}", bucket).status_code == 200
        after = props(cluster, f"front-{bucket}")
        backend = {"name": bucket, "provider": "aws", "namespace": {"uuid": "", "name": ""}}
        assert after == {**before, "backend_bck": backend}
        assert f"aws/{bucket}" in listed(cluster)
        assert set_backend(cluster, f"front-{bucket}", "", "").status_code == 200
        assert props(cluster, f"front-{bucket}") == before

    def test_it_must_be_there(self, cluster: Cluster) -> None:
        cluster.api.create_bucket("front-of-nothing")
        assert problem(set_backend(cluster, "front-of-nothing", "nowhere-at-all")) == (404, "ErrRemoteBckNotFound")
        assert set_backend(cluster, "front-of-nothing", "front-of-nothing", "ais").status_code == 400
        assert props(cluster, "front-of-nothing")["backend_bck"]["name"] == ""

    def test_a_bucket_that_is_outside_has_no_other(self, cluster: Cluster, bucket: str) -> None:
        body = {"action": "set-bprops", "value": {"backend_bck": {"name": bucket, "provider": "aws"}}}
        assert cluster.api.call("PATCH", f"/v1/buckets/{bucket}?provider=aws", body).status_code == 400

    def test_it_can_be_given_when_the_bucket_is_made(self, cluster: Cluster, bucket: str) -> None:
        value = {"backend_bck": {"name": bucket, "provider": "s3"}}
        answer = cluster.api.call("POST", f"/v1/buckets/made-{bucket}", {**CREATE, "value": value})
        assert answer.status_code == 200, answer.text
        assert props(cluster, f"made-{bucket}")["backend_bck"]["provider"] == "aws"


def test_other_properties_are_kept_and_reset(cluster: Cluster, bucket: str) -> None:
    path = f"/v1/buckets/{bucket}?provider=aws"
    for value in ({"mirror": {"enabled": True}}, {"mirror": {"copies": 3}, "lru": {"enabled": True}}):
        assert cluster.api.call("PATCH", path, {"action": "set-bprops", "value": value}).status_code == 200
    shown = props(cluster, bucket, "provider=aws")
    assert shown["mirror"] == {"copies": 3, "burst_buffer": 512, "enabled": True}
    assert shown["lru"]["enabled"]
    refused = {"action": "set-bprops", "value": {"mirror": {"enable": True}}}
    assert cluster.api.call("PATCH", path, refused).status_code == 400
    assert cluster.api.call("PATCH", path, {"action": "reset-bprops"}).status_code == 200
    assert not props(cluster, bucket, "provider=aws")["mirror"]["enabled"]


@pytest.mark.parametrize("value", [{"backend_bck": 5}, {"backend_bck": {"name": 5}}, {"nonesuch": {}}, []])
def test_properties_that_mean_nothing(cluster: Cluster, value: object) -> None:
    cluster.api.call("POST", "/v1/buckets/strict", CREATE)
    answer = cluster.api.call("PATCH", "/v1/buckets/strict", {"action": "set-bprops", "value": value})
    assert answer.status_code == 400
