"""Writing an archive as a stream, a member after the other: tar or zip; sizes are known beforehand.

Nothing of the members is kept, only what a zip's directory needs. Whose bytes they are is left to the callers.
"""

from __future__ import annotations

import tarfile
import time
import zipfile
import zlib
from typing import IO, Protocol

from target.archives.formats import Format

MEDIA_TYPES = {Format.TAR: b"application/x-tar", Format.TGZ: b"application/x-tgz", Format.ZIP: b"application/zip"}
_END = bytes(2 * tarfile.BLOCKSIZE)
_COMPRESSION_LEVEL = 1
_EARLIEST_OF_ZIP = (1980, 1, 1, 0, 0, 0)


class Packer(Protocol):
    """Gives the archive's next bytes; `begin`, `add` until the size is reached, then `end`; at last `finish`."""

    def begin(self, name: str, size: int, mtime: int = 0) -> bytes: ...

    def add(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...

    def finish(self) -> bytes: ...


class Compressor(Protocol):
    """What a packer's bytes go through at last; takes a processor."""

    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


def packer(kind: Format) -> Packer:
    """A packer for an archive of this format; what it gives for a TGZ has to be compressed yet."""
    return _Zip() if kind is Format.ZIP else _Tar()


def compressor(kind: Format) -> Compressor | None:
    """A compressor where the format has one around the whole."""
    return zlib.compressobj(_COMPRESSION_LEVEL, wbits=zlib.MAX_WBITS | 16) if kind is Format.TGZ else None


class _Tar:
    def __init__(self) -> None:
        self._size = 0

    def begin(self, name: str, size: int, mtime: int = 0) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = size, mtime
        self._size = size
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

    def add(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return bytes(-self._size % tarfile.BLOCKSIZE)

    def finish(self) -> bytes:
        return _END


class _Pipe:
    """What a zip is written to: it cannot go back, so sizes and CRCs come behind the members."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data


class _Zip:
    """Members are stored as they are, as in a tar."""

    def __init__(self) -> None:
        self._pipe = _Pipe()
        self._archive = zipfile.ZipFile(self._pipe, "w")
        self._member: IO[bytes] | None = None

    def begin(self, name: str, size: int, mtime: int = 0) -> bytes:
        date = max(time.gmtime(mtime)[:6], _EARLIEST_OF_ZIP)
        info = zipfile.ZipInfo(name, date)
        info.file_size = size
        # The same object may be asked for twice, about which the library warns.
        self._archive.NameToInfo.clear()
        self._member = self._archive.open(info, "w")
        return self._pipe.taken()

    def add(self, data: bytes) -> bytes:
        assert self._member is not None
        self._member.write(data)
        return self._pipe.taken()

    def end(self) -> bytes:
        assert self._member is not None
        self._member.close()
        return self._pipe.taken()

    def finish(self) -> bytes:
        self._archive.close()
        return self._pipe.taken()
