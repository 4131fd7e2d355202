"""Where a bench run keeps its files and how large its workloads are; every directory is fresh and all of it is removed.

Files lie on a memory file system, so that the machine's disk is measured only by the row that is about it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

_MEMORY_ROOT = Path("/dev/shm")
_PREFIX = "haul-bench-"


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of the workloads of design.md §10 and how often each one is run."""

    runs: int = 3
    small_objects: int = 10_000
    small_bytes: int = 16 << 10
    large_objects: int = 4
    large_bytes: int = 512 << 20
    latency_objects: int = 1_000
    latency_bytes: int = 64 << 10
    capped_bytes: int = 256 << 20
    single_repeats: int = 30
    read_seconds: int = 4
    read_bytes: int = 256 << 20
    listed_objects: int = 100_000
    sharded_names: int = 1_000_000
    million_objects: int = 1_000_000
    scaling_objects: int = 2_000
    full: bool = True


QUICK = Scale(
    runs=1,
    small_objects=1_000,
    large_bytes=64 << 20,
    latency_objects=200,
    capped_bytes=64 << 20,
    single_repeats=5,
    read_seconds=1,
    read_bytes=64 << 20,
    listed_objects=5_000,
    sharded_names=100_000,
    million_objects=20_000,
    scaling_objects=200,
    full=False,
)


class Workspace:
    """Hands out fresh directories in memory and on disk."""

    def __init__(self, memory: Path, disk: Path) -> None:
        self._roots = {False: memory, True: disk}
        self._numbers = itertools.count(1)

    def fresh(self, name: str, *, on_disk: bool = False) -> Path:
        """A new empty directory."""
        directory = self._roots[on_disk] / f"{next(self._numbers):03d}-{name}"
        directory.mkdir(parents=True)
        return directory

    @contextlib.contextmanager
    def temporary(self, name: str, *, on_disk: bool = False) -> Iterator[Path]:
        """A fresh directory that is removed at the end; one on disk stays until the whole run is over.

        Because ext4 creates files ten times slower right after thousands were deleted.
        """
        directory = self.fresh(name, on_disk=on_disk)
        try:
            yield directory
        finally:
            if not on_disk:
                shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def open_workspace(disk_dir: Path) -> Iterator[Workspace]:
    """A workspace for one bench run, removed with everything in it."""
    if not _MEMORY_ROOT.is_dir() or not os.access(_MEMORY_ROOT, os.W_OK):
        raise BenchError(f"{_MEMORY_ROOT} is not there or not writable: the bench needs a memory file system")
    memory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_MEMORY_ROOT))
    disk = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=disk_dir))
    try:
        yield Workspace(memory, disk)
    finally:
        shutil.rmtree(memory, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)


def write_objects(directory: Path, pattern: str, count: int, size_bytes: int) -> None:
    """Fill a directory with `count` different incompressible files named `pattern.format(number)`."""
    block = os.urandom(1 << 20)
    for number in range(count):
        with (directory / pattern.format(number)).open("wb") as file:
            stamp = f"{number:016d}".encode()[:size_bytes]
            file.write(stamp)
            left = size_bytes - len(stamp)
            while left > 0:
                shift = number * 4099 % (len(block) - 65536)
                left -= file.write(block[shift : shift + left])
