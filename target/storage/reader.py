"""Finding and reading stored objects; nothing that is not a whole object of ours is ever given out.

An object lies at its own name or at the hash of it (`layout`). Its own name is tried first, the hashed path only in
buckets that have hashed objects. Which mountpath to look on is left to `store`, byte ranges of HTTP to `target.api`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Self

from target.storage import layout, metadata
from target.storage.directories import BucketDirectory
from target.storage.kernel import DIRECTORY, READ, open_beneath, try_open_beneath
from target.storage.metadata import Damaged, ObjectMetadata

_ABSENT = frozenset({-errno.ENOENT, -errno.ENOTDIR, -errno.ELOOP, -errno.EXDEV, -errno.ENAMETOOLONG})

NOTHING = ObjectMetadata(0, "", version=0)


class OpenObject:
    """An open object: its descriptor keeps these bytes readable whatever happens to the name. Close it."""

    __slots__ = ("fd", "in_memory", "metadata", "path", "size")

    def __init__(self, fd: int, found: ObjectMetadata, path: bytes) -> None:
        self.fd = fd
        self.metadata = found
        self.size = found.size
        self.path = path
        self.in_memory = False

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; may wait for the disk. Raises OSError, also when the file ends too early."""
        data = os.pread(self.fd, min(size, self.size - offset), offset)
        if not data and size > 0 and offset < self.size:
            raise OSError(errno.EIO, "the file has become shorter")
        return data

    def read_cached(self, offset: int, size: int) -> bytes | bytearray | None:
        """`read` if that does not wait for a disk, else None."""
        if self.in_memory:
            return self.read(offset, size)
        buffer = bytearray(min(size, self.size - offset))
        if not buffer:
            return buffer
        try:
            count = os.preadv(self.fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
                return None
            raise
        if count == 0:
            return None
        if count < len(buffer):
            del buffer[count:]
        return buffer

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def find(directory: BucketDirectory, name: str, *, cached: bool = False, thorough: bool = True) -> OpenObject | None:
    """Open an object, or None when there is none; not `thorough`, it may miss one at its bucket's first hashed path.

    Raises Damaged when what lies there is no whole object, OSError, and BlockingIOError when `cached` is asked for and
    a disk would have to be waited for.
    """
    path = layout.natural_path(name)
    if path is not None:
        found = _open(directory, path, cached)
        if found is not None:
            return found
    if not (directory.has_hashed if thorough else directory.known_hashed):
        return None
    found = _open(directory, layout.hashed_path(name), cached)
    if found is not None and found.metadata.name != name:
        found.close()
        raise Damaged("it carries another object's name")
    return found


def _open(directory: BucketDirectory, path: bytes, cached: bool) -> OpenObject | None:
    fd = try_open_beneath(directory.fd, path, READ, cached=cached)
    if fd < 0:
        if fd in _ABSENT:
            return None
        raise OSError(-fd, os.strerror(-fd))
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            return OpenObject(fd, metadata.read(fd, status.st_size), path)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    if stat.S_ISDIR(status.st_mode):
        return None
    raise Damaged("it is no regular file")


def look(parent: int, leaf: bytes) -> ObjectMetadata | None:
    """What lies in an open directory: NOTHING when nothing whole does, None when it is a directory. Raises OSError."""
    fd = try_open_beneath(parent, leaf, READ)
    if fd < 0:
        if fd in (-errno.ENOENT, -errno.ELOOP, -errno.ENXIO):
            return NOTHING
        raise OSError(-fd, os.strerror(-fd))
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            return None
        return metadata.read(fd, status.st_size)
    except Damaged:
        return NOTHING
    finally:
        os.close(fd)


def remove_same(directory: BucketDirectory, path: bytes, found: OpenObject) -> bool:
    """Remove what lies at `path` if it is this very file; False when it is not. Raises OSError.

    Only while nothing is committed there.
    """
    if not is_at(directory, path, found):
        return False
    return _unlink(directory, path, durable=False)


def is_at(directory: BucketDirectory, path: bytes, found: OpenObject) -> bool:
    """Whether this very file still lies at `path`."""
    fd = try_open_beneath(directory.fd, path, READ)
    if fd < 0:
        return False
    try:
        return os.path.sameopenfile(fd, found.fd)
    finally:
        os.close(fd)


def remove(directory: BucketDirectory, name: str, *, durable: bool) -> bool:
    """Remove an object wherever it lies, damaged ones too; False when there was none. Raises OSError."""
    natural = layout.natural_path(name)
    removed = natural is not None and _unlink(directory, natural, durable=durable)
    if directory.has_hashed:
        removed = _unlink(directory, layout.hashed_path(name), durable=durable) or removed
    return removed


def _unlink(directory: BucketDirectory, path: bytes, *, durable: bool) -> bool:
    parent, leaf = layout.split(path)
    parent_fd = try_open_beneath(directory.fd, parent, DIRECTORY)
    if parent_fd < 0:
        if parent_fd in _ABSENT:
            return False
        raise OSError(-parent_fd, os.strerror(-parent_fd))
    try:
        os.unlink(leaf, dir_fd=parent_fd)
        if durable:
            os.fsync(parent_fd)
    except (FileNotFoundError, IsADirectoryError):
        return False
    finally:
        os.close(parent_fd)
    _prune(directory, parent)
    return True


def _prune(directory: BucketDirectory, path: bytes) -> None:
    """Remove directories that have become empty; a writer that needs one makes it again."""
    while b"/" in path:
        path, leaf = layout.split(path)
        try:
            parent_fd = open_beneath(directory.fd, path, DIRECTORY)
        except OSError:
            return
        try:
            os.rmdir(leaf, dir_fd=parent_fd)
        except OSError:
            return
        finally:
            os.close(parent_fd)
