from __future__ import annotations

import pytest

from tests.metastore.conformance import Conformance
from tests.metastore.harnesses import MemoryHarness


class TestMemory(Conformance):
    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()
