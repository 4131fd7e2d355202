"""Large objects: in several streams, over breaks, stops and changes of the origin; what is fetched twice is counted."""

import base64
import hashlib
import random
from pathlib import Path

import pytest
from xxhash import xxh64_hexdigest

from tests.cluster import Cluster
from tests.faults import Chunked, Cut, Drip, Fault, IgnoreRange, Stall, Status
from tests.origin import Origin, Request
from tests.waiting import wait_for

MIB = 1 << 20


def content(size_bytes: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def work_files(cluster: Cluster, target: str = "t1") -> list[Path]:
    return [file for path in cluster.mountpaths(target) for file in path.glob("@ais/*/%wk/*")]


def ranges(origin: Origin, path: str) -> list[str]:
    asked: list[Request] = [request for request in origin.requests if request.path == path]
    return [request.headers["range"] for request in asked if "range" in request.headers]


def received_bytes(cluster: Cluster, job: str) -> int:
    return sum(int(task.get("downloaded", 0)) for task in cluster.api.status(job).get("current_tasks") or [])


def check_stored(cluster: Cluster, name: str, data: bytes) -> None:
    response = cluster.api.get("b", name)
    assert response.content == data
    assert response.headers["ais-checksum-value"] == xxh64_hexdigest(data)
    assert work_files(cluster) == []


def test_an_object_that_is_cut_again_and_again_goes_on_where_it_was(tmp_path: Path) -> None:
    data = content(24 * MIB + 12345)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        link = origin.put("/big", data)
        cuts: list[Fault] = [Cut(7 * MIB + n * 1000, reset=n % 2 == 1) for n in range(3)]
        origin.misbehave("/big", *cuts)
        status = cluster.api.finished(cluster.api.download(type="single", link=link))
        assert (status["finished_cnt"], status["error_cnt"]) == (1, 0)
        check_stored(cluster, "big", data)
        assert all(asked != "bytes=0-" for asked in ranges(origin, "/big"))
        assert origin.bytes_sent < len(data) + 4 * MIB


@pytest.mark.parametrize("validator", ["etag", "last_modified"])
def test_each_request_after_the_first_carries_the_validator(validator: str, tmp_path: Path) -> None:
    data = content(12 * MIB)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        headers = {"etag": ""} if validator == "last_modified" else {}
        link = origin.put("/big", data, date="Thu, 02 Jan 2025 00:00:00 GMT", **headers)
        origin.misbehave("/big", Cut(5 * MIB))
        assert cluster.api.finished(cluster.api.download(type="single", link=link))["finished_cnt"] == 1
        check_stored(cluster, "big", data)
        conditions = [request.headers.get("if-range", "") for request in origin.requests[1:]]
        assert conditions
        assert all(value.startswith('"' if validator == "etag" else "Wed, 01 Jan") for value in conditions)


@pytest.mark.parametrize("headers", [{"etag": 'W/"weak"', "last_modified": ""}, {"etag": "", "last_modified": ""}])
def test_without_a_strong_validator_it_starts_again(headers: dict[str, str], tmp_path: Path) -> None:
    data = content(12 * MIB)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        link = origin.put("/big", data, **headers)
        origin.misbehave("/big", Cut(5 * MIB))
        assert cluster.api.finished(cluster.api.download(type="single", link=link))["finished_cnt"] == 1
        check_stored(cluster, "big", data)
        assert ranges(origin, "/big") == []
        assert origin.count("/big") == 2


def test_an_origin_that_ignores_ranges_is_asked_for_everything_again(tmp_path: Path) -> None:
    data = content(12 * MIB)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        link = origin.put("/big", data, accept_ranges="")
        origin.misbehave("/big", Cut(5 * MIB), IgnoreRange(), Cut(3 * MIB))
        assert cluster.api.finished(cluster.api.download(type="single", link=link))["finished_cnt"] == 1
        check_stored(cluster, "big", data)
        assert len(ranges(origin, "/big")) == 1


def test_versions_are_never_mixed(tmp_path: Path) -> None:
    old, new = content(20 * MIB, 1), content(18 * MIB, 2)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        link = origin.put("/big", old)
        origin.misbehave("/big", Stall(11 * MIB))
        job = cluster.api.download(type="single", link=link)
        wait_for(lambda: received_bytes(cluster, job) > 9 * MIB)
        origin.put("/big", new)
        cluster.stop("t1")
        cluster.start("t1")
        assert cluster.api.finished(job)["finished_cnt"] == 1
        check_stored(cluster, "big", new)


def test_an_object_that_changes_all_the_time_is_an_error_in_the_end(tmp_path: Path) -> None:
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1, retry_attempts=50) as cluster:
        versions = [0]

        def changing(_: str) -> bytes:
            versions[0] += 1
            return content(9 * MIB, versions[0])

        origin.serve_pattern("/changing/", changing)
        origin.misbehave("/changing/x", Cut(3 * MIB), lasting=True)
        job = cluster.api.download(type="single", link=origin.url("/changing/x"))
        status = cluster.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (0, 1)
        assert "has changed while being fetched" in status["download_errors"][0]["error"]
        assert work_files(cluster) == []
        assert cluster.api.get("b", "x").status_code == 404


def test_a_stopped_target_goes_on_where_it_was(tmp_path: Path) -> None:
    data = content(40 * MIB)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=2) as cluster:
        link = origin.put("/big", data)
        origin.misbehave("/big", Stall(23 * MIB))
        job = cluster.api.download(type="single", link=link)
        wait_for(lambda: received_bytes(cluster, job) >= 22 * MIB)
        cluster.stop("t1")
        before = origin.bytes_sent
        cluster.start("t1")
        assert cluster.api.finished(job)["finished_cnt"] == 1
        check_stored(cluster, "big", data)
        assert origin.bytes_sent - before < 19 * MIB


