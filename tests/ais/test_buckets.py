"""`ais create|ls|bucket props|rmb` and what they read: requests in their order, fields with their types (wire.md §2,
§3.5, §9.2)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ais.goapi import GoApi, GoError

PROPERTIES = {
    "backend_bck": dict,
    "write_policy": dict,
    "provider": str,
    "checksum": dict,
    "extra": dict,
    "rate_limit": dict,
    "ec": dict,
    "chunks": dict,
    "mirror": dict,
    "lru": dict,
    "access": str,
    "features": str,
    "bid": str,
    "created": str,
    "versioning": dict,
}


def listed(ais: GoApi, **query: str) -> list[dict[str, Any]]:
    answer = ais.read("GET", "/v1/buckets", query, message={"action": "list", "name": "", "value": None})
    assert isinstance(answer, list)
    return answer


def test_create(ais: GoApi, bucket: str) -> None:
    with pytest.raises(GoError) as raised:
        ais.create_bucket(bucket)
    assert raised.value.status == 409
    assert raised.value.code == "ErrBucketAlreadyExists"
    assert raised.value.message == f'bucket "ais://{bucket}" already exists'


def test_ls_without_a_bucket(ais: GoApi, bucket: str, cloud: str) -> None:
    ais.head_bucket(cloud, "aws", adds=True)
    found = listed(ais, presence="2")
    own = {"name": bucket, "provider": "ais"}
    remote = {"name": cloud, "provider": "aws"}
    flat = [{name: of[name] for name in ("name", "provider")} for of in found]
    assert own in flat
    assert remote in flat
    assert all(of.get("namespace", {}).get("uuid", "") == "" for of in found)
    assert flat == sorted(flat, key=lambda of: (of["provider"], of["name"]))


def test_ls_all(ais: GoApi, bucket: str) -> None:
    assert bucket in [of["name"] for of in listed(ais, presence="0", provider="ais")]
    assert ais.cluster("remote")["a"] is None
    bmd = ais.read("GET", "/v1/daemon", {"what": "bmd"})
    assert bmd["version"].isdecimal()
    assert bmd["providers"]["ais"]["@#"][bucket]["bid"].isdecimal()


def test_ls_of_one_provider(ais: GoApi, bucket: str) -> None:
    found = listed(ais, presence="2", provider="ais")
    assert {of["provider"] for of in found} == {"ais"}
    assert bucket in [of["name"] for of in found]


def test_ls_of_a_bucket(ais: GoApi, bucket: str) -> None:
    assert ais.names(bucket) == []
    for name in ("b/2", "a", "b/1"):
        ais.put_object(bucket, name, name.encode())
    assert ais.names(bucket) == ["a", "b/1", "b/2"]
    (page,) = ais.pages(bucket)
    for entry in page["entries"]:
        name, size, flags = (
            entry.get(short, entry.get(long)) for short, long in (("n", "name"), ("s", "size"), ("f", "flags"))
        )
        assert int(size) == len(name)
        assert flags & 0x1F == 0, "its status is OK"
        assert flags & 64, "it is here"
    assert page["uuid"]


def test_ls_in_pages_with_a_prefix_and_all_properties(ais: GoApi, bucket: str) -> None:
    for number in range(7):
        ais.put_object(bucket, f"p/{number}", b"x")
    ais.put_object(bucket, "q", b"x")
    pages = list(ais.pages(bucket, prefix="p/", pagesize=3))
    assert [len(page["entries"] or ()) for page in pages] == [3, 3, 1]
    assert len({page["uuid"] for page in pages}) == 1
    props = "name,size,cached,checksum,atime,version,location,custom,copies"
    (page,) = ais.pages(bucket, prefix="p/", props=props)
    assert all(entry.get("cs") or entry.get("checksum") for entry in page["entries"])
    directories = [entry for page in ais.pages(bucket, flags="2048") for entry in page["entries"]]
    flags = {entry.get("n") or entry["name"]: entry.get("f") or entry.get("flags") for entry in directories}
    assert set(flags) == {"p/", "q"}
    assert flags["p/"] & 256


def test_ls_takes_json_too(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "o", b"abc")
    value = {"uuid": "", "props": "name,size,cached", "prefix": "", "continuation_token": "", "flags": "0"}
    message = {"action": "list", "name": "", "value": value}
    page = ais.read("GET", f"/v1/buckets/{bucket}", {"provider": "ais"}, message=message)
    (entry,) = page["entries"]
    assert (entry["name"], entry["size"], entry["flags"]) == ("o", "3", 64)
    assert (page["continuation_token"], page["flags"]) == ("", 0)


def test_ls_of_a_bucket_that_is_not_there(ais: GoApi) -> None:
    with pytest.raises(GoError) as raised:
        ais.names("nonesuch")
    assert (raised.value.status, raised.value.code) == (404, "ErrBckNotFound")
    with pytest.raises(GoError) as raised:
        ais.names("nonesuch-in-the-cloud", "aws")
    assert (raised.value.status, raised.value.code) == (404, "ErrRemoteBckNotFound")


def test_bucket_props_show(ais: GoApi, bucket: str) -> None:
    properties = ais.head_bucket(bucket)
    assert {name: type(properties[name]) for name in PROPERTIES} == PROPERTIES
    assert properties["provider"] == "ais"
    assert int(properties["bid"]) != 0
    assert int(properties["created"]) > 0
    assert int(properties["access"]) == 2**64 - 1
    assert properties["backend_bck"]["name"] == ""
    assert ais.cluster("cluster_config")["checksum"]["type"] == properties["checksum"]["type"]


def test_bucket_props_show_of_nothing(ais: GoApi) -> None:
    with pytest.raises(GoError) as raised:
        ais.head_bucket("nonesuch")
    assert (raised.value.status, raised.value.code) == (404, "ErrBckNotFound")
    assert raised.value.message == 'bucket "ais://nonesuch" does not exist'


def test_bucket_props_set_a_backend_and_take_it_away(ais: GoApi, bucket: str, cloud: str) -> None:
    before = ais.head_bucket(bucket, adds=True)

    def set_backend(name: str, provider: str) -> None:
        backend = {"name": name, "provider": provider, "namespace": {"uuid": "", "name": ""}}
        message = {"action": "set-bprops", "value": {"backend_bck": backend}}
        answer = ais.call("PATCH", f"/v1/buckets/{bucket}", {"provider": "ais"}, message=message)
        assert answer.body == b""

    set_backend(cloud, "aws")
    after = ais.head_bucket(bucket)
    assert (after["backend_bck"]["name"], after["backend_bck"]["provider"]) == (cloud, "aws")
    assert {**after, "backend_bck": None} == {**before, "backend_bck": None}, "nothing else has changed"
    assert ais.names(bucket) == ["a/1", "a/2", "b/1"]
    set_backend("", "")
    assert ais.head_bucket(bucket) == before


def test_bucket_props_set_and_reset(ais: GoApi, bucket: str) -> None:
    before = ais.head_bucket(bucket, adds=True)
    message = {"action": "set-bprops", "value": {"versioning": {"validate_warm_get": True}}}
    ais.call("PATCH", f"/v1/buckets/{bucket}", {"provider": "ais"}, message=message)
    assert ais.head_bucket(bucket)["versioning"]["validate_warm_get"] is True
    ais.call("PATCH", f"/v1/buckets/{bucket}", {"provider": "ais"}, message={"action": "reset-bprops"})
    assert ais.head_bucket(bucket) == before
    message = {"action": "set-bprops", "value": {"mirror": {"enable": True}}}
    with pytest.raises(GoError) as raised:
        ais.call("PATCH", f"/v1/buckets/{bucket}", {"provider": "ais"}, message=message)
    assert raised.value.status == 400


def test_rmb(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "o", b"x")
    assert ais.names(bucket, props="name", flags="17") == ["o"], "what the program asks to warn of objects"
    ais.call("DELETE", f"/v1/buckets/{bucket}", {"provider": "ais"}, message={"action": "destroy-bck"})
    with pytest.raises(GoError) as raised:
        ais.call("DELETE", f"/v1/buckets/{bucket}", {"provider": "ais"}, message={"action": "destroy-bck"})
    assert (raised.value.status, raised.value.code) == (404, "ErrBckNotFound")


def test_rmb_of_a_cloud_bucket_gives_the_tip_to_evict(ais: GoApi, cloud: str) -> None:
    with pytest.raises(GoError) as raised:
        ais.call("DELETE", f"/v1/buckets/{cloud}", {"provider": "aws"}, message={"action": "destroy-bck"})
    assert (raised.value.status, raised.value.code) == (405, "ErrUnsupp")
    assert "destroy cloud bucket" in raised.value.message
