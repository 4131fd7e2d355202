"""`haul` with Azure, from end to end, on a real Azurite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import pytest

from tests.cli.cloudcontract import CLOSED, Cloud, CloudContract, cluster_of
from tests.cli.conftest import haul, state_home
from tests.clouds.azurite import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.cluster import Cluster

__all__ = ["haul", "state_home"]


class Azure:
    """The nodes have the account's key, but read `CLOSED` as everybody, who may not."""

    scheme, alias, extra, library = "az", "azure", "azure", "azure.storage.blob"

    def __init__(self, azurite: Azurite) -> None:
        self._azurite = azurite
        self.secrets = [ACCOUNT_KEY]
        self.put = azurite.put

    def settings_toml(self) -> str:
        closed = f'[az.buckets.{CLOSED}]\nanonymous = true\naccount_key = ""\n'
        return self._azurite.settings_toml() + closed

    def make_bucket(self, name: str) -> None:
        self._azurite.service.create_container(name)

    def remove(self, bucket: str, name: str) -> None:
        self._azurite.service.get_container_client(bucket).delete_blob(name)

    @contextlib.contextmanager
    def guarding(self) -> Iterator[Mapping[str, str]]:
        yield {"account": ACCOUNT, "account_key": ACCOUNT_KEY}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield Azure(running)


@pytest.fixture(scope="module")
def own(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of(cloud, tmp_path_factory.mktemp("cluster")) as running:
        yield running


class TestAzure(CloudContract):
    pass
