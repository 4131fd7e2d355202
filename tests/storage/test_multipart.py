"""Uploads in parts over a whole cluster: real sockets, disks and restarts."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import msgpack
import pytest
from xxhash import xxh64_hexdigest

from common.uploadids import UploadId
from tests.cluster import Cluster
from tests.storage.disks import files_below
from tests.waiting import wait_for

S3 = {"Haul-S3": "true"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("parts"), targets=2) as running:
        running.api.create_bucket("b")
        yield running


class Upload:
    """One upload in parts, as a client sees it."""

    def __init__(self, cluster: Cluster, name: str, bucket: str = "b", headers: Any = None) -> None:
        self.http = cluster.api.http
        self.path = f"/v1/objects/{bucket}/{quote(name)}"
        self.id = ""
        answer = self.act("POST", "mpt-upload", headers=headers)
        assert answer.status_code == 200, answer.text
        self.id = answer.text

    def act(self, method: str, action: str, value: object = None, headers: Any = None) -> httpx.Response:
        params = {"uploadId": self.id} if self.id else {}
        message = {"action": action, "name": "", "value": value}
        return self.http.request(method, self.path, params=params, json=message, headers=headers)

    def put(self, number: object, data: bytes, **headers: str) -> httpx.Response:
        return self.http.put(
            self.path, params={"uploadId": self.id, "partNumber": str(number)}, content=data, headers=headers
        )

    def complete(self, *numbers: int, etags: Any = (), headers: Any = None) -> httpx.Response:
        told = dict(zip(numbers, etags, strict=False))
        value = [{"part-number": number, "etag": told.get(number, "")} for number in numbers]
        return self.act("POST", "mpt-complete", value, headers)

    def abort(self) -> httpx.Response:
        return self.act("DELETE", "mpt-abort")

    def parts(self) -> list[dict[str, Any]]:
        answer = self.http.get(self.path, params={"uploadId": self.id}, headers=S3)
        assert answer.status_code == 200, answer.text
        return list(answer.json())


def pieces_of(cluster: Cluster, upload: Upload) -> list[str]:
    root = cluster.mountpaths(cluster.target_ids[0])[0].parents[1]
    return [path for path in files_below(root) if f"/%mp/{UploadId.parse(upload.id).token}/" in path]


def test_parts_in_any_order_make_an_object_like_any_other(cluster: Cluster) -> None:
    first, second, third = os.urandom(3_000_000), os.urandom(1_000), os.urandom(9_500_000)
    name = "dir/many parts"
    upload = Upload(cluster, name, headers={"Ais-Custom-Md": "colour=red"})
    answer = upload.put(3, third)
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{hashlib.md5(third).hexdigest()}"')
    for number, data in ((1, b"replaced below"), (2, second), (1, first)):
        assert upload.put(number, data).status_code == 200
    assert cluster.api.get("b", name).status_code == 404
    assert name not in {entry["name"] for entry in cluster.api.list("b")}
    assert [(part["part-number"], part["size"]) for part in upload.parts()] == [
        (1, len(first)),
        (2, len(second)),
        (3, len(third)),
    ]
    assert upload.complete(1, 2, 3).status_code == 200
    answer = cluster.api.get("b", name)
    whole = first + second + third
    assert answer.content == whole
    assert answer.headers["ais-checksum-value"] == xxh64_hexdigest(whole)
    assert answer.headers["etag"] == f'"{xxh64_hexdigest(whole)}"'
    assert answer.headers["ais-custom-md"] == "colour=red"
    assert answer.headers["ais-version"] == "1"
    assert name in {entry["name"] for entry in cluster.api.list("b")}
    assert pieces_of(cluster, upload) == []


def test_the_etag_of_s3(cluster: Cluster) -> None:
    upload = Upload(cluster, "s3", headers={**S3, "Ais-Custom-Md": "Content-Type=image/png"})
    parts = [os.urandom(100_000), os.urandom(7)]
    etags = [upload.put(number, data, **S3).headers["etag"] for number, data in enumerate(parts, start=1)]
    answer = upload.complete(1, 2, etags=etags, headers=S3)
    together = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert answer.headers["etag"] == f'"{together}-2"'
    answer = cluster.api.get("b", "s3")
    assert answer.headers["etag"] == f'"{together}-2"'
    assert answer.headers["ais-custom-md"] == "Content-Type=image/png"
    head = cluster.api.http.head("/v1/objects/b/s3", params={"props": "grade"})
    assert head.headers["haul-grade"] == "user"


@pytest.mark.parametrize(
    ("numbers", "etags", "text"),
    [
        ((1,), (), "partial completion is not allowed: requested 1 parts, have 2"),
        ((1, 2, 3), (), "partial completion is not allowed: requested 3 parts, have 2"),
        ((1, 3), (), "parts must be exactly 1..2"),
        ((1, 1), (), "parts must be exactly 1..2"),
        ((1, 2), ("", "0" * 32), "part 2 has ETag"),
        ((), (), "must be the list of the parts"),
    ],
)
def test_a_completion_that_is_refused_leaves_the_upload_as_it_was(
    cluster: Cluster, numbers: tuple[int, ...], etags: tuple[str, ...], text: str
) -> None:
    upload = Upload(cluster, "refused")
    upload.put(1, b"one")
    upload.put(2, b"two")
    answer = upload.complete(*numbers, etags=etags)
    assert answer.status_code == 400
    assert text in answer.json()["message"]
    assert cluster.api.get("b", "refused").status_code == 404
    assert upload.complete(2, 1).status_code == 200
    assert cluster.api.get("b", "refused").content == b"onetwo"
    assert cluster.api.http.delete("/v1/objects/b/refused").status_code == 200


def test_a_missing_part_is_named(cluster: Cluster) -> None:
    upload = Upload(cluster, "gap")
    upload.put(1, b"one")
    upload.put(3, b"three")
    answer = upload.complete(1, 2)
    assert (answer.status_code, "parts must be exactly 1..2: part 2 is missing" in answer.json()["message"]) == (
        400,
        True,
    )


@pytest.mark.parametrize("value", [None, "x", [1], [{"part-number": "1"}], [{"part-number": True}], [{"etag": ""}]])
def test_a_completion_without_sense(cluster: Cluster, value: object) -> None:
    upload = Upload(cluster, "senseless")
    upload.put(1, b"one")
    assert upload.act("POST", "mpt-complete", value).status_code == 400
    assert upload.abort().status_code == 200


@pytest.mark.parametrize("number", [0, 10_001, -1, "x", "", "1" * 30, "\u0661"])
def test_part_numbers_that_do_not_exist(cluster: Cluster, number: object) -> None:
    upload = Upload(cluster, "numbers")
    assert upload.put(number, b"x").status_code == 400
    assert upload.parts() == []
    assert upload.put(10_000, b"x").status_code == 200
    assert upload.abort().status_code == 200


def test_a_part_with_a_wrong_digest_is_not_kept(cluster: Cluster) -> None:
    upload = Upload(cluster, "digests")
    upload.put(1, b"right")
    for headers in (
        {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"Haul-Digest": "sha256=" + "0" * 64},
        {"Ais-Checksum-Type": "crc32c", "Ais-Checksum-Value": "00000000"},
    ):
        answer = upload.put(1, b"wrong", **headers)
        assert (answer.status_code, answer.json()["tcode"]) == (400, "ErrBadCksum")
    assert upload.put(1, b"right", **{"Haul-Digest": f"sha1={hashlib.sha1(b'right').hexdigest()}"}).status_code == 200
    assert upload.complete(1).status_code == 200
    assert cluster.api.get("b", "digests").content == b"right"


def test_an_upload_that_is_not_there(cluster: Cluster) -> None:
    upload = Upload(cluster, "here")
    upload.put(1, b"x")
    elsewhere = cluster.api.http.put(
        "/v1/objects/b/elsewhere", params={"uploadId": upload.id, "partNumber": 1}, content=b"x"
    )
    assert elsewhere.status_code == 404
    assert upload.abort().status_code == 200
    known = upload.id
    for unknown in (known, known.replace("t1", "t9").replace("t2", "t9"), "nonsense", "../../x", "0" * 24 + "~p1"):
        upload.id = unknown
        for answer in (upload.put(1, b"x"), upload.complete(1), upload.abort()):
            assert answer.status_code == 404, answer.text
            assert "upload" in answer.json()["message"]
    assert cluster.api.http.post("/v1/objects/nonesuch/x", json={"action": "mpt-upload"}).status_code == 404


def test_completing_again_gives_the_same_answer(cluster: Cluster) -> None:
    upload = Upload(cluster, "again")
    upload.put(1, b"x")
    first, second = upload.complete(1), upload.complete(1)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["ais-version"] == second.headers["ais-version"] == "1"


def test_completing_twice_at_once_makes_one_object(cluster: Cluster) -> None:
    upload = Upload(cluster, "at-once")
    upload.put(1, os.urandom(20_000_000))
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(upload.complete(1).status_code)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 3
    assert cluster.api.get("b", "at-once", Range="bytes=0-0").headers["ais-version"] == "1"


def test_a_completion_under_a_condition(cluster: Cluster) -> None:
    cluster.api.put("b", "conditional", b"old")
    upload = Upload(cluster, "conditional")
    upload.put(1, b"new")
    answer = upload.complete(1, headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.json()["tcode"]) == (412, "ErrPreconditionFailed")
    assert cluster.api.get("b", "conditional").content == b"old"
    etag = cluster.api.get("b", "conditional").headers["etag"]
    assert upload.complete(1, headers={"If-Match": etag}).status_code == 200
    assert cluster.api.get("b", "conditional").content == b"new"


def test_a_long_name_and_the_uploads_of_a_bucket(cluster: Cluster) -> None:
    cluster.api.create_bucket("listed")
    name = "long/" * 100 + "n" * 300
    upload, other = Upload(cluster, name, "listed"), Upload(cluster, "a", "listed")
    location = cluster.api.http.put(f"/v1/objects/listed/{quote(name)}", follow_redirects=False).headers["location"]
    bucket_id = int(parse_qs(urlsplit(location).query)["bid"][0])
    body = msgpack.packb({"bucket": "ais/@#/listed/", "bucket_id": bucket_id})
    listed = []
    for target in cluster.target_ids:
        answer = httpx.post(f"{cluster.urls[target]}/intra/v1/uploads/list", content=body)
        listed += msgpack.unpackb(answer.content)["uploads"]
    assert sorted((one["name"], one["upload_id"]) for one in listed) == [("a", other.id), (name, upload.id)]
    assert all(one["started_ns"] > 10**18 for one in listed)
    upload.put(1, b"x")
    assert upload.complete(1).status_code == 200
    assert cluster.api.get("listed", name).content == b"x"
    assert cluster.api.call("DELETE", "/v1/buckets/listed", {"action": "destroy-bck"}).status_code == 200
    assert other.complete(1).status_code == 404
    wait_for(lambda: pieces_of(cluster, other) == [], what="the bucket's pieces gone")


def test_an_upload_goes_on_after_its_target_was_restarted(tmp_path: Path) -> None:
    with Cluster(tmp_path, targets=1) as cluster:
        cluster.api.create_bucket("b")
        upload, aborted = Upload(cluster, "survivor"), Upload(cluster, "aborted")
        upload.put(2, b"two")
        cluster.stop("t1")
        cluster.start("t1")
        cluster.wait_until_ready()
        assert [part["part-number"] for part in upload.parts()] == [2]
        assert cluster.api.list("b") == []
        upload.put(1, b"one")
        assert upload.complete(1, 2).status_code == 200
        assert cluster.api.get("b", "survivor").content == b"onetwo"
        assert aborted.abort().status_code == 200
        assert not [path for path in files_below(tmp_path) if "/%mp/" in path or "/%wk/" in path]


def test_what_nobody_adds_to_is_forgotten(tmp_path: Path) -> None:
    with Cluster(tmp_path, targets=1, upload_keep_seconds=0.5) as cluster:
        cluster.api.create_bucket("b")
        upload = Upload(cluster, "left")
        upload.put(1, b"x")
        wait_for(lambda: pieces_of(cluster, upload) == [], what="the upload forgotten")
        assert upload.complete(1).status_code == 404
