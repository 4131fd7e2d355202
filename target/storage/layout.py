"""Where things lie below a mountpath: object name ⇄ path, as bytes; pure, it looks at no disk.

    <mountpath>/.haul-mountpath                        whose disk this is
    <mountpath>/@ais/<bucket>/%ob/<object name>        an object, at its own name
    <mountpath>/@ais/<bucket>/%hn/<2 hex>/<sha256>     an object whose name cannot be a path, or is in another's way
    <mountpath>/@ais/<bucket>/%wk/<number>             work files: bytes that are no object yet
    <mountpath>/@ais/<bucket>/%mp/<token>/             the pieces of an upload that is not complete
    <mountpath>/@ais/@uuid#ns/<bucket>/...             the same in a namespace
    <mountpath>/%tr/<random>                           destroyed buckets, until they are removed

A name is its own path when every component is non-empty and at most 255 bytes. All others, and those that meet a
directory where they need a file (`a` while `a/b` exists) or the reverse, have the hashed path and carry their
name in the metadata. Which of both a stored object has is found by looking; that is left to `reader` and `committer`.
"""

from __future__ import annotations

import hashlib

from common.names import PROVIDERS, Bucket

MARKER = ".haul-mountpath"
TRASH = b"%tr"
OBJECTS = b"%ob"
HASHED = b"%hn"
WORK = b"%wk"
PIECES = b"%mp"
MAX_MOUNTPATH_BYTES = 512
MAX_NATURAL_BYTES = 3072
"""Mountpath, bucket and name stay well below PATH_MAX (4096) together, wherever the disk is mounted."""
MAX_NATURAL_COMPONENTS = 100
_MAX_COMPONENT_BYTES = 255


def bucket_path(bucket: Bucket) -> bytes:
    """The bucket's directory, relative to the mountpath."""
    namespace = f"{bucket.namespace}/" if bucket.namespace else ""
    return f"@{bucket.provider}/{namespace}{bucket.name}".encode()


def provider_of(directory: str) -> str | None:
    """The provider whose directory this is, or None."""
    return directory[1:] if directory[:1] == "@" and directory[1:] in PROVIDERS else None


def natural_path(name: str) -> bytes | None:
    """The object's path at its own name, relative to the bucket's directory, or None when the name cannot be one."""
    raw = name.encode()
    if len(raw) > _MAX_COMPONENT_BYTES or b"/" in raw:
        if len(raw) > MAX_NATURAL_BYTES:
            return None
        components = raw.split(b"/")
        if len(components) > MAX_NATURAL_COMPONENTS:
            return None
        for component in components:
            if not component or len(component) > _MAX_COMPONENT_BYTES:
                return None
    return b"%ob/" + raw


def hashed_path(name: str) -> bytes:
    """The object's path when it cannot lie at its own name, relative to the bucket's directory."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"%hn/{digest[:2]}/{digest}".encode()


def split(path: bytes) -> tuple[bytes, bytes]:
    """Directory and last component."""
    directory, _, leaf = path.rpartition(b"/")
    return directory, leaf


def is_hashed(path: bytes) -> bool:
    """Whether this is a path of `hashed_path`; `%ob/` and `%hn/` never begin the same."""
    return path.startswith(b"%hn/")
