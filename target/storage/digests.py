"""The digests of a stream of bytes, computed in one pass; which ones are wanted is left to callers."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import google_crc32c
from xxhash import xxh64

from common.expectation import GIT_SHA1

OWN = "xxh64"
"""The algorithm of an object's own checksum."""


class _Crc32:
    """zlib's CRC-32 with the interface of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class _Crc32c:
    """google_crc32c with the interface of hashlib."""

    def __init__(self) -> None:
        self._checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._checksum.update(bytes(data))

    def hexdigest(self) -> str:
        hexdigest: str = self._checksum.digest().hex()
        return hexdigest


def _hashlib(name: str) -> Callable[[], Any]:
    return lambda: hashlib.new(name, usedforsecurity=False)


_ALGORITHMS: dict[str, Callable[[], Any]] = {
    **{name: _hashlib(name) for name in ("md5", "sha1", "sha256", "sha512")},
    "crc32": _Crc32,
    "crc32c": _Crc32c,
    OWN: xxh64,
}
KNOWN = frozenset({*_ALGORITHMS, GIT_SHA1})


def new_digest(algorithm: str, size_bytes: int) -> Any:
    """A running digest with hashlib's `update` and `hexdigest`; raises KeyError for one that is not KNOWN.

    `size_bytes` is what will be hashed, where the algorithm begins with that.
    """
    if algorithm == GIT_SHA1:
        return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    return _ALGORITHMS[algorithm]()


class Digests:
    """xxh64 and any number of others."""

    __slots__ = ("_running",)

    def __init__(self, algorithms: Iterable[str], size_bytes: int) -> None:
        """`size_bytes` is what will come in all; raises KeyError for an algorithm that is not KNOWN."""
        self._running = {name: new_digest(name, size_bytes) for name in dict.fromkeys((OWN, *algorithms))}

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; releases the interpreter lock for large ones."""
        for running in self._running.values():
            running.update(data)

    def hexdigest(self, algorithm: str = OWN) -> str:
        """Of everything so far, lower case."""
        hexdigest: str = self._running[algorithm].hexdigest()
        return hexdigest
