"""A cluster with two proxies for all tests of a module; each test has buckets of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.cluster import Cluster

_numbers = count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), proxies=2, report_seconds=0.3) as running:
        yield running


@pytest.fixture
def source() -> str:
    return f"source-{next(_numbers)}"


@pytest.fixture
def destination() -> str:
    return f"destination-{next(_numbers)}"
