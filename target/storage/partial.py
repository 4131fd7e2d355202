"""A large object while it arrives: bytes in any order into one work file that outlives the process.

What the file claims to have is in an attribute of its own (`user.haul.part`), and was made durable before it was
claimed (design.md §4); so after a crash or a power loss a download goes on from there. Digests are computed in order:
at once for what comes in order, and by reading back from the page cache, on another thread, for what came early. What
to fetch next and from where is left to the carrier. One thread but for `advance`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import msgpack

from common import failpoints
from common.errors import DiskError
from target.storage import layout, metadata
from target.storage.digests import Digests
from target.storage.directories import BucketDirectory
from target.storage.kernel import open_beneath, reserve, try_open_beneath
from target.storage.metadata import ObjectMetadata
from target.storage.ranges import Range, RangeSet
from target.storage.writer import Disk, Staged

ATTRIBUTE = "user.haul.part"
PREFIX = "r"
"""Work files that begin so may outlive the process that made them."""
CLAIM_BYTES = 3 << 20
CLAIM_UNSYNCED_BYTES = 1 << 20
"""For each stream: so much is written before it is claimed; less where no disk is waited for …"""
MAX_UNCLAIMED_BYTES = 6 << 20
"""… and never more than this is not: with what libcurl has in hand, and what the origin has sent and nobody has read, a
crash costs less than 8 MiB a stream."""
_READ_BYTES = 1 << 20
_FORMAT = 1
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Identity(NamedTuple):
    """What a part is a part of: never continued with anything else. `digests`: what the origin told at first."""

    job: str
    link_digest: int
    validator: str
    size: int
    etag: str = ""
    last_modified: str = ""
    digests: tuple[tuple[str, str], ...] = ()


class Place(NamedTuple):
    """Where a part lies, and whose it is."""

    directory: BucketDirectory
    name: str
    work: str


class PartialFile:
    """The work file of one large object; ends with `finish`, `keep` or `discard`."""

    def __init__(
        self,
        disk: Disk,
        place: Place,
        fd: int,
        identity: Identity,
        claimed: Iterable[Range] = (),
        *,
        syncs: bool,
        algorithms: Iterable[str] = (),
    ) -> None:
        self.identity = identity
        self.syncs = syncs
        self._disk = disk
        self._claim_bytes = CLAIM_BYTES if syncs else CLAIM_UNSYNCED_BYTES
        self._directory, self._name, self._work = place
        self._fd = fd
        self._lock = threading.Lock()
        self._present = RangeSet(claimed)
        self._claimed_bytes = self._present.total()
        self._written_bytes = self._claimed_bytes
        self._digests = Digests(algorithms, identity.size)
        """Only bytes before `_hashed` have gone in."""
        self._hashed = 0
        self._advancing = False
        self._failure: DiskError | None = None

    def __repr__(self) -> str:
        return f"<PartialFile {self._directory.bucket.cname}/{self._name} {self.received_bytes} of {self.size}>"

    @classmethod
    def create(
        cls,
        disk: Disk,
        place: Place,
        identity: Identity,
        *,
        syncs: bool,
        algorithms: Iterable[str] = (),
    ) -> Self:
        """An empty one, with its blocks reserved; replaces what has the same work name. Raises DiskError."""
        disk.check_lately()
        directory, _, work = place
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(work, dir_fd=directory.work_fd)
            fd = os.open(work, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory.work_fd)
            part = cls(disk, place, fd, identity, syncs=syncs, algorithms=algorithms)
            reserve(fd, identity.size)
            part._claim([])
        except OSError as error:
            raise disk.error(error) from None
        return part

    @property
    def size(self) -> int:
        """Of the whole object."""
        return self.identity.size

    @property
    def received_bytes(self) -> int:
        """Written so far, before or after a crash."""
        return self._written_bytes

    @property
    def unclaimed_bytes(self) -> int:
        """What would be fetched again after a crash now."""
        return self._written_bytes - self._claimed_bytes

    @property
    def is_advancing(self) -> bool:
        """Whether `advance` is at work, or about to be."""
        return self._advancing

    @property
    def failure(self) -> DiskError | None:
        """What went wrong in `advance`."""
        return self._failure

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there."""
        return self._written_bytes == self.size

    @property
    def is_hashed(self) -> bool:
        """Whether the digests are those of the whole object."""
        return self._hashed == self.size

    @property
    def hash_backlog_bytes(self) -> int:
        """What has come in one piece with the beginning, and is not hashed."""
        return self._present.end_of(self._hashed) - self._hashed

    def present(self) -> list[Range]:
        """What has been written."""
        return self._present.ranges()

    def write(self, position: int, chunks: Sequence[bytes], size_bytes: int) -> None:
        """Put bytes, `size_bytes` in all, at their place; raises DiskError."""
        try:
            _pwrite_all(self._fd, chunks, size_bytes, position)
            failpoints.hit("partial.after_write")
        except OSError as error:
            raise self._disk.error(error) from None
        with self._lock:
            before = self._present.total()
            self._present.add(position, position + size_bytes)
            self._written_bytes += self._present.total() - before
            in_order = position == self._hashed and not self._advancing
        if in_order:
            for chunk in chunks:
                self._digests.update(chunk)
            self._hashed += size_bytes

    def wants_advance(self, streams: int) -> bool:
        """Whether `advance` has something to do that is worth it, and is not at it."""
        if self._advancing or self._failure is not None:
            return False
        return self.unclaimed_bytes >= self._claim_bytes * max(1, streams) or self.hash_backlog_bytes > 0

    def begin_advance(self) -> None:
        """To be called before `advance` is handed to another thread."""
        with self._lock:
            self._advancing = True

    def advance(self) -> None:
        """Claim what has been written, durably, and hash what has become contiguous; on any thread, one at a time."""
        try:
            with self._lock:
                present, written = self._present.copy(), self._written_bytes
            if written - self._claimed_bytes >= self._claim_bytes:
                failpoints.hit("partial.before_sync")
                if self.syncs:
                    os.fdatasync(self._fd)
                self._claim(present.ranges())
                failpoints.hit("partial.after_claim")
                self._claimed_bytes = written
            self._hash_up_to(present.end_of(self._hashed))
        except OSError as error:
            self._failure = self._disk.error(error)
        finally:
            with self._lock:
                self._advancing = False

    def digest(self, algorithm: str) -> str:
        """The hex digest of the whole object, when `is_hashed`."""
        return self._digests.hexdigest(algorithm)

    def finish(self, stored: ObjectMetadata, token: object) -> Staged:
        """End the work file with the object's metadata; raises DiskError, and the file is then gone."""
        if layout.natural_path(self._name) is None:
            stored = stored._replace(name=self._name)
        try:
            self._claim(self.present())
            metadata.write(self._fd, stored)
            failpoints.hit("writer.after_metadata")
        except OSError as error:
            self.discard()
            raise self._disk.error(error) from None
        fd, self._fd = self._fd, -1
        staged = Staged(self._directory, self._name, self._work, fd, stored, token)
        staged.scratch = ATTRIBUTE
        return staged

    def keep(self) -> None:
        """Let go of the file, which stays to be continued with all that is in it."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                if self.syncs:
                    os.fdatasync(self._fd)
                self._claim(self.present())
            self._close()

    def discard(self) -> None:
        """Remove the file."""
        if self._fd >= 0:
            self._close()
            self.remove()

    def remove(self) -> None:
        """Remove a file that was let go of, and that nobody has gone on with."""
        with contextlib.suppress(OSError):
            os.unlink(self._work, dir_fd=self._directory.work_fd)

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def _claim(self, ranges: list[Range]) -> None:
        os.setxattr(self._fd, ATTRIBUTE, msgpack.packb((_FORMAT, *self.identity, ranges)))

    def _hash_up_to(self, end: int) -> None:
        position = self._hashed
        while position < end:
            data = os.pread(self._fd, min(_READ_BYTES, end - position), position)
            if not data:
                raise OSError(5, "the work file is shorter than it was")
            self._digests.update(data)
            position += len(data)
        self._hashed = position


def find(disk: Disk, place: Place, *, syncs: bool, algorithms: Iterable[str] = ()) -> PartialFile | None:
    """The part that an earlier process has left, None when there is none that can be used; raises DiskError."""
    fd = try_open_beneath(place.directory.work_fd, place.work.encode(), _FLAGS)
    if fd < 0:
        return None
    described = read_claim(fd)
    if described is None:
        os.close(fd)
        return None
    identity, claimed = described
    algorithms = (*algorithms, *(algorithm for algorithm, _ in identity.digests))
    return PartialFile(disk, place, fd, identity, claimed, syncs=syncs, algorithms=algorithms)


def read_claim(fd: int) -> tuple[Identity, list[Range]] | None:
    """What a work file says of itself, None when that cannot be read or cannot be true."""
    try:
        fields = msgpack.unpackb(os.getxattr(fd, ATTRIBUTE))
        if fields[0] != _FORMAT:
            return None
        identity = Identity(*fields[1:-1])._replace(digests=tuple((name, digest) for name, digest in fields[-2]))
        claimed = [(int(start), int(end)) for start, end in fields[-1]]
        end = max((end for _, end in claimed), default=0)
        if end > identity.size or end > os.fstat(fd).st_size:
            return None
    except (OSError, ValueError, TypeError):
        return None
    return identity, claimed


def job_of(directory: BucketDirectory, work: str) -> str:
    """The job that a left work file belongs to, empty when it says none."""
    try:
        fd = open_beneath(directory.work_fd, work.encode(), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        described = read_claim(fd)
    finally:
        os.close(fd)
    return described[0].job if described else ""


def _pwrite_all(fd: int, chunks: Sequence[bytes], size_bytes: int, position: int) -> None:
    written = os.pwritev(fd, chunks, position)
    if written == size_bytes:
        return
    rest = memoryview(b"".join(chunks))[written:]
    while rest:
        position += written
        written = os.pwrite(fd, rest, position)
        rest = rest[written:]
