"""One origin and one small cluster for each test module of whole jobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.s3server import MotoS3
from tests.cluster import Api, Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root: Path = tmp_path_factory.mktemp("cluster")
    with Cluster(root, targets=3, mountpaths=2, proxies=2, retry_attempts=3, host_patience_seconds=2.0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    with MotoS3() as running:
        yield running


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return cluster.api
