"""Easy URLs, `/ais/BUCKET/OBJECT`, with curl, as AIStore documents them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.curl.conftest import Curl

CONTENT = b"read me\n" * 1000


@pytest.fixture(autouse=True)
def file(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_bytes(CONTENT)
    return path


def test_put_needs_a_name(curl: Curl, bucket: str) -> None:
    answer = curl(f"curl -L -X PUT 'http://G/ais/{bucket}' -T README.md")
    assert answer.status == 400
    assert answer.json()["message"] == f'missing destination object name in the "easy URL": PUT /ais/{bucket}'


def test_put_and_get(curl: Curl, cluster: Cluster, bucket: str, tmp_path: Path) -> None:
    assert curl(f"curl -L -X PUT 'http://G/ais/{bucket}/qq' -T README.md").status == 200
    assert curl(f"curl -L -X GET 'http://G/ais/{bucket}/qq' -o got").status == 200
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert cluster.api.get(bucket, "qq").content == CONTENT


def test_put_a_pipe_of_unknown_length(curl: Curl, bucket: str) -> None:
    assert curl(f"curl -L -H 'Transfer-Encoding: chunked' -T README.md 'http://G/ais/{bucket}/qq'").status == 200
    assert curl(f"curl -L http://G/ais/{bucket}/qq").body == CONTENT


def test_names_with_directories(curl: Curl, bucket: str) -> None:
    # AIStore 5.0 joins "a" and "b/c" without the slash between them; nobody can want that.
    assert curl(f"curl -L -T README.md http://G/ais/{bucket}/a/b/c").status == 200
    assert [entry["name"] for entry in curl(f"curl -L http://G/ais/{bucket}").json()["entries"]] == ["a/b/c"]
    assert curl(f"curl -L http://G/ais/{bucket}/a/b/c").body == CONTENT


def test_ranges(curl: Curl, bucket: str) -> None:
    curl(f"curl -L -T README.md http://G/ais/{bucket}/qq")
    answer = curl(f"curl -L -r 5-6 http://G/ais/{bucket}/qq")
    assert (answer.status, answer.body) == (206, b"me")


def test_head_and_delete(curl: Curl, bucket: str) -> None:
    curl(f"curl -L -T README.md http://G/ais/{bucket}/qq")
    head = curl(f"curl -L --head http://G/ais/{bucket}/qq")
    assert (head.status, head.headers["content-length"]) == (200, str(len(CONTENT)))
    assert curl(f"curl -L -X DELETE http://G/ais/{bucket}/qq").status == 200
    assert curl(f"curl -L http://G/ais/{bucket}/qq").status == 404


def test_lists_objects(curl: Curl, bucket: str) -> None:
    curl(f"curl -L -X PUT 'http://G/ais/{bucket}/qq' -T README.md")
    page = curl(f"curl -L -X GET 'http://G/ais/{bucket}'").json()
    assert (page["continuation_token"], page["flags"]) == ("", 0)
    assert page["uuid"]
    (entry,) = page["entries"]
    assert (entry["name"], entry["size"], entry["flags"]) == ("qq", str(len(CONTENT)), 64)


def test_lists_objects_with_the_body_that_documentation_adds(curl: Curl, bucket: str) -> None:
    curl(f"curl -L -X PUT 'http://G/ais/{bucket}/qq' -T README.md")
    answer = curl(
        f"""curl -s -L -X GET -H 'Content-Type: application/json' -d '{{"action": "list"}}' 'http://G/ais/{bucket}'"""
    )
    assert [entry["name"] for entry in answer.json()["entries"]] == ["qq"]


def test_lists_buckets(curl: Curl, bucket: str) -> None:
    assert {"name": bucket, "provider": "ais", "namespace": {"uuid": "", "name": ""}} in curl(
        "curl -L -X GET 'http://G/ais'"
    ).json()


@pytest.mark.parametrize("provider", ["gs", "az"])
def test_lists_buckets_of_clouds(curl: Curl, provider: str) -> None:
    answer = curl(f"curl -L -X GET 'http://G/{provider}'")
    assert answer.status < 500
    answer = curl(f"curl -L 'http://G/{provider}/nowhere/object'")
    assert 400 <= answer.status < 500
