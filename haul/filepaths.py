"""Paths of `haul.filesystem`, what is told of them, and errors as users of file systems know them; pure.

A path is a bucket and a name: `bucket/name`, or `s3@bucket/name` for another provider's.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common.names import Bucket
from haul.errors import (
    AccessDenied,
    AlreadyExists,
    Changed,
    HaulError,
    InvalidInput,
    NotFound,
    Unsupported,
)
from haul.objects import ObjectEntry, ObjectInfo
from haul.places import bucket_of

_ERRNO: tuple[tuple[type[HaulError], int], ...] = (
    (NotFound, errno.ENOENT),
    (AlreadyExists, errno.EEXIST),
    (AccessDenied, errno.EACCES),
    (Changed, errno.ESTALE),
    (InvalidInput, errno.EINVAL),
    (Unsupported, errno.ENOTSUP),
)
Info = dict[str, Any]


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Errors of the library as those that users of file systems know."""
    try:
        yield
    except HaulError as error:
        number = next((number for kind, number in _ERRNO if isinstance(error, kind)), errno.EIO)
        raise OSError(number, str(error), path) from error


def split(path: str) -> tuple[Bucket | None, str]:
    """Bucket and name of a path without protocol; no bucket at the root."""
    first, _, name = path.partition("/")
    return (bucket_named(first) if first else None), name


def bucket_named(first: str) -> Bucket:
    """The bucket that the first part of a path names; raises OSError."""
    provider, at, name = first.rpartition("@")
    with translated(first):
        return bucket_of(f"{provider}://{name}" if at else name)


def object_named(path: str) -> tuple[Bucket, str]:
    """Bucket and name of an object; raises IsADirectoryError."""
    bucket, name = split(path)
    if bucket is None or not name:
        raise IsADirectoryError(errno.EISDIR, "this is no object, which would be bucket/name", path)
    return bucket, name


def path_of_bucket(bucket: Bucket) -> str:
    """How a bucket is written here; empty for one in a namespace, which cannot be."""
    if bucket.namespace:
        return ""
    scheme = bucket.cname.partition(":")[0]
    return bucket.name if scheme == "ais" else f"{scheme}@{bucket.name}"


def is_below(path: str, directory: str) -> bool:
    """Whether a path is in a directory, at any depth."""
    return path.startswith(f"{directory}/")


def directory(path: str) -> Info:
    """What is told of a directory."""
    return {"name": path, "size": 0, "type": "directory"}


def file(path: str, found: ObjectInfo) -> Info:
    """What is told of an object after a HEAD."""
    return {
        "name": path,
        "size": found.size_bytes,
        "type": "file",
        "checksum": found.checksum,
        "ETag": found.etag,
        "version": found.version,
        "created": found.stored,
        "mtime": found.modified,
        "grade": found.grade,
        "object": found,
    }


def listed(first: str, entry: ObjectEntry) -> Info:
    """What is told of a line of a listing of the bucket that a path begins with, as that writes it.

    An object whose name ends with a slash, as S3's tools make one for a folder, is a directory.
    """
    path = f"{first}/{entry.name.rstrip('/')}"
    if entry.name.endswith("/"):
        return directory(path)
    size = entry.size_bytes
    return {"name": path, "size": size, "type": "file", "checksum": entry.checksum, "version": entry.version}
