"""Temporary files for batches that are described before they are sent: how many there may be, and how large.

They lie where the target keeps its journal, so together they leave room there. What is in them is left to who writes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from common.errors import NoSpace, RequestTooLarge, Unavailable

MAX_SPOOLS = 8
MAX_SPOOL_BYTES = 4 << 30
MAX_RESERVE_BYTES = 2 << 30
"""What they leave free is a twentieth of the file system, and no more than this."""
_CHECKED_BYTES = 8 << 20
"""A file grows by so much until it is looked again whether there is room."""


class Spool:
    """One file, empty at first; its methods wait for a disk, and run in one thread at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._allowed_bytes = 0
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Add to the end; raises RequestTooLarge, NoSpace."""
        self.size_bytes += len(data)
        if self.size_bytes > MAX_SPOOL_BYTES:
            raise RequestTooLarge(
                f"a batch that is not streamed may have {MAX_SPOOL_BYTES} bytes: ask with 'strm', or for less"
            )
        if self.size_bytes > self._allowed_bytes:
            self._allowed_bytes = self.size_bytes + _CHECKED_BYTES
            if not _has_room(self._file.fileno()):
                raise NoSpace(
                    "a batch that is not streamed cannot be kept: there is no room where this target keeps its "
                    "journal; ask with 'strm', or try again when other batches have ended"
                )
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise NoSpace(f"a batch that is not streamed cannot be kept: {error.strerror}") from None

    def rewind(self) -> None:
        """Go to the beginning, to read."""
        self._file.seek(0)

    def read(self, size_bytes: int) -> bytes:
        """The next bytes, none at the end."""
        return self._file.read(size_bytes)


class Spools:
    """All of a target."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open = 0

    def __repr__(self) -> str:
        return f"<Spools {self._open}>"

    @contextlib.contextmanager
    def spool(self) -> Iterator[Spool]:
        """A file for as long as the context lasts; raises Unavailable when there are too many."""
        if self._open >= MAX_SPOOLS:
            raise Unavailable(f"{MAX_SPOOLS} batches that are not streamed are under way at this target; try again")
        self._open += 1
        try:
            with tempfile.TemporaryFile(dir=self._directory, buffering=0) as file:
                yield Spool(file)
        finally:
            self._open -= 1


def _has_room(fd: int) -> bool:
    status = os.fstatvfs(fd)
    reserve_bytes = min(MAX_RESERVE_BYTES, status.f_blocks * status.f_frsize // 20)
    return status.f_bavail * status.f_frsize >= reserve_bytes + _CHECKED_BYTES
