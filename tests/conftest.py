"""Settings of property tests, and the origin that modules of tests download from.

How long an example of a property test takes depends on who else uses the machine, so nothing is timed.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.origin import Origin

settings.register_profile("haul", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("haul")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as running:
        yield running
