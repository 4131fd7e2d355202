"""One cluster and one moto for all tests of this directory that need them; each test has buckets of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.backends.s3server import MotoS3
from tests.s3.service import Service, new_bucket, signed_service


@pytest.fixture(scope="session")
def haul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with signed_service(tmp_path_factory.mktemp("s3")) as service:
        yield service


@pytest.fixture(scope="session")
def moto() -> Iterator[Service]:
    with MotoS3() as server:
        yield Service(server.endpoint)


@pytest.fixture(params=["haul", "moto"])
def service(request: pytest.FixtureRequest) -> Service:
    """Each of them: what a test expects is what S3 does."""
    found: Service = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def s3(service: Service) -> Any:
    return service.client()


@pytest.fixture
def bucket(s3: Any) -> str:
    return new_bucket(s3)
