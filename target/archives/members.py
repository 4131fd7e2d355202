"""Reading the bytes of members of an open archive, piece by piece; which member is where, `index` knows.

Members of a tar and stored ones of a zip are read from where they lie. What is compressed is read from its beginning, a
member of a compressed tar from the last state of the decompressor that was kept before it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

from common.errors import Unsupported
from target.archives.formats import Format, NotAnArchive
from target.archives.gunzip import Gunzip, States
from target.archives.index import Index, Member
from target.archives.walking import ENCRYPTED, packed
from target.storage.reader import OpenObject

PIECE_BYTES = 1 << 20
_STORED, _DEFLATED = 0, 8
_LOCAL = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_PACKED_PIECE_BYTES = 256 * 1024


class Reader(Protocol):
    """Gives the bytes of members; may wait for a disk or a processor."""

    def pieces(self, member: Member, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end`, exactly so many; raises NotAnArchive where they are not there, OSError."""
        ...


def reader(found: OpenObject, index: Index) -> Reader:
    """A reader over an open archive, to be used by one thread at a time."""
    if index.format is Format.TAR:
        return _Tar(found)
    return _CompressedTar(found, index.states) if index.format is Format.TGZ else _Zip(found)


class _Tar:
    def __init__(self, found: OpenObject) -> None:
        self._found = found

    def pieces(self, member: Member, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        return _plain(self._found, member.offset + start, member.offset + (member.size if end is None else end))


class _CompressedTar:
    def __init__(self, found: OpenObject, states: States) -> None:
        self._file = Gunzip(packed(found), states)

    def pieces(self, member: Member, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        left = (member.size if end is None else end) - start
        try:
            self._file.seek(member.offset + start)
            while left > 0:
                piece = self._file.read(min(left, PIECE_BYTES)) or b""
                if not piece:
                    raise NotAnArchive("it ends too early")
                left -= len(piece)
                yield piece
        except (EOFError, zlib.error) as error:
            raise NotAnArchive(f"it is damaged: {error}") from None


class _Zip:
    def __init__(self, found: OpenObject) -> None:
        self._found = found

    def pieces(self, member: Member, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        end = member.size if end is None else end
        offset = _data_offset(self._found, member)
        if member.method == _STORED and member.packed_size == member.size:
            pieces = _plain(self._found, offset + start, offset + end)
            return pieces if (start, end) != (0, member.size) else _checked(pieces, member)
        if member.method == _DEFLATED:
            return _inflated(self._found, offset, member, start, end)
        if member.method == ENCRYPTED:
            raise Unsupported(f'the archived file "{member.name}" is encrypted')
        raise Unsupported(f'the archived file "{member.name}" is compressed by a method that is not read here')


def _plain(found: OpenObject, offset: int, end: int) -> Iterator[bytes]:
    while offset < end:
        piece = found.read(offset, min(end - offset, PIECE_BYTES)) if offset < found.size else b""
        if not piece:
            raise NotAnArchive("it ends too early")
        offset += len(piece)
        yield piece


def _data_offset(found: OpenObject, member: Member) -> int:
    header = found.read(member.offset, _LOCAL.size) if member.offset < found.size else b""
    if len(header) < _LOCAL.size:
        raise NotAnArchive("it ends too early")
    signature, name_bytes, extra_bytes = _LOCAL.unpack(header)
    if signature != _LOCAL_SIGNATURE:
        raise NotAnArchive(f"it is damaged: what lies at {member.offset} is no header")
    return member.offset + _LOCAL.size + int(name_bytes) + int(extra_bytes)


def _inflated(found: OpenObject, offset: int, member: Member, start: int, end: int) -> Iterator[bytes]:
    """Part of a compressed member; what it expands to is never more than it claims."""
    pieces = _expanded(found, offset, member)
    if (start, end) == (0, member.size):
        yield from _checked(pieces, member)
        return
    position = 0
    for piece in pieces:
        part = piece[max(0, start - position) : max(0, end - position)]
        position += len(piece)
        if part:
            yield part
        if position >= end:
            return
    if position < end:
        raise NotAnArchive("it is damaged: a member is shorter than it should be")


def _expanded(found: OpenObject, offset: int, member: Member) -> Iterator[bytes]:
    inflate, packed_end = zlib.decompressobj(-zlib.MAX_WBITS), offset + member.packed_size
    waiting, left = b"", member.size
    while not inflate.eof:
        if not waiting and offset < min(packed_end, found.size):
            waiting = found.read(offset, min(packed_end - offset, _PACKED_PIECE_BYTES))
            offset += len(waiting)
        try:
            piece = inflate.decompress(waiting, PIECE_BYTES)
        except zlib.error as error:
            raise NotAnArchive(f"it is damaged: {error}") from None
        if not piece and not inflate.eof and not inflate.unconsumed_tail and offset >= min(packed_end, found.size):
            break
        waiting = inflate.unconsumed_tail
        left -= len(piece)
        if left < 0:
            raise NotAnArchive("it is damaged: a member is longer than it should be")
        if piece:
            yield piece


def _checked(pieces: Iterator[bytes], member: Member) -> Iterator[bytes]:
    """The whole of a member of a zip; the last piece is only given when the CRC-32 is right."""
    crc = size = 0
    last = b""
    for piece in pieces:
        if last:
            yield last
        crc, size, last = zlib.crc32(piece, crc), size + len(piece), piece
    if size != member.size or crc != member.crc:
        raise NotAnArchive(f'it is damaged: the CRC-32 of the archived file "{member.name}" is wrong')
    if last:
        yield last
