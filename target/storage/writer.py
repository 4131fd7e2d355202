"""Bytes on their way to becoming an object: counted, hashed, and put into a work file that nobody can read yet.

Small objects stay in memory until `finish` and cost one create, one write, one attribute; larger ones go to the work
file as they come. Comparing sizes and digests with what was expected is left to the caller, who has `size` and
`digest`, and making the object durable and visible to `committer`. A writer belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from xxhash import xxh64

from common import failpoints
from common.errors import BucketNotFound, DiskError, HaulError
from target.storage import layout, metadata
from target.storage.digests import new_digest
from target.storage.directories import BucketDirectory
from target.storage.faults import Superseded
from target.storage.kernel import READ, open_beneath, reserve
from target.storage.metadata import ObjectMetadata

IN_MEMORY_BYTES = 1 << 20
"""Objects up to this size are gathered in memory."""
_FLUSH_BYTES = 256 * 1024
_MAX_CHUNKS = 1000
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Disk(Protocol):
    """What a writer needs of its mountpath."""

    def check_lately(self) -> None:
        """Raise DiskFailure unless the disk is mounted, or was a moment ago."""

    def new_work_name(self) -> str:
        """A name that no other work file has."""

    def error(self, error: OSError) -> DiskError:
        """What to report for an OSError."""


class Staged:
    """A finished work file, to be given to the mountpath's committer; after the commit `metadata` is what was stored.

    `seems_new` spares a look when it is right: nothing is believed to be stored under the name. `scratch` is an
    attribute that only the work file needs, in case this process dies before the rename. `is_moved`: it comes from
    another target or mountpath, keeps its version, and must not replace what is at least as new.
    `replaces_job`: what this job has stored under the name is replaced whatever its time, unless its version is later.
    `condition` is given what is stored under the name (version 0: nothing) when nobody else can change that any more,
    and raises a HaulError to leave it.
    `token` is the caller's own, to know it again. `fd` stays open for streamed objects: an error of the kernel's
    write-back is only sure to be reported to a descriptor that was open before it.
    """

    __slots__ = (
        *("condition", "directory", "fd", "is_moved", "metadata", "name", "replaces_job", "scratch", "seems_new"),
        *("token", "work"),
    )

    def __init__(
        self, directory: BucketDirectory, name: str, work: str, fd: int, stored: ObjectMetadata, token: object
    ) -> None:
        self.directory = directory
        self.name = name
        self.work = work
        self.fd = fd
        self.metadata = stored
        self.token = token
        self.seems_new = False
        self.is_moved = False
        self.replaces_job = ""
        self.scratch = ""
        self.condition: Callable[[ObjectMetadata], None] | None = None

    def __repr__(self) -> str:
        return f"<Staged {self.directory.bucket.cname}/{self.name} {self.metadata.size} bytes>"

    def close(self) -> None:
        """Close the descriptor, if it is still open; the object has its name now, or will never have it."""
        if self.fd >= 0:
            if self.scratch:
                with contextlib.suppress(OSError):
                    os.removexattr(self.fd, self.scratch)
            os.close(self.fd)
            self.fd = -1

    def version_before(self, stored: ObjectMetadata) -> int:
        """The version that what is moved here follows; raises Superseded when what is stored stays."""
        mine = self.metadata
        cname = self.directory.bucket.cname
        if self.replaces_job and stored.version and stored.job == self.replaces_job:
            if stored.version > mine.version:
                raise Superseded(f"{cname}: what is stored is a later version")
            return mine.version - 1
        if stored.version and stored.stored_ns >= mine.stored_ns:
            raise Superseded(f"{cname}: what is stored is at least as new")
        return max(stored.version, mine.version - 1)

    def rewrite(self, changed: ObjectMetadata) -> None:
        """Replace the metadata, before it is made durable; raises OSError."""
        fd = open_beneath(self.directory.work_fd, self.work.encode(), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            metadata.write(fd, changed)
        finally:
            os.close(fd)
        self.metadata = changed

    def fsync(self) -> None:
        """Make this file durable, by itself; raises OSError."""
        fd = self.fd if self.fd >= 0 else open_beneath(self.directory.work_fd, self.work.encode(), READ)
        try:
            os.fsync(fd)
        finally:
            if fd != self.fd:
                os.close(fd)

    def discard(self) -> None:
        """Remove the work file."""
        self.close()
        with contextlib.suppress(OSError):
            os.unlink(self.work, dir_fd=self.directory.work_fd)


class ObjectWriter:
    """Takes an object's bytes; ends with `finish` or `discard`. Left as a context without `finish` it discards."""

    __slots__ = (
        *("_chunks", "_digests", "_directory", "_disk", "_expected", "_fd", "_gathered", "_hash", "_hashed", "_limit"),
        *("_name", "_work", "size"),
    )

    def __init__(
        self,
        disk: Disk,
        directory: BucketDirectory,
        name: str,
        expected_size: int | None = None,
        digests: Sequence[str] = (),
    ) -> None:
        """`digests` names further algorithms (`digests.KNOWN`) to compute in the same pass.

        One that begins with the size takes the expected one for it, and is wrong for any other.
        """
        self.size = 0
        self._disk = disk
        self._directory = directory
        self._name = name
        self._expected = expected_size or 0
        self._digests: dict[str, Any] = {name: new_digest(name, self._expected) for name in digests} if digests else {}
        self._hash = xxh64()
        self._hashed = 0
        self._chunks: list[bytes] = []
        self._gathered = 0
        self._limit = IN_MEMORY_BYTES if self._expected <= IN_MEMORY_BYTES else _FLUSH_BYTES
        self._work = ""
        self._fd = -1

    def __repr__(self) -> str:
        return f"<ObjectWriter {self._directory.bucket.cname}/{self._name} {self.size} bytes>"

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; raises DiskError, BucketNotFound, and the writer has then discarded itself."""
        self._chunks.append(chunk)
        self._gathered += len(chunk)
        self.size += len(chunk)
        if self._gathered > self._limit or len(self._chunks) >= _MAX_CHUNKS:
            self._spill()

    @property
    def is_streamed(self) -> bool:
        """Whether the object was too large to be gathered in memory."""
        return self.size > IN_MEMORY_BYTES

    @property
    def checksum(self) -> str:
        """xxh64 of everything so far, 16 hex digits."""
        self._absorb()
        return self._hash.hexdigest()

    def digest(self, algorithm: str) -> str:
        """The hex digest of everything so far, by an algorithm that was asked for at the beginning."""
        self._absorb()
        hexdigest: str = self._digests[algorithm].hexdigest()
        return hexdigest

    def finish(self, stored: ObjectMetadata, token: object = None) -> Staged:
        """End the work file, complete with metadata; `size` and `checksum` must be this writer's.

        Raises DiskError, BucketNotFound, and the writer has then discarded itself.
        """
        if layout.natural_path(self._name) is None:
            stored = stored._replace(name=self._name)
        streamed = self._fd >= 0
        try:
            self._flush()
            metadata.write(self._fd, stored)
            failpoints.hit("writer.after_metadata")
        except (OSError, DiskError) as error:
            self.discard()
            raise self._told(error) from None
        descriptor, self._fd = self._fd, -1
        if not streamed:
            os.close(descriptor)
            descriptor = -1
        return Staged(self._directory, self._name, self._work, descriptor, stored, token)

    def discard(self) -> None:
        """Forget the bytes and remove the work file; after `finish` it does nothing."""
        self._chunks = []
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):
                os.unlink(self._work, dir_fd=self._directory.work_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def _told(self, error: OSError | DiskError) -> HaulError:
        """What to raise for what has happened; that a bucket's directory is gone with it is no fault of the disk."""
        if self._directory.destroyed:
            return BucketNotFound(self._directory.bucket.cname)
        return self._disk.error(error) if isinstance(error, OSError) else error

    def _absorb(self) -> None:
        """Hash what is gathered and not hashed yet."""
        for chunk in self._chunks[self._hashed :]:
            self._hash.update(chunk)
            for digest in self._digests.values():
                digest.update(chunk)
        self._hashed = len(self._chunks)

    def _spill(self) -> None:
        try:
            self._flush()
        except (OSError, DiskError) as error:
            self.discard()
            raise self._told(error) from None
        self._limit = _FLUSH_BYTES

    def _flush(self) -> None:
        """Write what is gathered to the work file, which is made by the first call."""
        self._absorb()
        if self._fd < 0:
            self._create()
        if self._chunks:
            _write_all(self._fd, self._chunks, self._gathered)
        self._chunks, self._hashed, self._gathered = [], 0, 0
        failpoints.hit("writer.after_write")

    def _create(self) -> None:
        self._disk.check_lately()
        self._work = self._disk.new_work_name()
        self._fd = os.open(self._work, _CREATE, 0o600, dir_fd=self._directory.work_fd)
        failpoints.hit("writer.after_create")
        if self._expected > IN_MEMORY_BYTES:
            reserve(self._fd, self._expected)


def _write_all(descriptor: int, chunks: list[bytes], size: int) -> None:
    written = os.writev(descriptor, chunks)
    if written == size:
        return
    rest = memoryview(b"".join(chunks))[written:]
    while rest:
        rest = rest[os.write(descriptor, rest) :]
