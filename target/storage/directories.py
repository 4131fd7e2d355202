"""A bucket's directories on one mountpath, held open, with the number that tells its incarnations apart.

Everything of a bucket is reached through the descriptor kept here. When a bucket is destroyed its directory is renamed
into the trash with the descriptor still valid, so whoever is late writes into the trash and not into the bucket's
successor. Which incarnation is the right one is left to `mountpath`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import msgpack

from common.errors import HaulError
from common.names import Bucket
from target.storage import layout
from target.storage.kernel import DIRECTORY, open_beneath, try_open_beneath
from target.storage.metadata import ATTRIBUTE


class BucketDirectory:
    """One incarnation of a bucket on one mountpath; its descriptors are closed when nobody refers to it any more."""

    __slots__ = ("bucket", "bucket_id", "destroyed", "fd", "known_hashed", "work_fd")

    def __init__(self, bucket: Bucket, bucket_id: int, fd: int, work_fd: int) -> None:
        self.bucket = bucket
        self.bucket_id = bucket_id
        self.fd = fd
        self.work_fd = work_fd
        self.destroyed = False
        self.known_hashed = _exists(fd, layout.HASHED)

    def __repr__(self) -> str:
        return f"<BucketDirectory {self.bucket.cname} {self.bucket_id}{' destroyed' if self.destroyed else ''}>"

    def __del__(self) -> None:
        self.close()

    @property
    def has_hashed(self) -> bool:
        """Whether some object lies at its hashed path; looks at the disk until one does, because others write too."""
        if not self.known_hashed:
            self.known_hashed = _exists(self.fd, layout.HASHED)
        return self.known_hashed

    def close(self) -> None:
        """Let go of the disk, when nobody can be using this any more."""
        for descriptor in (self.fd, self.work_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self.fd = self.work_fd = -1

    def is_empty(self) -> bool:
        """Whether no object was ever stored here, or all are gone with their directories; False when in doubt."""
        try:
            fd = open_beneath(self.fd, layout.OBJECTS, DIRECTORY)
        except OSError:
            return False
        try:
            with os.scandir(fd) as entries:
                return not self.has_hashed and next(entries, None) is None
        finally:
            os.close(fd)

    def sweep(self, is_litter: Callable[[str], bool]) -> int:
        """Remove work files that a crash has left; returns how many. Only before their writer writes anything."""
        with os.scandir(self.work_fd) as entries:
            names = [entry.name for entry in entries if is_litter(entry.name)]
        for name in names:
            os.unlink(name, dir_fd=self.work_fd)
        return len(names)


def build(parent: int, name: str, bucket_id: int) -> None:
    """Make the directories of an empty bucket under a temporary name, complete before they are renamed into place."""
    os.mkdir(name, 0o700, dir_fd=parent)
    fd = open_beneath(parent, name.encode(), DIRECTORY)
    try:
        for part in (layout.OBJECTS, layout.WORK):
            os.mkdir(part, 0o700, dir_fd=fd)
        os.setxattr(fd, ATTRIBUTE, msgpack.packb(bucket_id))
    finally:
        os.close(fd)


def load(root: int, bucket: Bucket) -> BucketDirectory | None:
    """Open a bucket's directory, or None when it is not complete (a crash, or not ours); raises OSError."""
    fd = open_beneath(root, layout.bucket_path(bucket), DIRECTORY)
    work_fd = try_open_beneath(fd, layout.WORK, DIRECTORY)
    try:
        bucket_id = msgpack.unpackb(os.getxattr(fd, ATTRIBUTE))
    except (OSError, ValueError):
        bucket_id = None
    if work_fd < 0 or not isinstance(bucket_id, int):
        os.close(fd)
        if work_fd >= 0:
            os.close(work_fd)
        return None
    return BucketDirectory(bucket, bucket_id, fd, work_fd)


def find_buckets(root: int) -> Iterator[Bucket]:
    """The buckets that have a directory on this mountpath; what has no bucket's name is passed over."""
    for provider_directory in _subdirectories(root, b"."):
        provider = layout.provider_of(provider_directory)
        if provider is None:
            continue
        for entry in _subdirectories(root, provider_directory.encode()):
            if not entry.startswith("@"):
                yield from _bucket(entry, provider, "")
                continue
            for name in _subdirectories(root, f"{provider_directory}/{entry}".encode()):
                yield from _bucket(name, provider, entry)


def _bucket(name: str, provider: str, namespace: str) -> Iterator[Bucket]:
    with contextlib.suppress(HaulError):
        yield Bucket.parse_namespace(name, provider, namespace)


def _subdirectories(root: int, path: bytes) -> list[str]:
    fd = open_beneath(root, path, DIRECTORY)
    try:
        with os.scandir(fd) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    finally:
        os.close(fd)


def _exists(directory: int, path: bytes) -> bool:
    opened = try_open_beneath(directory, path, DIRECTORY)
    if opened >= 0:
        os.close(opened)
    return opened >= 0
