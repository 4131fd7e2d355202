"""What every `MetaStore` must do; a test class inherits it and says how its store is opened."""

from __future__ import annotations

import pytest

from tests.metastore.leases import Leases
from tests.metastore.scenario import Harness
from tests.metastore.transactions import Transactions
from tests.metastore.watches import Watches


class Conformance(Transactions, Watches, Leases):
    @pytest.fixture
    def harness(self) -> Harness:
        raise NotImplementedError
