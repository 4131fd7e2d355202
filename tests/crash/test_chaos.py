"""A short run of the seeded chaos; `make soak-chaos` runs as many as one likes."""

from pathlib import Path

import pytest

from tests.crash import chaos


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_chaos(tmp_path: Path) -> None:
    chaos.run(runs=4, seed=20261124, directory=tmp_path)
