"""A short run of the seeded chaos of a whole cluster; `make soak-cluster` runs 20 minutes with 100,000 objects."""

from pathlib import Path

import pytest

from tests.failover import chaos


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_under_misfortunes_loses_and_doubles_nothing(tmp_path: Path) -> None:
    tally, happened = chaos.run(seed=20261126, jobs=3, objects=400, minutes=0.6, directory=tmp_path)
    assert (tally.lost, tally.duplicated, tally.corrupt) == ([], [], [])
    assert happened.total() >= 3
