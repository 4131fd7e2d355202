"""From the web into a bucket and out of it by S3: boto3, rclone and s3cmd at a cluster of `haul cluster up`.

The cluster is one of processes, as README.md says; each client does with it what people do, from beginning to end.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from tests.origin import Origin
from tests.ports import free_port
from tests.s3.service import run
from tests.waiting import wait_for

SHARDS = {f"shard-{number:04}.bin": b"%04d" % number * 50_000 for number in range(12)}
NAMES = sorted(f"train/{name}" for name in SHARDS)
UNFINISHED = "1970-01-01T00:00:00Z"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`api`, a proxy's URL, and `s3`, that of the port of S3's own."""
    directory = tmp_path_factory.mktemp("cluster")
    home = {"HOME": str(tmp_path_factory.mktemp("home"))}
    haul = (sys.executable, "-c", "from cli.main import main; main()", "cluster")
    port = free_port()
    shape = ("--targets", "3", "--mountpaths", "2", "--port", str(port), "--s3-port", str(port + 8))
    allowed = ("--allow-origin", "127.0.0.0/8", "--durability", "process")
    try:
        run(*haul, "up", "--dir", directory, *shape, *allowed, env=home)
        yield {"api": f"http://127.0.0.1:{port}", "s3": f"http://127.0.0.1:{port + 8}"}
    finally:
        run(*haul, "down", "--dir", directory, env=home)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        for name, content in SHARDS.items():
            origin.put(f"/data/{name}", content)
        yield origin


@pytest.fixture
def bucket() -> str:
    return f"story-{uuid.uuid4().hex[:12]}"


def download(api: str, origin: Origin, bucket: str) -> None:
    """A job over REST, waited for and removed; the bucket is there."""
    job = {
        "type": "range",
        "bucket": {"name": bucket, "provider": "ais"},
        "template": f"{origin.base}/data/shard-{{0000..0011}}.bin",
        "subdir": "train",
    }
    job_id = httpx.post(f"{api}/v1/download", json=job).raise_for_status().json()["id"]

    def status() -> dict[str, Any]:
        answer = httpx.request("GET", f"{api}/v1/download", json={"id": job_id}).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    wait_for(lambda: status()["finished_time"] != UNFINISHED, what=f"the end of {job_id}")
    assert (status()["finished_cnt"], status()["error_cnt"]) == (len(SHARDS), 0)
    httpx.request("DELETE", f"{api}/v1/download/remove", json={"id": job_id}).raise_for_status()


def is_there(api: str, bucket: str) -> bool:
    return httpx.head(f"{api}/v1/buckets/{bucket}", params={"provider": "ais"}).status_code == 200


@pytest.mark.parametrize("place", ["below the proxy's URL", "at a port of its own"])
def test_boto3(endpoints: dict[str, str], origin: Origin, bucket: str, place: str) -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoints["s3"] if "own" in place else f"{endpoints['api']}/s3",
        aws_access_key_id="anything",
        aws_secret_access_key="anything",
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket=bucket)
    download(endpoints["api"], origin, bucket)
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="train/", PaginationConfig={"PageSize": 5}
    )
    listed = [entry for page in pages for entry in page["Contents"]]
    assert [entry["Key"] for entry in listed] == NAMES
    assert {entry["Size"] for entry in listed} == {200_000}
    key = "train/shard-0007.bin"
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == 200_000
    part = s3.get_object(Bucket=bucket, Key=key, Range="bytes=4-11")
    assert (part["Body"].read(), part["ContentRange"]) == (b"00070007", "bytes 4-11/200000")
    assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=-3")["Body"].read() == b"007"
    for name, content in SHARDS.items():
        assert s3.get_object(Bucket=bucket, Key=f"train/{name}")["Body"].read() == content
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name} for name in NAMES]})
    s3.delete_bucket(Bucket=bucket)
    assert not is_there(endpoints["api"], bucket)


def test_rclone(endpoints: dict[str, str], origin: Origin, bucket: str, tmp_path: Path) -> None:
    env = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_HAUL_TYPE": "s3",
        "RCLONE_CONFIG_HAUL_PROVIDER": "Other",
        "RCLONE_CONFIG_HAUL_ENDPOINT": f"{endpoints['api']}/s3",
        "RCLONE_CONFIG_HAUL_ACCESS_KEY_ID": "anything",
        "RCLONE_CONFIG_HAUL_SECRET_ACCESS_KEY": "anything",
    }

    def rclone(*arguments: str | Path) -> str:
        return run("rclone", "--retries", "1", *arguments, env=env)

    place = f"haul:{bucket}"
    rclone("mkdir", place)
    download(endpoints["api"], origin, bucket)
    listed = json.loads(rclone("lsjson", "--recursive", "--files-only", place))
    assert sorted((entry["Path"], entry["Size"]) for entry in listed) == [(name, 200_000) for name in NAMES]
    assert rclone("cat", "--offset", "4", "--count", "8", f"{place}/train/shard-0007.bin") == "00070007"
    rclone("copy", f"{place}/train", tmp_path / "back")
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == SHARDS
    rclone("check", "--download", tmp_path / "back", f"{place}/train")
    rclone("purge", place)
    assert not is_there(endpoints["api"], bucket)


@pytest.mark.parametrize("place", ["below the proxy's URL", "at a port of its own"])
def test_s3cmd(endpoints: dict[str, str], origin: Origin, bucket: str, tmp_path: Path, place: str) -> None:
    host = (endpoints["s3"] if "own" in place else f"{endpoints['api']}/s3").partition("//")[2]
    options = ("--config=/dev/null", f"--host={host}", f"--host-bucket={host}", "--no-ssl", "--no-progress")

    def s3cmd(*arguments: str | Path) -> str:
        return run("s3cmd", *options, "--access_key=anything", "--secret_key=anything", *arguments)

    s3cmd("mb", f"s3://{bucket}")
    download(endpoints["api"], origin, bucket)
    lines = s3cmd("ls", "--recursive", f"s3://{bucket}").splitlines()
    assert [line.split()[-1] for line in lines] == [f"s3://{bucket}/{name}" for name in NAMES]
    back = tmp_path / "back"
    back.mkdir()
    s3cmd("sync", f"s3://{bucket}/train/", f"{back}/")
    assert {path.name: path.read_bytes() for path in back.iterdir()} == SHARDS
    (tmp_path / "large").write_bytes(os.urandom(20 << 20))
    s3cmd("--multipart-chunk-size-mb=15", "put", tmp_path / "large", f"s3://{bucket}/large")
    s3cmd("get", f"s3://{bucket}/large", tmp_path / "large.back")
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in ("large", "large.back")]
    assert digests[0] == digests[1]
    s3cmd("rb", "--recursive", "--force", f"s3://{bucket}")
    assert not is_there(endpoints["api"], bucket)
