"""Jobs that fill a bucket elsewhere, or one with a backend, from itself: what is then in the cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.backends.s3server import MotoS3
from tests.cluster import Cluster

OBJECTS = {f"n{number:02d}": b"x" * (number + 1) for number in range(20)} | {"dir/a b": b"a", "dir/what?#%41": b"bb"}
_ONLY_CACHED = "1"


@pytest.fixture(scope="module")
def cluster(s3: MotoS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("remote"), backends=s3.settings_toml(), targets=2) as running:
        yield running


class Filled:
    """A bucket of the cluster that has what one in S3 has."""

    def __init__(self, cluster: Cluster, s3: MotoS3, name: str, *, is_front: bool) -> None:
        self._api = cluster.api
        self._s3 = s3.client()
        self._source = f"{name}-there"
        self._s3.create_bucket(Bucket=self._source)
        for key, content in OBJECTS.items():
            self.put(key, content)
        self.cname = f"ais://{name}" if is_front else f"s3://{self._source}"
        self.bucket = {"name": name, "provider": "ais"} if is_front else {"name": self._source, "provider": "aws"}
        self.source = f"s3://{self._source}"
        if is_front:
            self._api.create_bucket(name)
            value = {"backend_bck": {"name": self._source, "provider": "aws"}}
            answer = self._api.call("PATCH", f"/v1/buckets/{name}", {"action": "set-bprops", "value": value})
            assert answer.status_code == 200, answer.text

    def put(self, key: str, content: bytes) -> None:
        self._s3.put_object(Bucket=self._source, Key=key, Body=content)

    def remove(self, *keys: str) -> None:
        for key in keys:
            self._s3.delete_object(Bucket=self._source, Key=key)

    def run(self, **job: Any) -> dict[str, Any]:
        job_id = self._api.download(**{"type": "backend", "bucket": self.bucket, **job})
        return self._api.finished(job_id)

    def here(self) -> dict[str, bytes]:
        """What the cluster has, without asking S3."""
        path, query = f"/v1/buckets/{self.bucket['name']}", f"?provider={self.bucket['provider']}"
        value = {"props": "name,size", "flags": _ONLY_CACHED}
        answer = self._api.call("GET", path + query, {"action": "list", "value": value})
        assert answer.status_code == 200, answer.text
        names = [entry["name"] for entry in answer.json()["entries"] or []]
        found = {}
        for name in names:
            found[name] = self._api.http.get(f"/v1/objects/{self.bucket['name']}/{quote(name)}{query}").content
        return found


@pytest.fixture(params=[False, True], ids=["itself", "front"])
def filled(cluster: Cluster, s3: MotoS3, request: pytest.FixtureRequest) -> Filled:
    name = request.function.__name__.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
    return Filled(cluster, s3, f"{name}-{int(request.param)}", is_front=request.param)


def figures(status: dict[str, Any]) -> tuple[int, int, int, int]:
    """Finished, of these unchanged and removed, failed."""
    return status["finished_cnt"], status["skipped_cnt"], status.get("removed_cnt", 0), status["error_cnt"]


def test_all_of_it_and_again(filled: Filled) -> None:
    status = filled.run()
    assert (figures(status), status["total"]) == ((22, 0, 0, 0), 22)
    assert filled.here() == OBJECTS
    assert figures(filled.run()) == (22, 22, 0, 0)


def test_a_part_of_it(filled: Filled) -> None:
    assert figures(filled.run(prefix="n1", suffix="1")) == (1, 0, 0, 0)
    assert figures(filled.run(prefix="dir/")) == (2, 0, 0, 0)
    assert filled.here() == {name: OBJECTS[name] for name in ("n11", "dir/a b", "dir/what?#%41")}


def test_one_object_of_it_is_kept_with_its_digest_only(filled: Filled) -> None:
    single = {"type": "single", "from_remote": True, "object_name": "n11"}
    wrong = filled.run(**single, sha256="0" * 64)
    assert figures(wrong) == (0, 0, 0, 1)
    assert "sha256" in wrong["download_errors"][0]["error"]
    assert figures(filled.run(**single, sha256=hashlib.sha256(OBJECTS["n11"]).hexdigest())) == (1, 0, 0, 0)


def test_what_has_changed_and_what_is_gone_there(filled: Filled) -> None:
    assert figures(filled.run(sync=True)) == (22, 0, 0, 0)
    filled.put("n00", b"changed")
    filled.put("added", b"new")
    filled.remove("n01", "n02", "dir/a b")
    # Without `sync` what is gone there stays.
    assert figures(filled.run(prefix="n")) == (18, 17, 0, 0)
    assert set(filled.here()) == set(OBJECTS)
    refused = filled.run(sync=True, max_delete=2)
    assert figures(refused) == (20, 19, 0, 1)
    assert "'max_delete' allows 2: none was removed" in refused["download_errors"][0]["error"]
    # What is not in the part that is synchronised stays, too.
    assert figures(filled.run(sync=True, prefix="dir/")) == (2, 1, 1, 0)
    assert figures(filled.run(sync=True, max_delete=2)) == (22, 20, 2, 0)
    now = {name: content for name, content in OBJECTS.items() if name not in ("n01", "n02", "dir/a b")}
    assert filled.here() == now | {"n00": b"changed", "added": b"new"}


def test_one_object(filled: Filled) -> None:
    single = {"type": "single", "from_remote": True}
    status = filled.run(**single, object_name="dir/what%3F%23%2541")
    assert figures(status) == (1, 0, 0, 0)
    assert status["description"] == f"{filled.source}/dir/what%3F%23%2541 -> {filled.cname}/dir/what?#%41"
    assert filled.here() == {"dir/what?#%41": b"bb"}
    missing = filled.run(**single, object_name="none")
    assert figures(missing) == (0, 0, 0, 1)
    assert missing["download_errors"] == [{"name": "none", "error": f"{filled.source}/none does not exist"}]
    assert set(filled.here()) == {"dir/what?#%41"}


def test_only_what_is_elsewhere_can_be_fetched_so(cluster: Cluster) -> None:
    cluster.api.create_bucket("plain")
    for job in ({"type": "single", "from_remote": True, "object_name": "x"}, {"type": "backend", "sync": True}):
        answer = cluster.api.call("POST", "/v1/download", {"bucket": {"name": "plain"}, **job})
        assert answer.status_code == 400
        assert "bucket download requires a remote bucket (ais://plain is none" in answer.json()["message"]


def test_a_bucket_elsewhere_takes_only_its_own_objects(cluster: Cluster, s3: MotoS3) -> None:
    s3.client().create_bucket(Bucket="only-own")
    bucket = {"name": "only-own", "provider": "aws"}
    job = {"type": "single", "bucket": bucket, "link": "http://127.0.0.1:1/x", "object_name": "x"}
    answer = cluster.api.call("POST", "/v1/download", job)
    assert (answer.status_code, "only its own objects" in answer.json()["message"]) == (400, True)
