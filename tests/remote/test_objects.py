"""Objects that are outside as clients read them: looked at there, fetched by the first reader, kept for the others."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.backends.contract import AWKWARD_NAMES
from tests.backends.s3server import MotoS3
from tests.cluster import Cluster
from tests.remote.asking import problem, props, set_backend
from tests.remote.recording import Recorder
from tests.waiting import wait_for

EVICT = {"action": "evict-listrange"}
LARGE_BYTES = 9 << 20


def get(cluster: Cluster, bucket: str, name: str, query: str = "", **headers: str) -> httpx.Response:
    return cluster.api.http.get(f"/v1/objects/{bucket}/{name}?provider=aws{query}", headers=headers)


def head(cluster: Cluster, bucket: str, name: str, query: str = "") -> httpx.Response:
    return cluster.api.http.head(f"/v1/objects/{bucket}/{name}?provider=aws{query}")


def is_present(cluster: Cluster, bucket: str, name: str) -> bool:
    return head(cluster, bucket, name, "&presence=2").status_code == 200


class TestReading:
    def test_the_first_reader_has_it_fetched_and_the_second_does_not(
        self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str
    ) -> None:
        content = bytes(range(256)) * 400
        s3.put_object(Bucket=bucket, Key="deep/one.bin", Body=content)
        first = get(cluster, bucket, "deep/one.bin")
        assert (first.status_code, first.content) == (200, content)
        assert first.headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
        assert is_present(cluster, bucket, "deep/one.bin")
        asked = len(recorder.seen)
        second = get(cluster, bucket, "deep/one.bin")
        assert (second.status_code, second.content) == (200, content)
        assert len(recorder.seen) == asked
        assert recorder.fetches(bucket, "deep/one.bin") == 1

    def test_a_part_of_what_is_not_here_has_all_of_it_fetched(
        self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str
    ) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"0123456789")
        part = get(cluster, bucket, "one", Range="bytes=3-5")
        assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"345", "bytes 3-5/10")
        assert get(cluster, bucket, "one").content == b"0123456789"
        beyond = get(cluster, bucket, "one", Range="bytes=20-")
        assert beyond.status_code == 416
        assert recorder.fetches(bucket, "one") == 1

    def test_twenty_readers_at_once_are_one_fetch(
        self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str
    ) -> None:
        s3.put_object(Bucket=bucket, Key="wanted", Body=b"by all")
        props(cluster, bucket, "provider=aws")
        recorder.opened.clear()
        with httpx.Client(timeout=30.0) as http, ThreadPoolExecutor(20) as threads:
            readers = [threads.submit(http.get, get_url(cluster, bucket, "wanted")) for _ in range(20)]
            wait_for(lambda: recorder.fetches(bucket, "wanted"), what="the fetch")
            recorder.opened.set()
            answers = [reader.result() for reader in readers]
        assert {(answer.status_code, answer.content) for answer in answers} == {(200, b"by all")}
        assert recorder.fetches(bucket, "wanted") == 1

    def test_a_large_object(self, cluster: Cluster, s3: Any, bucket: str) -> None:
        content = hashlib.sha256(b"large").digest() * (LARGE_BYTES // 32)
        s3.put_object(Bucket=bucket, Key="large", Body=content)
        assert get(cluster, bucket, "large").content == content
        assert get(cluster, bucket, "large", Range=f"bytes={LARGE_BYTES - 4}-").content == content[-4:]

    def test_awkward_names(self, cluster: Cluster, s3: Any, bucket: str) -> None:
        for name in AWKWARD_NAMES:
            s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
        for name in AWKWARD_NAMES:
            url = httpx.URL(cluster.api.url).copy_with(
                raw_path=b"/v1/objects/" + bucket.encode() + b"/" + percent(name) + b"?provider=aws"
            )
            answer = cluster.api.http.get(url)
            assert (answer.status_code, answer.content) == (200, name.encode()), name

    def test_an_empty_object(self, cluster: Cluster, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="empty", Body=b"")
        answer = get(cluster, bucket, "empty")
        assert (answer.status_code, answer.content) == (200, b"")

    def test_through_a_bucket_that_has_it_as_its_backend(
        self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str
    ) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"from behind")
        front = f"front-of-{bucket}"
        cluster.api.create_bucket(front)
        assert cluster.api.get(front, "one").status_code == 404
        assert set_backend(cluster, front, bucket).status_code == 200
        assert cluster.api.get(front, "one").content == b"from behind"
        missing = cluster.api.get(front, "two")
        assert problem(missing) == (404, "ErrNotFound")
        assert f"ais://{front}/two does not exist" in missing.json()["message"]
        assert not is_present(cluster, bucket, "one")
        assert set_backend(cluster, front, "", "").status_code == 200
        assert cluster.api.get(front, "one").content == b"from behind"
        assert recorder.fetches(bucket, "one") == 1


def get_url(cluster: Cluster, bucket: str, name: str) -> str:
    """Where the owner serves an object."""
    redirect = httpx.get(f"{cluster.api.url}/v1/objects/{bucket}/{name}?provider=aws")
    assert redirect.status_code == 301
    return redirect.headers["location"]


def percent(name: str) -> bytes:
    return "".join(f"%{byte:02X}" if byte != ord("/") else "/" for byte in name.encode()).encode()


class TestLookingAt:
    def test_what_is_not_here_is_told_by_its_service(
        self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str
    ) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"0123456789", ChecksumAlgorithm="SHA256")
        md5, sha256 = hashlib.md5(b"0123456789").hexdigest(), hashlib.sha256(b"0123456789").hexdigest()
        told = head(cluster, bucket, "one", "&props=name,size,etag,last-modified,custom,checksum")
        assert (told.status_code, told.headers["ais-present"], told.headers["content-length"]) == (200, "false", "10")
        assert told.headers["etag"] == f'"{md5}"'
        assert told.headers["last-modified"].endswith("GMT")
        assert (told.headers["ais-checksum-type"], told.headers["ais-checksum-value"]) == ("sha256", sha256)
        assert {"source=aws", f"ETag={md5}"} <= set(told.headers.get_list("ais-custom-md"))
        older = head(cluster, bucket, "one")
        assert (older.headers["ais-name"], older.headers["ais-bucket-name"]) == ("one", bucket)
        assert (older.headers["ais-present"], older.headers["ais-bucket-provider"]) == ("false", "aws")
        assert recorder.fetches(bucket, "one") == 0
        get(cluster, bucket, "one")
        assert head(cluster, bucket, "one", "&props=size").headers["ais-present"] == "true"

    def test_who_asks_for_what_is_present_is_answered_from_here(
        self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str
    ) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"1")
        props(cluster, bucket, "provider=aws")
        asked = len(recorder.seen)
        for presence in "23":
            assert problem(head(cluster, bucket, "one", f"&presence={presence}")) == (404, "ErrNotFound")
        assert len(recorder.seen) == asked
        get(cluster, bucket, "one")
        without = head(cluster, bucket, "one", "&presence=3")
        assert (without.status_code, "ais-checksum-value" in without.headers) == (200, False)

    def test_whether_what_is_here_is_the_latest(self, cluster: Cluster, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"old")
        get(cluster, bucket, "one")
        assert head(cluster, bucket, "one", "&latest-ver=true").status_code == 200
        s3.put_object(Bucket=bucket, Key="one", Body=b"new")
        assert head(cluster, bucket, "one", "&latest-ver=true").status_code == 409
        assert head(cluster, bucket, "one").status_code == 200
        s3.delete_object(Bucket=bucket, Key="one")
        assert head(cluster, bucket, "one", "&latest-ver=true").status_code == 410


@pytest.mark.parametrize("wants", ["latest-ver", "synchronize"])
def test_the_latest_version_is_copied_where_it_is_wanted(cluster: Cluster, s3: Any, bucket: str, wants: str) -> None:
    to = f"copies-{wants}"
    cluster.api.create_bucket(to)

    def copied(query: str) -> bytes | int:
        asked = f"/v1/objects/{bucket}/one?provider=aws&object_to=ais/@%23/{to}/two&{query}"
        answer = cluster.api.http.put(asked)
        return cluster.api.get(to, "two").content if answer.status_code == 200 else answer.status_code

    s3.put_object(Bucket=bucket, Key="one", Body=b"old")
    get(cluster, bucket, "one")
    s3.put_object(Bucket=bucket, Key="one", Body=b"newer")
    assert copied(f"{wants}=false") == b"old"
    assert copied(f"{wants}=true") == b"newer"
    s3.delete_object(Bucket=bucket, Key="one")
    assert copied("") == b"newer"
    assert copied(f"{wants}=true") == 404


def test_the_latest_version_is_fetched_where_it_is_wanted(
    cluster: Cluster, recorder: Recorder, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="one", Body=b"old")
    assert get(cluster, bucket, "one").content == b"old"
    s3.put_object(Bucket=bucket, Key="one", Body=b"newer")
    assert get(cluster, bucket, "one").content == b"old"
    assert get(cluster, bucket, "one", "&latest-ver=true").content == b"newer"
    assert get(cluster, bucket, "one").content == b"newer"
    stored = head(cluster, bucket, "one").headers["ais-atime"]
    assert get(cluster, bucket, "one", "&latest-ver=true").content == b"newer"
    assert head(cluster, bucket, "one").headers["ais-atime"] == stored
    s3.delete_object(Bucket=bucket, Key="one")
    assert get(cluster, bucket, "one", "&latest-ver=true").status_code == 404
    assert get(cluster, bucket, "one").content == b"newer"


class TestWhatGoesWrong:
    def test_an_object_that_is_nowhere(self, cluster: Cluster, bucket: str) -> None:
        for answer in (get(cluster, bucket, "nothing"), head(cluster, bucket, "nothing")):
            assert problem(answer) == (404, "ErrNotFound")
        assert f"s3://{bucket}/nothing does not exist" in get(cluster, bucket, "nothing").json()["message"]

    def test_a_service_that_is_busy(self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"1")
        props(cluster, bucket, "provider=aws")
        recorder.is_busy = True
        try:
            assert get(cluster, bucket, "one").status_code == 503
            assert head(cluster, bucket, "one").status_code == 503
        finally:
            recorder.is_busy = False
        wait_for(lambda: get(cluster, bucket, "one").content == b"1", what="the object, once the service answers")

    def test_who_may_not_read(self, tmp_path: Path, moto: MotoS3, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"1")
        with Cluster(tmp_path, targets=1, backends=moto.settings_toml(), retry_attempts=2) as strict:
            assert get(strict, bucket, "one").content == b"1"
            with moto.enforcing():
                assert get(strict, bucket, "two").status_code == 403
                assert head(strict, bucket, "two").status_code == 403
                assert get(strict, bucket, "one").content == b"1"
                assert problem(head(strict, f"{bucket}-other", "one"))[0] == 403


class TestWriting:
    @pytest.mark.parametrize("is_front", [False, True])
    def test_nothing_is_written_or_deleted_outside(
        self, cluster: Cluster, s3: Any, bucket: str, *, is_front: bool
    ) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"1")
        path = f"/v1/objects/{bucket}/one?provider=aws"
        if is_front:
            cluster.api.create_bucket(f"front-{bucket}")
            assert set_backend(cluster, f"front-{bucket}", bucket).status_code == 200
            path = f"/v1/objects/front-{bucket}/one"
        assert problem(cluster.api.http.put(path, content=b"2")) == (501, "ErrUnsupp")
        assert problem(cluster.api.http.delete(path)) == (501, "ErrUnsupp")
        assert s3.get_object(Bucket=bucket, Key="one")["Body"].read() == b"1"

    def test_what_is_here_can_be_evicted(self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"1")
        get(cluster, bucket, "one")
        path = f"/v1/objects/{bucket}/one?provider=aws"
        assert cluster.api.call("DELETE", path, EVICT).status_code == 200
        assert not is_present(cluster, bucket, "one")
        assert cluster.api.call("DELETE", path, EVICT).status_code == 404
        assert get(cluster, bucket, "one").content == b"1"
        assert recorder.fetches(bucket, "one") == 2

    def test_what_is_only_here_cannot_be_evicted(self, cluster: Cluster) -> None:
        cluster.api.create_bucket("plain")
        cluster.api.put("plain", "one", b"1")
        assert cluster.api.call("DELETE", "/v1/objects/plain/one", EVICT).status_code == 400
        assert cluster.api.get("plain", "one").content == b"1"

    def test_evicting_a_bucket_removes_what_is_here_of_it(
        self, cluster: Cluster, recorder: Recorder, s3: Any, bucket: str
    ) -> None:
        s3.put_object(Bucket=bucket, Key="one", Body=b"1")
        for keeps in ("true", "false"):
            assert get(cluster, bucket, "one").content == b"1"
            path = f"/v1/buckets/{bucket}?provider=aws&keep_bck_md={keeps}"
            assert cluster.api.call("DELETE", path, {"action": "evict-remote-bck"}).status_code == 200
        assert get(cluster, bucket, "one").content == b"1"
        assert recorder.fetches(bucket, "one") == 3
