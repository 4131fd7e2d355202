"""One origin, one small cluster with two proxies, and clients of it, for each test module of the library."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import haul
from haul.filesystem import HaulFileSystem
from tests.cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root: Path = tmp_path_factory.mktemp("cluster")
    with Cluster(root, targets=3, mountpaths=1, proxies=2, retry_attempts=2, host_patience_seconds=1.0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def endpoints(cluster: Cluster) -> list[str]:
    return [cluster.urls[node_id] for node_id in cluster.proxy_ids]


@pytest.fixture
def client(endpoints: list[str]) -> Iterator[haul.Client]:
    with haul.Client(endpoints) as client:
        client.create_bucket("b", exist_ok=True)
        yield client


@pytest.fixture(scope="module")
def fs(endpoints: list[str]) -> Iterator[HaulFileSystem]:
    fsspec.register_implementation("haul", HaulFileSystem, clobber=True)
    filesystem = HaulFileSystem(endpoints)
    filesystem.makedirs("b", exist_ok=True)
    yield filesystem
    filesystem.close()
    HaulFileSystem.clear_instance_cache()
