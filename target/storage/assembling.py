"""Makes an object of the pieces of an upload, a few MiB at a call, so that no thread is taken for long.

The pieces stay as they are: an upload whose completion fails is what it was. Which are wanted is left to callers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from xxhash import xxh64

from common import clock
from common.errors import DiskFailure, InvalidRequest
from target.storage.committer import Committer
from target.storage.incoming import Incoming
from target.storage.metadata import ObjectMetadata
from target.storage.pieces import Part, Upload
from target.storage.tails import Tail
from target.storage.writer import ObjectWriter, Staged

_READ_BYTES = 1 << 20
_STEP_BYTES = 8 << 20


class _Assembled(Incoming):
    """An object that is copied from pieces; one thread at a time. Ends with `finish` or `discard`."""

    def finish(
        self, check: Callable[[ObjectWriter], None] = lambda writer: None, **more: Any
    ) -> tuple[Staged, Committer]:
        """The object, not committed yet; `more` are fields of its metadata. Raises DiskError, and what `check` does."""
        writer = self.write(())
        check(writer)
        stored = ObjectMetadata(writer.size, writer.checksum, stored_ns=clock.unix_ns())
        return writer.finish(stored._replace(**more)), self.committer


class TailAssembly(_Assembled):
    """An object of appended bytes."""

    def __init__(self, open_writer: Callable[[], tuple[ObjectWriter, Committer]], tail: Tail) -> None:
        super().__init__(open_writer)
        self._tail = tail
        self._offset = 0

    def step(self) -> bool:
        """Copy some more; whether that was all. Raises DiskError."""
        end = min(self._tail.size, self._offset + _STEP_BYTES)
        while self._offset < end:
            data = self._tail.read(self._offset, _READ_BYTES)
            self.write((data,))
            self._offset += len(data)
        return self._offset == self._tail.size


class Assembly(_Assembled):
    """An object of parts."""

    def __init__(
        self, open_writer: Callable[[], tuple[ObjectWriter, Committer]], upload: Upload, parts: Sequence[Part]
    ) -> None:
        super().__init__(open_writer)
        self._upload = upload
        self._parts = parts
        self._next = 0
        self._offset = 0
        self._hash = xxh64()

    def step(self) -> bool:
        """Copy some more; whether that was all. Raises UploadNotFound, InvalidRequest, DiskError for damage, too."""
        left_bytes = _STEP_BYTES
        while left_bytes > 0 and self._next < len(self._parts):
            left_bytes -= self._copy(left_bytes)
        return self._next == len(self._parts)

    def _copy(self, limit_bytes: int) -> int:
        """Copy from the part whose turn it is."""
        wanted = self._parts[self._next]
        copied = 0
        with self._upload.open_part(wanted.number) as part:
            if part.metadata != wanted.metadata:
                raise InvalidRequest(
                    f"part {wanted.number} was replaced while the upload was being completed; complete it again"
                )
            while copied < limit_bytes and self._offset < part.size:
                try:
                    data = part.read(self._offset, _READ_BYTES)
                except OSError as error:
                    raise self._upload.mountpath.error(error) from None
                self.write((data,))
                self._hash.update(data)
                self._offset += len(data)
                copied += len(data)
            if self._offset >= part.size:
                self._end_part(wanted)
        return max(copied, 1)

    def _end_part(self, part: Part) -> None:
        if self._hash.hexdigest() != part.metadata.checksum:
            mountpath = self._upload.mountpath.id
            raise DiskFailure(f"mountpath {mountpath}: part {part.number} is damaged: its bytes have another checksum")
        self._next += 1
        self._offset = 0
        self._hash.reset()


def combined_etag(parts: Sequence[Part]) -> str:
    """What S3 calls an object that came in parts: the MD5 of the parts' MD5s, and how many there were."""
    together = hashlib.md5(usedforsecurity=False)
    for part in parts:
        together.update(bytes.fromhex(part.md5))
    return f"{together.hexdigest()}-{len(parts)}"
