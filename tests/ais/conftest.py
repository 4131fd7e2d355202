"""An origin, a cloud and a cluster for each module; what the `ais` program would send comes from `goapi`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.ais.goapi import GoApi
from tests.backends.s3server import MotoS3
from tests.cluster import Cluster

_numbers = count(1)


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    with MotoS3() as running:
        yield running


@pytest.fixture(scope="module")
def s3(moto: MotoS3) -> Any:
    return moto.client()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, moto: MotoS3) -> Iterator[Cluster]:
    root: Path = tmp_path_factory.mktemp("cluster")
    with Cluster(root, targets=3, proxies=2, backends=moto.settings_toml(), retry_attempts=2) as running:
        yield running


@pytest.fixture
def ais(cluster: Cluster) -> GoApi:
    return GoApi(cluster.urls["p2"])


@pytest.fixture
def bucket(ais: GoApi) -> str:
    """A new bucket."""
    name = f"bucket-{next(_numbers)}"
    ais.create_bucket(name)
    return name


@pytest.fixture
def cloud(s3: Any) -> str:
    """A new bucket in the cloud, with three objects."""
    name = f"cloud-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    for key in ("a/1", "a/2", "b/1"):
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
    return name
