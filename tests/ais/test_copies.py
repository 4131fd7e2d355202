"""`ais cp`, `ais bucket mv`, `ais ls --summary`, `ais storage summary`: requests in their order (wire.md §2.4, §2.5,
§2.9, §5, §9.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ais.goapi import Answer, GoApi, GoError
from tests.ais.test_objects import wait_for_xaction
from tests.waiting import wait_for

NUMBERS = {"ObjCount": ("obj_count_present", "obj_count_remote")}
SIZES = {"TotalSize": ("size_on_disk", "size_all_present_objs", "size_all_remote_objs", "total_disks_size")}


def copy(ais: GoApi, source: str, destination: str, action: str = "copy-bck", **value: Any) -> str:
    """`CopyBucket`: the destination by its uname, with a slash behind it; gives the job's id."""
    message = {"action": action, "name": "", "value": {"prefix": "", "prepend": "", "dry_run": False, **value}}
    query = {"provider": "ais", "bck_to": f"ais/@#/{destination}/"}
    return ais.call("POST", f"/v1/buckets/{source}", query, message=message).body.decode()


def wait_until_idle(ais: GoApi, job_id: str, kind: str) -> list[dict[str, Any]]:
    """`WaitForXaction` of kinds that idle: its snapshots until each is idle or has ended."""

    def snaps() -> list[dict[str, Any]]:
        message = {"id": job_id, "kind": kind, "bck": {"name": "", "provider": ""}}
        return [snap for of in ais.cluster("qryxstats", message).values() for snap in of or ()]

    def is_over() -> bool:
        found = snaps()
        return bool(found) and all(snap["is_idle"] or not snap["end-time"].startswith("0001") for snap in found)

    wait_for(is_over, what=f"end of {job_id}")
    return snaps()


def test_cp(ais: GoApi, bucket: str) -> None:
    for name in ("a/1", "a/2", "b"):
        ais.put_object(bucket, name, name.encode())
    destination = f"{bucket}-copy"
    job_id = copy(ais, bucket, destination)
    wait_for_xaction(ais, job_id, "copy-bck")
    assert ais.names(destination) == ["a/1", "a/2", "b"]
    assert ais.get_object(destination, "a/2").body == b"a/2"
    snaps = wait_until_idle(ais, job_id, "copy-bck")
    assert {snap["id"] for snap in snaps} == {job_id}
    assert all(isinstance(value, str) for snap in snaps for value in snap["stats"].values())
    assert sum(int(snap["stats"]["loc-objs"]) for snap in snaps) == 3


def test_cp_of_a_prefix_with_another(ais: GoApi, bucket: str) -> None:
    for name in ("a/1", "b"):
        ais.put_object(bucket, name, b"x")
    destination = f"{bucket}-copy"
    wait_for_xaction(ais, copy(ais, bucket, destination, prefix="a/", prepend="new/"), "copy-bck")
    assert ais.names(destination) == ["new/a/1"]


def test_cp_of_what_is_not_there(ais: GoApi) -> None:
    with pytest.raises(GoError) as raised:
        copy(ais, "nonesuch", "nonesuch-copy")
    assert (raised.value.status, raised.value.code) == (404, "ErrBckNotFound")


def test_bucket_mv(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "o", b"x")
    destination = f"{bucket}-moved"
    wait_for_xaction(ais, copy(ais, bucket, destination, "move-bck"), "move-bck")
    assert ais.names(destination) == ["o"]
    with pytest.raises(GoError) as raised:
        ais.head_bucket(bucket)
    assert raised.value.status == 404


def summaries(ais: GoApi, path: str) -> Iterator[Answer]:
    """The first answer is a job's id, later ones are asked for with it."""
    value: dict[str, Any] = {"uuid": "", "prefix": "", "cached": True, "present": True}
    while True:
        answer = ais.call(
            "GET", path, {"provider": "ais"}, message={"action": "summary-bck", "name": "", "value": value}
        )
        value["uuid"] = value["uuid"] or answer.body.decode()
        yield answer


def test_storage_summary(ais: GoApi, bucket: str) -> None:
    for number in range(3):
        ais.put_object(bucket, f"o-{number}", b"x" * (number + 1))
    asked = summaries(ais, f"/v1/buckets/{bucket}")
    first = next(asked)
    assert first.status == 202
    assert first.body
    wait_for(lambda: next(asked).status == 200, what="the summary")
    (found,) = json.loads(next(asked).body)
    assert (found["name"], found["provider"], found["is_present"]) == (bucket, "ais", True)
    for part, names in (NUMBERS | SIZES).items():
        assert all(found[part][name].isdecimal() for name in names)
    assert found["ObjCount"]["obj_count_present"] == "3"
    assert found["TotalSize"]["size_all_present_objs"] == "6"
    assert found["ObjSize"] == {"obj_min_size": 1, "obj_avg_size": 2, "obj_max_size": 3}
    assert isinstance(found["used_pct"], int)


def test_ls_with_a_summary(ais: GoApi, bucket: str) -> None:
    ais.put_object(bucket, "o", b"12345")
    query = {"provider": "ais", "dont_add_remote_bck_md": "true", "bsumm_remote": "false"}
    started = ais.call("HEAD", f"/v1/buckets/{bucket}", query)
    assert started.status == 202
    assert json.loads(started.header("Ais-Bucket-Props"))["provider"] == "ais"
    query["uuid"] = started.header("Ais-Xaction-Id")
    assert query["uuid"]
    wait_for(lambda: ais.call("HEAD", f"/v1/buckets/{bucket}", query).status == 200, what="the summary")
    found = json.loads(ais.call("HEAD", f"/v1/buckets/{bucket}", query).header("Ais-Bucket-Summ"))
    assert found["ObjCount"]["obj_count_present"] == "1"
    assert found["TotalSize"]["size_all_present_objs"] == "5"
