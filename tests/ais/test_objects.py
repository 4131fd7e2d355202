"""`ais put|get|object cat|object rm|object show|ls B/O|evict|prefetch`: requests in their order (wire.md §3, §9.2)."""

from __future__ import annotations

import time
from typing import Any

import pytest
import xxhash

from tests.ais.goapi import GoApi, GoError
from tests.waiting import wait_for

PRESENT_ONLY = {"provider": "ais", "presence": "2"}
SHOWN = "name,size,checksum,atime"


def test_put_a_file_in_chunks_that_are_sent_again(ais: GoApi, bucket: str) -> None:
    data = bytes(range(256)) * 4096
    answer = ais.put_object(bucket, "dir/file", data)
    assert answer.hops == (307,)
    assert answer.body == b""
    assert answer.header("Ais-Checksum-Type") == "xxhash2"
    assert ais.get_object(bucket, "dir/file").body == data


def test_put_with_a_checksum(ais: GoApi, bucket: str) -> None:
    ais.head_bucket(bucket)
    checksum = xxhash.xxh64_hexdigest(b"hello", seed=0)
    named = {"Ais_Checksum_Type": "xxhash2", "Ais_Checksum_Value": checksum}
    ais.put_object(bucket, "o", b"hello", **named)
    with pytest.raises(GoError) as raised:
        ais.put_object(bucket, "o", b"other", **named)
    assert raised.value.code == "ErrBadCksum"
    assert ais.get_object(bucket, "o").body == b"hello"


def test_put_into_no_bucket(ais: GoApi) -> None:
    with pytest.raises(GoError) as raised:
        ais.put_object("nonesuch", "o", b"x")
    assert (raised.value.status, raised.value.code) == (404, "ErrBckNotFound")


def test_get_and_check(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "o", b"0123456789")
    ais.head_bucket(bucket)
    answer = ais.get_object(bucket, "o")
    assert answer.hops == (301,)
    assert answer.header("Content-Length") == "10"
    assert answer.header("Ais-Checksum-Value") == xxhash.xxh64_hexdigest(answer.body, seed=0)
    part = ais.get_object(bucket, "o", Range="bytes=2-4")
    assert (part.status, part.body) == (206, b"234")
    assert part.header("Content-Range") == "bytes 2-4/10"


def test_cat_of_nothing(ais: GoApi, bucket: str) -> None:
    with pytest.raises(GoError) as raised:
        ais.get_object(bucket, "nonesuch")
    assert (raised.value.status, raised.value.code) == (404, "ErrNotFound")
    assert f"ais://{bucket}/nonesuch" in raised.value.message


def test_show_object(ais: GoApi, bucket: str) -> None:
    before_ns = time.time_ns()
    ais.put_object(bucket, "o", b"hello")
    ais.head_bucket(bucket)
    answer = ais.call("HEAD", f"/v1/objects/{bucket}/o", {**PRESENT_ONLY, "props": SHOWN})
    assert answer.hops == (307,)
    assert (answer.header("Content-Length"), answer.header("Ais-Present")) == ("5", "true")
    assert answer.header("Ais-Checksum-Type") == "xxhash2"
    assert int(answer.header("Ais-Atime")) >= before_ns
    with pytest.raises(GoError) as raised:
        ais.call("HEAD", f"/v1/objects/{bucket}/nonesuch", {**PRESENT_ONLY, "props": SHOWN})
    assert (raised.value.status, raised.value.code) == (404, "ErrNotFound")
    assert ais.names(bucket, prefix="nonesuch") == [], "then the program lists it as a prefix"


def test_head_object_as_the_integration_tests_do(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "o", b"hello")
    answer = ais.call("HEAD", f"/v1/objects/{bucket}/o", PRESENT_ONLY)
    assert answer.header("Ais-Name") == "o"
    assert answer.header("Ais-Bucket-Name") == bucket
    assert answer.header("Ais-Bucket-Provider") == "ais"
    assert answer.header("Ais-Present") == "true"
    assert int(answer.header("Ais-Atime")) > 0
    assert len(answer.header("Ais-Checksum-Value")) == 16


def test_object_rm(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "o", b"x")
    answer = ais.call("DELETE", f"/v1/objects/{bucket}/o", {"provider": "ais"})
    assert (answer.hops, answer.body) == ((307,), b"")
    with pytest.raises(GoError) as raised:
        ais.call("DELETE", f"/v1/objects/{bucket}/o", {"provider": "ais"})
    assert (raised.value.status, raised.value.message) == (404, f"ais://{bucket}/o doesn't exist")


def test_object_rm_of_many(ais: GoApi, bucket: str) -> None:
    for number in range(4):
        ais.put_object(bucket, f"o-{number}", b"x")
    message = {"action": "delete-listrange", "name": "", "value": {"objnames": None, "template": "o-{0..2}"}}
    answer = ais.call("DELETE", f"/v1/buckets/{bucket}", {"provider": "ais"}, message=message)
    wait_for_xaction(ais, answer.body.decode(), "delete-listrange")
    assert ais.names(bucket) == ["o-3"]


def test_prefetch_and_evict(ais: GoApi, cloud: str) -> None:
    ais.head_bucket(cloud, "aws", adds=True)
    query = {"provider": "aws"}
    message: dict[str, Any] = {"action": "prefetch-listrange", "name": "", "value": {"objnames": ["a/1", "a/2"]}}
    answer = ais.call("POST", f"/v1/buckets/{cloud}", query, message=message)
    wait_for_xaction(ais, answer.body.decode(), "prefetch-listrange")
    wait_for(lambda: ais.names(cloud, "aws", flags="1") == ["a/1", "a/2"], what="both are here")
    assert ais.get_object(cloud, "a/1", "aws").body == b"a/1"
    message = {"action": "evict-listrange", "name": "", "value": {"objnames": ["a/1"]}}
    ais.call("DELETE", f"/v1/buckets/{cloud}", query, message=message)
    wait_for(lambda: ais.names(cloud, "aws", flags="1") == ["a/2"], what="one is evicted")
    message = {"action": "evict-remote-bck", "name": "", "value": None}
    ais.call("DELETE", f"/v1/buckets/{cloud}", {**query, "keep_bck_md": "false"}, message=message)
    assert ais.names(cloud, "aws") == ["a/1", "a/2", "b/1"], "what is outside is still there"


def test_evict_one_object(ais: GoApi, cloud: str) -> None:
    assert ais.get_object(cloud, "b/1", "aws").body == b"b/1"
    assert ais.names(cloud, "aws", flags="1") == ["b/1"]
    ais.call("DELETE", f"/v1/objects/{cloud}/b/1", {"provider": "aws"}, message={"action": "evict-listrange"})
    assert ais.names(cloud, "aws", flags="1") == []


def wait_for_xaction(ais: GoApi, job_id: str, kind: str) -> None:
    """`WaitForXaction` of the kinds that members of the IC know; the id is bare text."""
    assert job_id
    assert job_id.isascii()
    assert " " not in job_id
    message = {"id": job_id, "kind": kind, "bck": {"name": "", "provider": ""}}

    def status() -> dict[str, Any]:
        found: dict[str, Any] = ais.cluster("status", message)
        return found

    wait_for(lambda: status()["end_time"] != 0, what=f"end of {job_id}")
    last = status()
    assert (last["uuid"], last["err"], last["aborted"]) == (job_id, "", False)
