"""Which kind of archive an object is: by what the request says, else by its name, else by its first bytes; pure.

Source: wire.md §3.2. Reading one is left to `walking` and `members`.
"""

from __future__ import annotations

from enum import Enum

from common.errors import InvalidRequest, RequestError, Unsupported
from common.names import printable

MAGIC_BYTES = 512
"""So much of an object's beginning tells its format."""
_TAR_MAGIC = slice(257, 262)


class Format(Enum):
    """What is read here."""

    TAR = ".tar"
    TGZ = ".tgz"
    ZIP = ".zip"


class NotAnArchive(RequestError):
    """The object is no archive, or a damaged one; reading it again gives the same."""


_BY_EXTENSION = {".tar": Format.TAR, ".tgz": Format.TGZ, ".tar.gz": Format.TGZ, ".zip": Format.ZIP}
_BY_MIME = _BY_EXTENSION | {
    "application/x-tar": Format.TAR,
    "application/x-gtar": Format.TAR,
    "application/x-tgz": Format.TGZ,
    "application/x-tar-gz": Format.TGZ,
    "application/x-gzip": Format.TGZ,
    "application/gzip": Format.TGZ,
    "application/zip": Format.ZIP,
    "application/x-zip-compressed": Format.ZIP,
}
_LZ4 = ".tar.lz4"
EXTENSIONS = tuple(_BY_EXTENSION)


def by_mime(mime: str) -> Format:
    """A format as a client names it, with a dot or without, or as a media type; raises InvalidRequest, Unsupported."""
    text = mime.strip().lower()
    if text.removeprefix(".") == _LZ4[1:] or "lz4" in text:
        raise Unsupported("archives of the format .tar.lz4 are not supported: use .tar, .tgz or .zip")
    found = _BY_MIME.get(text) or _BY_MIME.get(f".{text}")
    if found is None:
        raise InvalidRequest(f'unknown archive format "{printable(mime, 64)}": expecting one of .tar .tgz .tar.gz .zip')
    return found


def by_name(name: str) -> Format | None:
    """The format that a name's extension tells, None without one; raises Unsupported."""
    lowered = name[-8:].lower()
    if lowered.endswith(_LZ4):
        raise Unsupported("archives of the format .tar.lz4 are not supported")
    return next((known for extension, known in _BY_EXTENSION.items() if lowered.endswith(extension)), None)


def is_listed(name: str) -> bool:
    """Whether a listing of archives looks into an object of this name."""
    return name[-8:].lower().endswith(EXTENSIONS)


def by_magic(beginning: bytes) -> Format:
    """The format of what begins like this (MAGIC_BYTES); raises NotAnArchive, Unsupported."""
    if beginning[_TAR_MAGIC] == b"ustar":
        return Format.TAR
    if beginning.startswith(b"\x1f\x8b"):
        return Format.TGZ
    if beginning.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Format.ZIP
    if beginning.startswith(b"\x04\x22\x4d\x18"):
        raise Unsupported("archives of the format .tar.lz4 are not supported")
    raise NotAnArchive("it is not an archive: neither its name nor its first bytes are those of a tar, tgz or zip")
