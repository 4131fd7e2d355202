"""A service, what is asked of it, and a cluster that knows it, for all tests of a module; each test has its bucket."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.backends.s3server import MotoS3
from tests.cluster import Cluster
from tests.remote.recording import Recorder

_numbers = count(1)


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    with MotoS3() as running:
        yield running


@pytest.fixture(scope="module")
def recorder(moto: MotoS3) -> Iterator[Recorder]:
    with Recorder(moto.host, moto.port) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, moto: MotoS3, recorder: Recorder) -> Iterator[Cluster]:
    root: Path = tmp_path_factory.mktemp("cluster")
    backends = moto.settings_toml().replace(moto.endpoint, recorder.url)
    with Cluster(root, backends=backends, retry_attempts=2) as running:
        yield running


@pytest.fixture(scope="module")
def s3(moto: MotoS3) -> Any:
    """A client of the service, past the recorder."""
    return moto.client()


@pytest.fixture
def bucket(s3: Any) -> str:
    """A new and empty bucket of the service."""
    name = f"bucket-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    return name
