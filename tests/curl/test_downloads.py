"""Every request of AIStore's documentation of the downloader, with curl."""

from __future__ import annotations

import pytest

from tests.cluster import Cluster
from tests.curl.conftest import Answer, Curl
from tests.origin import Origin

START = "curl -Lig -H 'Content-Type: application/json' -d '%s' -X POST 'http://G/v1/download'"
STATUS = """curl -Li -H 'Content-Type: application/json' -d '{"id": "%s"}' -X GET 'http://G/v1/download'"""
ABORT = """curl -Li -H 'Content-Type: application/json' -d '{"id": "%s"}' -X DELETE 'http://G/v1/download/abort'"""
REMOVE = """curl -Li -H 'Content-Type: application/json' -d '{"id": "%s"}' -X DELETE 'http://G/v1/download/remove'"""


@pytest.fixture(autouse=True)
def served(origin: Origin) -> None:
    """Three files with names of their own, and a thousand numbered ones."""
    for name in ("one.gz", "two.gz", "three.gz", "image.iso"):
        origin.put(f"/files/{name}", name.encode() * 10)
    for number in range(1, 1001):
        origin.put(f"/some_dir/object{number}log.txt", b"log %d" % number)


def finished(cluster: Cluster, answer: Answer) -> list[str]:
    """Once the job that was started has ended without an error: the names that are in its bucket."""
    assert answer.status == 200, answer.text
    job_id = answer.json()["id"]
    status = cluster.api.finished(job_id)
    assert status["error_cnt"] == 0
    return [entry["name"] for entry in cluster.api.list(status["description"])]


def test_single(curl: Curl, cluster: Cluster, bucket: str) -> None:
    answer = curl(
        START
        % f"""{{
          "type": "single",
          "description": "{bucket}",
          "bucket": {{"name": "{bucket}"}},
          "object_name": "named.iso",
          "link": "http://WEB/files/image.iso"
        }}"""
    )
    assert finished(cluster, answer) == ["named.iso"]
    assert cluster.api.get(bucket, "named.iso").content == b"image.iso" * 10


def test_single_into_a_bucket_that_is_not_there_named_by_its_link(curl: Curl, cluster: Cluster) -> None:
    answer = curl(
        START
        % """{"type": "single", "description": "made", "bucket": {"name": "made", "provider": "ais"},
              "timeout": "5m", "limits": {"connections": 2, "bytes_per_hour": 100000000},
              "link": "WEB/files/image.iso"}"""
    )
    assert finished(cluster, answer) == ["image.iso"]


def test_multi_by_a_map(curl: Curl, cluster: Cluster, bucket: str) -> None:
    answer = curl(
        START
        % f"""{{
          "type": "multi",
          "description": "{bucket}",
          "bucket": {{"name": "{bucket}"}},
          "objects": {{"first.gz": "http://WEB/files/one.gz", "second.gz": "http://WEB/files/two.gz"}}
        }}"""
    )
    assert finished(cluster, answer) == ["first.gz", "second.gz"]


def test_multi_by_a_list(curl: Curl, cluster: Cluster, bucket: str) -> None:
    answer = curl(
        START
        % f"""{{
          "type": "multi",
          "description": "{bucket}",
          "bucket": {{"name": "{bucket}"}},
          "objects": ["http://WEB/files/one.gz", "http://WEB/files/two.gz", "http://WEB/files/three.gz"]
        }}"""
    )
    assert finished(cluster, answer) == ["one.gz", "three.gz", "two.gz"]


@pytest.mark.parametrize(
    ("template", "numbers", "subdir"),
    [
        ("object{200..300}log.txt", range(200, 301), ""),
        ("object{200..300}log.txt", range(200, 301), "some/subdir/"),
        ("object{1..1000..10}log.txt", range(1, 1001, 10), ""),
    ],
)
def test_range(curl: Curl, cluster: Cluster, bucket: str, template: str, numbers: range, subdir: str) -> None:
    answer = curl(
        START
        % f"""{{
          "type": "range",
          "description": "{bucket}",
          "bucket": {{"name": "{bucket}"}},
          "template": "WEB/some_dir/{template}",
          "subdir": "{subdir}"
        }}"""
    )
    assert finished(cluster, answer) == sorted(f"{subdir}object{number}log.txt" for number in numbers)


def test_backend_needs_a_bucket_elsewhere(curl: Curl, bucket: str) -> None:
    answer = curl(START % f'{{"type": "backend", "bucket": {{"name": "{bucket}"}}, "prefix": "a", "suffix": ".tgz"}}')
    assert answer.status == 400
    assert "remote bucket" in answer.json()["message"]


def test_backend_of_a_cloud_that_the_cluster_does_not_know(curl: Curl) -> None:
    answer = curl(START % '{"type": "backend", "bucket": {"name": "far", "provider": "gcp"}, "prefix": "a"}')
    assert 400 <= answer.status < 500
    assert answer.json()["message"]


def test_status_abort_and_remove(curl: Curl, cluster: Cluster, origin: Origin, bucket: str) -> None:
    gate = origin.gate("/files/slow")
    origin.put("/files/slow", b"slow")
    started = curl(
        START
        % f'{{"type": "single", "description": "1 slow", "bucket": {{"name": "{bucket}"}}, "link": "WEB/files/slow"}}'
    )
    job_id = started.json()["id"]
    assert started.headers["content-type"] == "application/json"

    status = curl(STATUS % job_id)
    assert (status.status, status.json()["id"], status.json()["total"]) == (200, job_id, 1)
    assert curl(REMOVE % job_id).status == 400

    assert (curl(ABORT % job_id).status, curl(ABORT % job_id).status) == (200, 200)
    gate.release()
    assert curl(STATUS % job_id).json()["aborted"] is True
    assert (curl(REMOVE % job_id).status, curl(REMOVE % job_id).status) == (200, 404)
    assert curl(STATUS % job_id).status == 404
    assert curl(ABORT % job_id).status == 404


def test_lists(curl: Curl, cluster: Cluster, bucket: str) -> None:
    ids = {}
    for description in ("7 dwarfs", "snow white"):
        answer = curl(
            START
            % f"""{{"type": "single", "description": "{description}", "bucket": {{"name": "{bucket}"}},
                   "link": "WEB/files/one.gz"}}"""
        )
        ids[description] = answer.json()["id"]
        cluster.api.finished(ids[description])
    everything = curl("curl -Li -X GET 'http://G/v1/download'")
    assert {job["id"] for job in everything.json()} >= set(ids.values())
    digits = curl(
        """curl -Li -H 'Content-Type: application/json' -d '{"regex": "^[0-9]"}' -X GET 'http://G/v1/download'"""
    )
    assert ids["7 dwarfs"] in {job["id"] for job in digits.json()}
    assert ids["snow white"] not in {job["id"] for job in digits.json()}
