"""One cluster of containers for all tests of this directory; each leaves it with every container running."""

import os
from collections.abc import Iterator

import pytest

from tests.compose.containers import Containers


@pytest.fixture(scope="session")
def running() -> Iterator[Containers]:
    with Containers(f"haultest{os.getpid()}") as containers:
        yield containers


@pytest.fixture
def cluster(running: Containers) -> Containers:
    """The cluster, with everybody ready."""
    for service in running.services():
        running.wait_until_ready(service)
    return running
