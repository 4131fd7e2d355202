"""Jobs whose source is a bucket outside of the cluster, listed while they run; the bucket is in moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.contract import AWKWARD_NAMES
from tests.backends.gateway import Gateway
from tests.backends.gcsserver import GcsServer
from tests.backends.s3server import MotoS3
from tests.cluster import Api, Cluster
from tests.origin import Origin


@pytest.fixture(scope="module")
def cluster(s3: MotoS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("sources"), backends=s3.settings_toml(), targets=2) as running:
        yield running


class Source:
    """A bucket in S3."""

    def __init__(self, s3: MotoS3, name: str) -> None:
        self.name = name
        self._client = s3.client()
        self._client.create_bucket(Bucket=name)

    def put(self, objects: dict[str, bytes]) -> None:
        for name, content in objects.items():
            self._client.put_object(Bucket=self.name, Key=name, Body=content)

    def remove(self, *names: str) -> None:
        for name in names:
            self._client.delete_object(Bucket=self.name, Key=name)

    def job(self, **fields: Any) -> dict[str, Any]:
        return {"type": "backend", "source": {"name": self.name, "provider": "aws"}, **fields}


@pytest.fixture
def source(s3: MotoS3, request: pytest.FixtureRequest) -> Source:
    return Source(s3, f"b{abs(hash(request.node.name)) % 10**12}")


def run(cluster: Cluster, job: dict[str, Any]) -> dict[str, Any]:
    return cluster.api.finished(cluster.api.download(**job))


def contents(cluster: Cluster, bucket: str) -> dict[str, bytes]:
    names = [entry["name"] for entry in cluster.api.list(bucket)]
    return {name: cluster.api.get(bucket, name).content for name in names}


def test_a_bucket_arrives_with_all_awkward_names(cluster: Cluster, source: Source) -> None:
    objects = {name: name.encode() for name in AWKWARD_NAMES}
    source.put(objects)
    status = run(cluster, source.job(bucket={"name": "awkward"}))
    assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (len(objects), 0, len(objects))
    assert contents(cluster, "awkward") == objects
    again = run(cluster, source.job(bucket={"name": "awkward"}))
    assert (again["skipped_cnt"], again["finished_cnt"]) == (len(objects), len(objects))


def test_prefix_suffix_and_directory(cluster: Cluster, source: Source) -> None:
    source.put({"a/1.bin": b"1", "a/2.txt": b"2", "b/1.bin": b"3", "a/folder/": b""})
    run(cluster, source.job(bucket={"name": "parts"}, prefix="a/", suffix=".bin", subdir="into"))
    assert contents(cluster, "parts") == {"into/a/1.bin": b"1"}


def test_a_synchronised_bucket_becomes_what_the_source_is(cluster: Cluster, source: Source) -> None:
    source.put({f"n{number:03d}": b"old" for number in range(60)})
    sync = source.job(bucket={"name": "synced"}, sync=True)
    assert run(cluster, sync)["finished_cnt"] == 60
    cluster.api.put("synced", "mine", b"uploaded by somebody")
    source.put({"n000": b"newer", "n001": b"new", "added": b"more"})
    source.remove("n010", "n011")
    status = run(cluster, sync)
    assert (status["finished_cnt"], status["skipped_cnt"], status["error_cnt"]) == (61 - 2 + 2, 56, 0)
    assert status["total"] == status["scheduled_cnt"] == 61
    expected = {f"n{number:03d}": b"old" for number in range(60) if number not in (10, 11)}
    assert contents(cluster, "synced") == expected | {
        "n000": b"newer",
        "n001": b"new",
        "added": b"more",
        "mine": b"uploaded by somebody",
    }


def test_more_removals_than_allowed_remove_nothing(cluster: Cluster, source: Source) -> None:
    objects = {f"n{number}": b"x" for number in range(10)}
    source.put(objects)
    sync = source.job(bucket={"name": "guarded"}, sync=True, max_delete=3)
    run(cluster, sync)
    source.remove("n0", "n1", "n2", "n3")
    status = run(cluster, sync)
    assert status["error_cnt"] == 1
    assert "4 of 10 objects are gone at the source" in status["download_errors"][0]["error"]
    assert contents(cluster, "guarded") == objects
    assert run(cluster, sync | {"max_delete": 4})["error_cnt"] == 0
    assert len(contents(cluster, "guarded")) == 6


def test_what_cannot_be_listed_is_told_at_once_and_makes_nothing(cluster: Cluster) -> None:
    job = {"type": "backend", "source": {"name": "no-such-bucket", "provider": "aws"}, "bucket": {"name": "never-made"}}
    answer = cluster.api.call("POST", "/v1/download", job)
    assert answer.status_code == 404
    assert "s3://no-such-bucket" in answer.json()["message"]
    assert "never-made" not in [bucket["name"] for bucket in cluster.api.call("GET", "/v1/buckets").json()]


def test_objects_and_templates_of_a_bucket_are_links(cluster: Cluster, source: Source) -> None:
    source.put({f"shard-{number:04d}.tgz": b"%d" % number for number in range(1, 12)} | {"a b?.txt": b"odd"})
    template = f"s3://{source.name}/shard-{{0001..0010}}.tgz"
    assert run(cluster, {"type": "range", "bucket": {"name": "links"}, "template": template})["finished_cnt"] == 10
    run(cluster, {"type": "single", "bucket": {"name": "links"}, "link": f"s3://{source.name}/a b%3F.txt"})
    assert contents(cluster, "links") == {
        **{f"shard-{number:04d}.tgz": b"%d" % number for number in range(1, 11)},
        "a b?.txt": b"odd",
    }
    status = run(cluster, {"type": "single", "bucket": {"name": "links"}, "link": f"s3://{source.name}/missing"})
    assert status["error_cnt"] == 1
    assert status["download_errors"][0]["error"] == f"s3://{source.name}/missing does not exist"


@pytest.fixture(scope="module")
def west(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("west"), targets=2) as running:
        yield running


@pytest.mark.parametrize("is_sync", [False, True])
def test_another_proxy_goes_on_with_a_listing_whose_proxy_has_gone(
    west: Cluster, origin: Origin, tmp_path: Path, is_sync: bool
) -> None:
    bucket = f"pages-{is_sync}".lower()
    origin.serve_pattern("/pages/", lambda name: name.encode())
    template = origin.url("/pages/n{00000..07499}")
    run(west, {"type": "range", "bucket": {"name": bucket}, "template": template})
    host, _, port = west.urls["p1"].removeprefix("http://").partition(":")
    with Gateway(host, int(port)) as gateway:
        gateway.relays_until = 5
        backends = f'[clusters.west]\nurl = "{gateway.url}"\n'
        with Cluster(tmp_path, backends=backends, targets=2, proxies=2) as cluster:
            source = {"name": bucket, "provider": "ais", "namespace": {"uuid": "west"}}
            job = cluster.api.download(type="backend", source=source, bucket={"name": "copy"}, sync=is_sync)
            assert gateway.is_holding.wait(30)
            other = Api(cluster.urls["p2"])
            status = other.status(job)
            assert (status["total"], status["all_dispatched"]) == (-2, False)
            assert status["finished_time"].startswith("1970")
            cluster.stop("p1")
            gateway.let_go()
            status = other.finished(job)
            assert (status["total"], status["finished_cnt"], status["skipped_cnt"]) == (7_500, 7_500, 0)
            assert len(other.list("copy")) == 7_500
            other.close()


@pytest.mark.parametrize("is_aborted", [False, True])
def test_a_listing_rests_with_its_job_and_ends_with_it(
    west: Cluster, origin: Origin, tmp_path: Path, is_aborted: bool
) -> None:
    origin.serve_pattern("/resting/", lambda name: name.encode())
    template = origin.url("/resting/n{00000..07499}")
    run(west, {"type": "range", "bucket": {"name": "resting"}, "template": template})
    host, _, port = west.urls["p1"].removeprefix("http://").partition(":")
    with Gateway(host, int(port)) as gateway:
        gateway.relays_until = 1
        with Cluster(tmp_path, backends=f'[clusters.west]\nurl = "{gateway.url}"\n', targets=2) as cluster:
            api = cluster.api
            source = {"name": "resting", "provider": "ais", "namespace": {"uuid": "west"}}
            job = api.download(type="backend", source=source, bucket={"name": "copy"})
            assert gateway.is_holding.wait(30)
            if is_aborted:
                assert api.call("DELETE", "/v1/download/abort", {"id": job}).status_code == 200
                gateway.let_go()
                assert api.finished(job)["aborted"]
                assert len(api.list("copy")) < 7_500
                return
            assert api.call("POST", "/v1/download/pause", {"id": job}).status_code == 200
            gateway.let_go()
            assert api.call("POST", "/v1/download/resume", {"id": job}).status_code == 200
            status = api.finished(job)
            assert (status["total"], status["finished_cnt"], status["error_cnt"]) == (7_500, 7_500, 0)


def test_a_sync_of_ten_thousand_objects_transfers_and_removes_exactly_what_has_changed(
    west: Cluster, origin: Origin, tmp_path: Path
) -> None:
    origin.serve_pattern("/many/", lambda name: name.encode())
    template = origin.url("/many/n{00000..09999}")
    assert run(west, {"type": "range", "bucket": {"name": "many"}, "template": template})["finished_cnt"] == 10_000
    source = {"name": "many", "provider": "ais", "namespace": {"uuid": "west"}}
    sync = {"type": "backend", "source": source, "bucket": {"name": "copy"}, "sync": True}
    with Cluster(tmp_path, backends=f'[clusters.west]\nurl = "{west.urls["p1"]}"\n', targets=2) as cluster:
        first = run(cluster, sync)
        assert (first["finished_cnt"], first["skipped_cnt"], first["total"]) == (10_000, 0, 10_000)
        for number in range(100):
            west.api.put("many", f"n{number:05d}", b"changed")
            west.api.put("many", f"added-{number}", b"new")
            west.api.call("DELETE", f"/v1/objects/many/n{5_000 + number:05d}")
        status = run(cluster, sync)
        assert (status["skipped_cnt"], status["error_cnt"]) == (9_800, 0)
        transferred_and_removed = status["finished_cnt"] - status["skipped_cnt"]
        names = {entry["name"] for entry in cluster.api.list("copy")}
        assert (transferred_and_removed, len(names)) == (200 + 100, 10_000)
        assert not names & {f"n{5_000 + number:05d}" for number in range(100)}
        assert cluster.api.get("copy", "n00007").content == b"changed"
        assert cluster.api.get("copy", "added-99").content == b"new"


def test_credentials_of_a_job_let_it_in_and_are_readable_nowhere(tmp_path: Path) -> None:
    token = "canarySECRETcanary"
    with GcsServer() as gcs, Cluster(tmp_path, backends=gcs.settings_toml(), targets=2) as cluster:
        gcs.make_bucket("private")
        gcs.put("private", {f"n{number}": b"x" for number in range(20)})
        gcs.tokens = {token}
        job = {"type": "backend", "source": {"name": "private", "provider": "gs"}, "bucket": {"name": "carried"}}
        refused = cluster.api.call("POST", "/v1/download", job)
        assert (refused.status_code, "canary" in refused.text) == (403, False)
        with_token = job | {"credentials": {"token": token}, "sync": True}
        dry = cluster.api.call("POST", "/v1/download", with_token | {"dry_run": True}).json()
        assert (dry["objects"], dry["error_cnt"]) == (20, 0)
        job_id = cluster.api.download(**with_token)
        status = cluster.api.finished(job_id)
        assert (status["finished_cnt"], status["error_cnt"]) == (20, 0)
        range_job = {"type": "range", "bucket": {"name": "r"}, "template": "gs://private/n{1..3}"}
        assert run(cluster, range_job)["error_cnt"] == 3
        status = run(cluster, range_job | {"credentials": {"token": token}})
        assert (status["finished_cnt"], status["error_cnt"]) == (3, 0)
        assert token not in str(cluster.api.status(job_id))
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert {"journal.db", "meta.db"} <= {path.name for path in written}
        assert not [path for path in written if token.encode() in path.read_bytes()]


def test_unknown_credentials_are_refused_without_being_repeated(cluster: Cluster, source: Source) -> None:
    for credentials in ({"password": "canarySECRET"}, {"access_key_id": 5}, ["canarySECRET"]):
        answer = cluster.api.call("POST", "/v1/download", source.job(bucket={"name": "b"}, credentials=credentials))
        assert answer.status_code == 400
        assert "'credentials'" in answer.json()["message"]
        assert "SECRET" not in answer.text


def test_a_listing_that_fails_ends_the_job_with_an_error_and_removes_nothing(
    west: Cluster, origin: Origin, tmp_path: Path
) -> None:
    origin.serve_pattern("/failing/", lambda name: name.encode())
    template = origin.url("/failing/n{00000..03999}")
    run(west, {"type": "range", "bucket": {"name": "failing"}, "template": template})
    host, _, port = west.urls["p1"].removeprefix("http://").partition(":")
    with (
        Gateway(host, int(port)) as gateway,
        Cluster(tmp_path, backends=f'[clusters.west]\nurl = "{gateway.url}"\n', targets=2) as cluster,
    ):
        source = {"name": "failing", "provider": "ais", "namespace": {"uuid": "west"}}
        job = {"type": "backend", "source": source, "bucket": {"name": "copy"}, "sync": True}
        assert run(cluster, job)["finished_cnt"] == 4_000
        west.api.call("DELETE", "/v1/objects/failing/n00000")
        gateway.relays_until = gateway.asked + 1
        job_id = cluster.api.download(**job)
        assert gateway.is_holding.wait(30)
        west.api.call("DELETE", "/v1/buckets/failing?provider=ais", {"action": "destroy-bck"})
        gateway.let_go()
        status = cluster.api.finished(job_id)
        assert (status["error_cnt"], status["finished_cnt"]) == (1, status["scheduled_cnt"] - 1)
        assert "ais://@west#/failing" in status["download_errors"][0]["error"]
        assert len(cluster.api.list("copy")) == 4_000
