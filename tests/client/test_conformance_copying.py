"""fsspec's own tests of file systems over a real cluster: copy."""

from collections.abc import Iterator

import fsspec.tests.abstract as abstract
import pytest

from tests.client.conformance import HaulFixtures
from tests.cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), targets=1, mountpaths=1) as cluster:
        yield cluster


class TestCopy(abstract.AbstractCopyTests, HaulFixtures):
    pass
