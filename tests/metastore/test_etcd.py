from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.etcd import Etcd
from tests.metastore.conformance import Conformance
from tests.metastore.harnesses import EtcdHarness

ELECTION_MS = 2_000
"""The same member leads to the end, though the machine may stand still for a second."""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd"), election_ms=ELECTION_MS) as etcd:
        yield etcd


class TestEtcd(Conformance):
    @pytest.fixture
    def harness(self, etcd: Etcd) -> EtcdHarness:
        return EtcdHarness(etcd)
