"""The checksums by which S3's clients protect bodies: which a request announces, and computing them; pure.

Comparing them with a body as it passes is left to `bodies`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable, KeysView, Mapping
from typing import Final, Protocol

import google_crc32c

from common.names import printable
from proxy.s3.crc64 import Crc64Nvme
from proxy.s3.errors import S3Error, not_implemented
from proxy.s3.request import S3Request

HEADER: Final = "x-amz-checksum-"
_BYTES: Final[Mapping[str, int]] = {
    "md5": 16,
    "sha256": 32,
    "sha1": 20,
    "crc32": 4,
    "crc32c": 4,
    "crc64nvme": 8,
    "sha512": 64,
}
ALGORITHMS: Final = tuple(name for name in _BYTES if name != "md5")
"""Those that have a header of their own."""
_OF_OBJECTS: Final = frozenset({"crc32", "crc32c"})
"""Those that targets compute of the object that parts become."""
_NAMED: Final = frozenset({*ALGORITHMS, "algorithm", "type", "mode"})
"""What may follow `x-amz-checksum-`."""


class Digest(Protocol):
    """What hashes."""

    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_NEW: Final[Mapping[str, Callable[[], Digest]]] = {
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "crc32": _Crc32,
    "crc32c": google_crc32c.Checksum,
    "crc64nvme": Crc64Nvme,
}


def announced(request: S3Request) -> dict[str, bytes]:
    """The checksums of the request's body in its headers, by algorithm.

    Raises S3Error InvalidDigest, InvalidRequest, and NotImplemented for one that would not be compared.
    """
    found: dict[str, bytes] = {}
    for name in request.headers:
        if name.startswith(HEADER) and name.removeprefix(HEADER) not in _NAMED:
            raise not_implemented(f'the checksum "{printable(name, 64)}"')
    if request.method not in ("PUT", "POST"):
        return found
    names = {"md5": "content-md5"}
    if not request.completes_upload:
        names |= {algorithm: HEADER + algorithm for algorithm in ALGORITHMS}
    for algorithm, name in names.items():
        if name in request.headers:  # an empty one announces what cannot be compared, too
            found[algorithm] = decoded(algorithm, request.header(name))
    return found


def announced_of_object(request: S3Request) -> dict[str, bytes]:
    """The checksums that the request which completes an upload has of the whole object.

    Raises S3Error InvalidRequest, and NotImplemented for one that would not be compared: one of the parts' checksums,
    which are not kept, or of an algorithm that no target computes for this.
    """
    found: dict[str, bytes] = {}
    for algorithm in ALGORITHMS:
        if text := request.header(HEADER + algorithm):
            if "-" in text or algorithm not in _OF_OBJECTS:
                raise not_implemented(f"comparing the {HEADER}{algorithm} of an upload in parts")
            found[algorithm] = decoded(algorithm, text)
    return found


def announced_in_trailers(request: S3Request) -> list[str]:
    """The algorithms whose checksums come after the body; raises S3Error for one that is not computed."""
    names = [name.strip().lower() for name in request.header("x-amz-trailer").split(",") if name.strip()]
    algorithms = [name.removeprefix(HEADER) for name in names if name.startswith(HEADER)]
    for algorithm in algorithms:
        if algorithm not in _BYTES or algorithm == "md5":
            raise S3Error("InvalidRequest", f'there is no checksum "{printable(algorithm, 32)}"')
    return algorithms


def decoded(algorithm: str, text: str) -> bytes:
    """A checksum as headers have it, base64; raises S3Error."""
    code = "InvalidDigest" if algorithm == "md5" else "InvalidRequest"
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != _BYTES[algorithm]:
        name = "Content-MD5" if algorithm == "md5" else HEADER + algorithm
        raise S3Error(code, f"the value of {name} is not valid: expecting {_BYTES[algorithm]} bytes in base64")
    return value


def encoded(value: bytes) -> str:
    """A checksum as headers have it."""
    return base64.b64encode(value).decode()


class Digests:
    """Several checksums of the same bytes."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._digests = {algorithm: _NEW[algorithm]() for algorithm in algorithms}

    @property
    def algorithms(self) -> KeysView[str]:
        """Which they are."""
        return self._digests.keys()

    def update(self, *pieces: bytes) -> None:
        """Take in more; by one thread at a time."""
        for digest in self._digests.values():
            for data in pieces:
                digest.update(data)

    def values(self) -> dict[str, bytes]:
        """By algorithm."""
        return {algorithm: digest.digest() for algorithm, digest in self._digests.items()}
