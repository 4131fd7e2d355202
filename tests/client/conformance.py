"""What fsspec's own tests of file systems run on: a cluster of one target. The tests are in test_conformance_*.py."""

from collections.abc import Iterator
from itertools import count

import fsspec.tests.abstract as abstract
import pytest
from fsspec.implementations.local import LocalFileSystem

from haul.filesystem import HaulFileSystem

_NUMBERS = count()


class HaulFixtures(abstract.AbstractFixtures):
    """What fsspec's tests run on: a new directory of one bucket for each."""

    @pytest.fixture
    def fs_path(self, fs: HaulFileSystem) -> Iterator[str]:
        path = f"b/conformance-{next(_NUMBERS)}"
        yield path
        if fs.exists(path):
            fs.rm(path, recursive=True)

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def fs_join(self):  # type: ignore[no-untyped-def]
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False

    fs = None
    """The module's file system comes from conftest.py."""
