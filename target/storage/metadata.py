"""What an object knows about itself, and its form in one extended attribute; who fills it in is left to `writer`.

The attribute `user.haul` holds a msgpack array that begins with a format number. ext4 has about 4,000 bytes for all
attributes of a file; metadata that is larger (a name of 16 KiB, many custom keys) stands behind the object's bytes in
the same file, and the attribute then says only where. So both are renamed, and lost, together.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import msgpack

ATTRIBUTE = "user.haul"
MAX_ATTRIBUTE_BYTES = 3000
_MAX_TRAILER_BYTES = 1 << 20
_INLINE, _TRAILING = 1, 2
_FEWEST_FIELDS = 12
"""What every version of the format has; later ones have appended more."""
NO_CUSTOM: Mapping[str, str] = MappingProxyType({})


class Damaged(ValueError):
    """A file is no whole object of ours; the text says why."""


class ObjectMetadata(NamedTuple):
    """All that is kept beside an object's bytes; a NamedTuple, because one is made for every object written or read.

    `checksum` is xxh64 (seed 0) as 16 hex digits; `source` a link without userinfo and query, `link_digest` the digest
    of the whole link; `grade` how strongly the bytes were verified: `user`, `source`, `size` or `none`. `name` is
    empty where the path tells it. `digests` are the further ones that were verified, by algorithm.
    """

    size: int
    checksum: str
    version: int = 1
    stored_ns: int = 0
    source: str = ""
    etag: str = ""
    last_modified: str = ""
    custom: Mapping[str, str] = NO_CUSTOM
    grade: str = "none"
    job: str = ""
    link_digest: int = 0
    name: str = ""
    digests: Mapping[str, str] = NO_CUSTOM

    def has_digests(self, digests: Mapping[str, str]) -> bool:
        """Whether all of these, and there is one, are those of the bytes."""
        known = {"xxh64": self.checksum, **self.digests}
        return bool(digests) and all(known.get(algorithm) == expected for algorithm, expected in digests.items())

    def is_alike(self, other: ObjectMetadata) -> bool:
        """Whether clients see the same bytes with the same custom metadata, ETag and digests."""
        mine = self.size, self.checksum, self.etag, dict(self.custom), dict(self.digests)
        return mine == (other.size, other.checksum, other.etag, dict(other.custom), dict(other.digests))

    def pack(self) -> bytes:
        """The msgpack form."""
        custom = {} if self.custom is NO_CUSTOM else dict(self.custom)
        digests = {} if self.digests is NO_CUSTOM else dict(self.digests)
        plain = (_INLINE, *self[:7], custom, *self[8:-1], digests)
        packed: bytes = msgpack.packb(plain)
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read `pack`'s form; raises Damaged. Fields that a newer version appended are ignored."""
        fields = _unpack(packed)
        if fields[0] != _INLINE or len(fields) <= _FEWEST_FIELDS:
            raise Damaged("its metadata has an unknown format")
        return cls(*fields[1 : len(cls._fields) + 1])


def write(descriptor: int, metadata: ObjectMetadata) -> None:
    """Attach metadata to an open file that has `metadata.size` bytes of data; replaces what was attached before."""
    packed = metadata.pack()
    if len(packed) > MAX_ATTRIBUTE_BYTES:
        os.ftruncate(descriptor, metadata.size)
        _write_all(descriptor, packed, metadata.size)
        packed = msgpack.packb((_TRAILING, metadata.size, len(packed)))
    os.setxattr(descriptor, ATTRIBUTE, packed)


def replace_inline(descriptor: int, metadata: ObjectMetadata) -> bool:
    """Replace the metadata of an open file where both stand in the attribute; False if they do not. Raises OSError."""
    packed = metadata.pack()
    if len(packed) > MAX_ATTRIBUTE_BYTES or _attribute(descriptor)[1:2] == b"\x02":
        return False
    os.setxattr(descriptor, ATTRIBUTE, packed)
    return True


def read(descriptor: int, file_bytes: int) -> ObjectMetadata:
    """The metadata of an open file of `file_bytes` bytes; raises Damaged when that does not fit, OSError."""
    attribute = _attribute(descriptor)
    if attribute[1:2] == b"\x02":
        metadata = _read_trailer(descriptor, attribute, file_bytes)
    else:
        metadata = ObjectMetadata.unpack(attribute)
        if metadata.size != file_bytes:
            raise Damaged(f"it has {file_bytes} bytes and should have {metadata.size}")
    return metadata


def read_at(path: bytes) -> ObjectMetadata | None:
    """The metadata of the file at `path`, for listings, None when there is none; the size is not compared."""
    try:
        attribute = os.getxattr(path, ATTRIBUTE, follow_symlinks=False)
        if attribute[1:2] != b"\x02":
            return ObjectMetadata.unpack(attribute)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return _read_trailer(descriptor, attribute, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
    except (OSError, Damaged):
        return None


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def _attribute(descriptor: int) -> bytes:
    try:
        return os.getxattr(descriptor, ATTRIBUTE)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        raise Damaged("it has no metadata") from None


def _read_trailer(descriptor: int, attribute: bytes, file_bytes: int) -> ObjectMetadata:
    fields = _unpack(attribute)
    if len(fields) < 3 or fields[1] + fields[2] != file_bytes or fields[2] > _MAX_TRAILER_BYTES:
        raise Damaged(f"it has {file_bytes} bytes, which is not what its metadata says")
    return ObjectMetadata.unpack(os.pread(descriptor, fields[2], fields[1]))


def _unpack(packed: bytes) -> list[Any]:
    try:
        fields = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException):
        fields = None
    if not isinstance(fields, list) or not fields:
        raise Damaged("its metadata cannot be read")
    return fields
