"""Buckets outside of the cluster through the library: a job that fetches one, and `haul://s3@bucket/name`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import haul
from haul.filesystem import HaulFileSystem
from tests.backends.s3server import MotoS3
from tests.cluster import Cluster


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    with MotoS3() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, moto: MotoS3) -> Iterator[Cluster]:
    root: Path = tmp_path_factory.mktemp("cluster")
    with Cluster(root, targets=2, proxies=2, mountpaths=1, backends=moto.settings_toml(), retry_attempts=2) as running:
        yield running


@pytest.fixture(scope="module")
def s3(moto: MotoS3) -> Any:
    client = moto.client()
    client.create_bucket(Bucket="source")
    for name in ("set/a.bin", "set/b.bin", "set/deep/c.txt"):
        client.put_object(Bucket="source", Key=name, Body=name.encode() * 1000)
    return client


def test_a_bucket_outside_is_copied_by_a_job(client: haul.Client, s3: Any) -> None:
    job = client.wait(client.start(haul.BackendJob("copied", "s3://source", prefix="set/", suffix=".bin", subdir="s3")))
    assert (job.state, job.finished_count) == ("finished", 2)
    assert [entry.name for entry in client.objects("copied")] == ["s3/set/a.bin", "s3/set/b.bin"]
    s3.delete_object(Bucket="source", Key="set/b.bin")
    again = haul.BackendJob("copied", "s3://source", prefix="set/", suffix=".bin", subdir="s3", sync=True, max_delete=1)
    assert client.survey(again).remove_count == 1
    ended = client.wait(client.start(again))
    assert (ended.removed_count, ended.skipped_count) == (1, 1)
    s3.put_object(Bucket="source", Key="set/b.bin", Body=b"set/b.bin" * 1000)


def test_objects_that_are_not_here_are_listed_and_read(fs: HaulFileSystem, s3: Any) -> None:
    assert fs.find("haul://s3@source/set") == ["s3@source/set/a.bin", "s3@source/set/b.bin", "s3@source/set/deep/c.txt"]
    assert fs.glob("haul://s3@source/set/*.bin") == ["s3@source/set/a.bin", "s3@source/set/b.bin"]
    assert fs.ls("s3@source/set", detail=False) == ["s3@source/set/deep", "s3@source/set/a.bin", "s3@source/set/b.bin"]
    assert "s3@source" in fs.ls("", detail=False)
    with fs.open("haul://s3@source/set/a.bin", block_size=1000) as file:
        file.seek(4500)
        assert file.read(9) == b"set/a.bin"
        assert file.read() == (b"set/a.bin" * 1000)[4509:]
    with pytest.raises(OSError, match="nothing is written"):
        fs.pipe_file("haul://s3@source/new", b"x")
