"""Finding the members of an archive, by the standard library's readers; what a header claims costs only so much.

Sizes and counts in an archive come from whoever made it: headers are read against a budget, a compressed archive may
expand to so much and no more, and offsets only grow.
"""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from common.errors import Unsupported
from target.archives.formats import Format, NotAnArchive
from target.archives.gunzip import Gunzip, States
from target.archives.index import Index, Member, plain_name
from target.storage.reader import OpenObject

MAX_HEADER_BYTES = 1 << 20
"""What the headers of one member of a tar may take: extended headers have its name."""
MAX_DIRECTORY_BYTES = 32 << 20
"""What the directory of a zip may take, which the library reads as a whole."""
MAX_EXPANDED_BYTES = 16 << 30
"""A compressed tar is read as a whole to find what is in it; this takes half a minute or so."""
_BUFFER_BYTES = 8192
_EXPANDED_BUFFER_BYTES = 128 * 1024
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RecursionError),
    *(ValueError, IndexError, NotImplementedError, UnicodeError),
)
"""What the libraries raise on bytes that are no archive."""
_IS_ENCRYPTED = 0x1
ENCRYPTED = 1 << 16
"""As a compression method: the member is encrypted."""


class ObjectFile(io.RawIOBase):
    """An open object as a file for the libraries; closing it leaves the object open."""

    def __init__(self, found: OpenObject) -> None:
        self._found = found
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._found.size}[whence]
        if base + offset < 0:
            raise ValueError("an offset before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._position >= self._found.size:
            return 0
        data = self._found.read(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class _Budgeted:
    """A file of which only so much may be read until the next `allow`; the libraries trust what headers claim."""

    def __init__(self, file: io.BufferedReader[Any], limit_bytes: int) -> None:
        self._file = file
        self._limit_bytes = self._left = limit_bytes
        self.seek, self.tell = file.seek, file.tell

    def allow(self) -> None:
        self._left = self._limit_bytes

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        if len(data) > self._left:
            raise Unsupported(f"a header in it is larger than {self._limit_bytes} bytes")
        self._left -= len(data)
        return data


def build(found: OpenObject, kind: Format) -> Index:
    """The index of an archive; raises NotAnArchive, Unsupported (a limit), OSError."""
    try:
        if kind is Format.ZIP:
            return Index(kind, _zip_members(found))
        if kind is Format.TAR:
            return Index(kind, _tar_members(io.BufferedReader(ObjectFile(found), _BUFFER_BYTES), None))
        states = States()
        file = io.BufferedReader(Gunzip(packed(found), states, keeps=True), _EXPANDED_BUFFER_BYTES)
        return Index(kind, _tar_members(file, MAX_EXPANDED_BYTES), states)
    except _DAMAGED as error:
        raise NotAnArchive(f"it is no whole {kind.value} archive: {error or type(error).__name__}") from None


def packed(found: OpenObject) -> Callable[[int, int], bytes]:
    """What reads the bytes of an object for `Gunzip`."""
    return lambda offset, size: found.read(offset, size) if offset < found.size else b""


def _tar_members(file: io.BufferedReader[Any], limit_bytes: int | None) -> Iterator[Member]:
    headers = _Budgeted(file, MAX_HEADER_BYTES)
    with tarfile.TarFile(fileobj=headers, mode="r", encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[arg-type]
        previous = -1
        while True:
            headers.allow()
            info = archive.next()
            if info is None:
                break
            # The library keeps all it has seen.
            archive.members.clear()  # type: ignore[attr-defined]
            archive.pax_headers.clear()  # type: ignore[attr-defined]
            if info.size < 0 or archive.offset <= previous:
                raise NotAnArchive("it is damaged: a header has an impossible size")
            previous = archive.offset
            if limit_bytes is not None and previous > limit_bytes:
                raise Unsupported(f"it expands to more than {limit_bytes} bytes")
            if info.isreg() and not info.issparse():
                name = plain_name(info.name)
                if name and not name.endswith("/"):
                    yield Member(name, info.size, info.offset_data)
        _check_end(file, archive.offset)


def _check_end(file: io.BufferedReader[Any], offset: int) -> None:
    """A tar ends with zeros, or with the file; the library takes any broken header for the end, too."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0"):
        raise NotAnArchive(f"it is damaged: what lies at {offset} is no header")


def _zip_members(found: OpenObject) -> Iterator[Member]:
    file = _Budgeted(io.BufferedReader(ObjectFile(found), _BUFFER_BYTES), MAX_DIRECTORY_BYTES)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = plain_name(info.filename)
            if not name or name.endswith("/"):
                continue
            method = info.compress_type if not info.flag_bits & _IS_ENCRYPTED else ENCRYPTED
            yield Member(name, info.file_size, info.header_offset, info.compress_size, info.CRC, method)
