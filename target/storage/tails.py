"""Bytes that are appended to a file piece by piece, of which what was acknowledged is known after a crash.

Whoever appends says how many bytes there are already: a piece whose answer was lost may be sent again, and what was
written and never acknowledged is written over. Which file it is, is left to `pieces`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import Self

import msgpack

from common.errors import UploadNotFound
from target.storage.kernel import open_beneath
from target.storage.writer import Disk

_ATTRIBUTE = "user.haul.tail"
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Tail:
    """The file, open; one user at a time. Close it."""

    def __init__(self, disk: Disk, fd: int, acknowledged: int, *, syncs: bool) -> None:
        self.size = acknowledged
        """What was acknowledged, or is written behind that."""
        self._disk = disk
        self._fd = fd
        self._syncs = syncs

    def __repr__(self) -> str:
        return f"<Tail {self.size} bytes>"

    @classmethod
    def open(cls, disk: Disk, directory: int, name: str, *, syncs: bool, makes: bool) -> Self:
        """Raises OSError."""
        if makes:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory))
        fd = open_beneath(directory, name.encode(), _FLAGS)
        try:
            acknowledged = msgpack.unpackb(os.getxattr(fd, _ATTRIBUTE))
        except OSError:
            acknowledged = 0
        return cls(disk, fd, min(acknowledged, os.fstat(fd).st_size), syncs=syncs)

    def rewind(self, size: int) -> None:
        """Go on behind the first `size` bytes; raises UploadNotFound when there are not so many, DiskError."""
        if size > self.size:
            raise UploadNotFound(f"the append handle is gone: {self.size} bytes of it are here, not {size}")
        try:
            if size < self.size:
                os.setxattr(self._fd, _ATTRIBUTE, msgpack.packb(size))
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self._disk.error(error) from None
        self.size = size

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append; raises DiskError."""
        try:
            for chunk in chunks:
                left = memoryview(chunk)
                while left:
                    written = os.pwrite(self._fd, left, self.size)
                    self.size += written
                    left = left[written:]
        except OSError as error:
            raise self._disk.error(error) from None

    def acknowledge(self) -> None:
        """Have what was written survive; raises DiskError."""
        try:
            if self._syncs:
                os.fsync(self._fd)
            os.setxattr(self._fd, _ATTRIBUTE, msgpack.packb(self.size))
            if self._syncs:
                os.fsync(self._fd)
        except OSError as error:
            raise self._disk.error(error) from None

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` of the bytes; raises DiskError."""
        try:
            data = os.pread(self._fd, min(size, self.size - offset), offset)
        except OSError as error:
            raise self._disk.error(error) from None
        if not data and size:
            raise self._disk.error(OSError(errno.EIO, os.strerror(errno.EIO)))
        return data

    def close(self) -> None:
        os.close(self._fd)