def test_slow_connections_get_company(tmp_path: Path) -> None:
    data = content(24 * MIB)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        link = origin.put("/big", data)
        origin.misbehave("/big", Drip(128 * 1024, 0.02), lasting=True)
        assert cluster.api.finished(cluster.api.download(type="single", link=link))["finished_cnt"] == 1
        check_stored(cluster, "big", data)
        assert len({request.connection for request in origin.requests}) >= 4


def test_connections_of_a_job_are_a_limit_for_streams_too(tmp_path: Path) -> None:
    data = content(16 * MIB)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        link = origin.put("/big", data)
        origin.misbehave("/big", Drip(256 * 1024, 0.02), lasting=True)
        job = cluster.api.download(type="single", link=link, limits={"connections": 2})
        most = [0]

        def ended() -> bool:
            most[0] = max(most[0], len(origin.open_connections))
            return not cluster.api.status(job, only_active_tasks=True)["finished_time"].startswith("1970")

        wait_for(ended, seconds=60)
        check_stored(cluster, "big", data)
        assert 1 <= most[0] <= 2


def test_streams_that_are_refused_leave_the_others_alone(tmp_path: Path) -> None:
    data = content(16 * MIB)
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        link = origin.put("/big", data)
        slow = Drip(128 * 1024, 0.02)
        origin.misbehave("/big", slow, Status(503), Status(429), Cut(10), slow, lasting=True)
        status = cluster.api.finished(cluster.api.download(type="single", link=link))
        assert (status["finished_cnt"], status["error_cnt"]) == (1, 0)
        check_stored(cluster, "big", data)


@pytest.mark.parametrize("size_bytes", [1000, 12 * MIB])
def test_a_digest_of_the_origin_is_checked(size_bytes: int, tmp_path: Path) -> None:
    data = content(size_bytes)
    right, wrong = hashlib.md5(data).digest(), hashlib.md5(b"other").digest()
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        good = origin.put("/good", data, repr_digest=f"sha-256=:{_base64(hashlib.sha256(data).digest())}:")
        bad = origin.put("/bad", data, x_goog_hash=f"md5={_base64(wrong)}")
        status = cluster.api.finished(cluster.api.download(type="multi", objects=[good, bad]))
        assert (status["finished_cnt"], status["error_cnt"]) == (1, 1)
        error = status["download_errors"][0]["error"]
        assert "md5" in error
        assert right.hex() in error
        assert wrong.hex() in error
        check_stored(cluster, "good", data)
        assert cluster.api.get("b", "bad").status_code == 404


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("size_bytes", [1000, 12 * MIB])
def test_an_id_of_git_is_checked_however_the_bytes_come(size_bytes: int, tmp_path: Path) -> None:
    data = content(size_bytes)
    right = {"size": size_bytes, "gitsha1": hashlib.sha1(b"blob %d\0" % size_bytes + data).hexdigest()}
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=1) as cluster:
        plain, chunked = origin.put("/plain", data), origin.put("/chunked", data)
        origin.misbehave("/chunked", Chunked(), lasting=True)
        objects = {
            "plain": {"link": plain, **right},
            "chunked": {"link": chunked, **right},
            "wrong": {"link": plain, **right, "gitsha1": hashlib.sha1(data).hexdigest()},
        }
        status = cluster.api.finished(cluster.api.download(type="multi", objects=objects))
        assert (status["finished_cnt"], status["error_cnt"]) == (2, 1)
        assert right["gitsha1"] in status["download_errors"][0]["error"]
        check_stored(cluster, "plain", data)
        check_stored(cluster, "chunked", data)


@pytest.mark.parametrize("size_bytes", [1000, 12 * MIB])
def test_what_the_job_expects_is_checked(size_bytes: int, tmp_path: Path) -> None:
    data = content(size_bytes)
    sha, wrong = hashlib.sha256(data).hexdigest(), hashlib.sha256(b"other").hexdigest()
    with Origin() as origin, Cluster(tmp_path, targets=2, mountpaths=1) as cluster:
        link = origin.put("/x", data)
        objects = {
            "right": {"link": link, "size": size_bytes, "sha256": sha.upper(), "md5": hashlib.md5(data).hexdigest()},
            "wrong digest": {"link": link, "sha256": wrong},
            "wrong size": {"url": link, "size": size_bytes + 1},
            "plain": link,
        }
        status = cluster.api.finished(cluster.api.download(type="multi", objects=objects))
        assert (status["finished_cnt"], status["error_cnt"]) == (2, 2)
        errors = {error["name"]: error["error"] for error in status["download_errors"]}
        assert sha in errors["wrong digest"]
        assert wrong in errors["wrong digest"]
        assert f"size is {size_bytes}" in errors["wrong size"]
        assert {entry["name"] for entry in cluster.api.list("b")} == {"right", "plain"}
        asked = origin.count("/x")
        again = cluster.api.finished(cluster.api.download(type="multi", objects={"right": objects["right"]}))
        assert (again["skipped_cnt"], origin.count("/x")) == (1, asked)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"link": "http://x/y", "sha257": "00"}, "sha257"),
        ({"size": 5}, "link"),
        ({"link": "http://x/y", "url": "http://x/y"}, "link"),
        ({"link": "http://x/y", "md5": "zz"}, "md5"),
    ],
)
def test_an_entry_that_cannot_be_right_is_refused(entry: dict[str, object], complaint: str, cluster: Cluster) -> None:
    body = {"type": "multi", "bucket": {"name": "b"}, "objects": {"named": entry}}
    response = cluster.api.call("POST", "/v1/download", body)
    assert response.status_code == 400
    assert complaint in response.json()["message"]
    assert '"named' in response.json()["message"]
