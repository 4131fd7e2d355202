"""What the headers of an upload promise about its bytes, and under which conditions it is to be stored; pure.

Sources: wire.md §0.7, §3.1; RFC 9110 §13 for conditions, RFC 1864 for `Content-MD5`. Computing is left to `uploads`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from common.errors import BadChecksum, InvalidRequest, PreconditionFailed
from common.names import Bucket, printable
from common.web import Scope
from target.api import object_headers
from target.storage.digests import OWN
from target.storage.metadata import ObjectMetadata

S3 = b"haul-s3"
"""The header by which the S3 gateway asks for what S3 needs: MD5 ETags and the content type."""
CONTENT_MD5 = "Content-MD5"
_AIS_TYPES = {"xxhash": OWN, "xxhash2": OWN, "md5": "md5", "crc32c": "crc32c", "sha256": "sha256", "sha512": "sha512"}
_HAUL_TYPES = frozenset({"md5", "sha1", "sha256", "crc32", "crc32c", OWN})
_READ = frozenset(
    {b"content-length", b"content-md5", b"content-type", b"ais-checksum-type", b"ais-checksum-value", b"ais-custom-md"}
    | {b"haul-digest", b"if-match", b"if-none-match", S3}
)
_MAX_CONTENT_TYPE_BYTES = 512
_MAX_S3_CUSTOM_BYTES = 8192
"""2 KiB of the user's, each with S3's prefix, and the standard headers that S3 keeps."""


class Expected(NamedTuple):
    """One digest that was announced; `label` is the client's name for the algorithm."""

    label: str
    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class Announced:
    """What the headers of an upload promise."""

    size: int | None = None
    expected: tuple[Expected, ...] = ()
    custom: dict[str, str] = field(default_factory=dict)
    is_s3: bool = False
    if_match: bytes = b""
    if_none_match: bytes = b""

    def digests(self, *more: str) -> tuple[str, ...]:
        """The algorithms to compute besides an object's own; `more` are wanted anyway."""
        wanted = [*more, *(one.algorithm for one in self.expected), *(("md5",) if self.is_s3 else ())]
        return tuple(dict.fromkeys(algorithm for algorithm in wanted if algorithm != OWN))

    @property
    def grade(self) -> str:
        """How strongly bytes that are as promised are verified."""
        return "user" if self.expected else "size" if self.size is not None else "none"

    def compare(self, computed: Callable[[str], str], context: str) -> None:
        """Raise BadChecksum unless the bytes have the promised digests; `computed` gives one by algorithm."""
        for label, algorithm, value in self.expected:
            found = computed(algorithm)
            if found != value:
                raise BadChecksum(f"BAD DATA CHECKSUM: {label}({printable(value)} != {found}) (context: {context})")

    def condition(self, bucket: Bucket, name: str) -> Callable[[ObjectMetadata], None] | None:
        """What a commit is to ask of what is stored, None if nothing."""
        if not self.if_match and not self.if_none_match:
            return None

        def check(stored: ObjectMetadata) -> None:
            shown = f"{bucket.cname}/{printable(name)}"
            tag = object_headers.etag(stored) if stored.version else b""
            if self.if_match and not object_headers.names(self.if_match, tag):
                what = f"its ETag is {tag.decode()}" if tag else "it does not exist"
                raise PreconditionFailed(f"{shown}: {what}, which is not what If-Match wants")
            if self.if_none_match and object_headers.names(self.if_none_match, tag):
                raise PreconditionFailed(f"{shown}: it exists, with ETag {tag.decode()}, and If-None-Match excludes it")

        return check


def read_headers(scope: Scope) -> Announced:
    """Raises InvalidRequest."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in _READ:
            found.setdefault(name, []).append(value)

    def last(name: bytes) -> bytes:
        return found[name][-1] if name in found else b""

    expected = [Expected(CONTENT_MD5, "md5", _content_md5(value)) for value in found.get(b"content-md5", ())]
    expected += [_haul_digest(value) for value in found.get(b"haul-digest", ())]
    kind = last(b"ais-checksum-type").decode("latin-1").lower()
    if not kind and last(b"ais-checksum-value"):
        raise InvalidRequest("Ais-Checksum-Type is missing: of what kind is Ais-Checksum-Value?")
    if kind not in ("", "none"):
        expected.append(_ais_checksum(kind, last(b"ais-checksum-value").decode("latin-1").lower()))
    size = int(last(b"content-length")) if b"content-length" in found else None
    is_s3 = last(S3).lower() == b"true"
    custom = _custom(found.get(b"ais-custom-md", []), is_s3=is_s3)
    if is_s3 and b"content-type" in found:
        custom.setdefault("Content-Type", _content_type(last(b"content-type")))
    # Several lines are one list (RFC 9110 §5.3).
    if_match, if_none_match = (b", ".join(found.get(name, ())) for name in (b"if-match", b"if-none-match"))
    return Announced(size, tuple(expected), custom, is_s3, if_match, if_none_match)


def read_custom(scope: Scope) -> dict[str, str]:
    """The custom metadata alone, where the body is no object's; raises InvalidRequest."""
    is_s3 = any(name == S3 and value.lower() == b"true" for name, value in scope["headers"])
    return _custom([value for name, value in scope["headers"] if name == b"ais-custom-md"], is_s3=is_s3)


def _custom(lines: list[bytes], *, is_s3: bool) -> dict[str, str]:
    return object_headers.parse_custom(lines, _MAX_S3_CUSTOM_BYTES if is_s3 else object_headers.MAX_CUSTOM_BYTES)


def _content_type(value: bytes) -> str:
    if len(value) > _MAX_CONTENT_TYPE_BYTES:
        raise InvalidRequest(f"Content-Type: longer than {_MAX_CONTENT_TYPE_BYTES} bytes")
    return value.decode("latin-1")


def _ais_checksum(kind: str, checksum: str) -> Expected:
    if kind not in _AIS_TYPES:
        raise InvalidRequest(f'invalid checksum type "{printable(kind)}"')
    if not checksum:
        raise InvalidRequest("Ais-Checksum-Value is missing")
    return Expected(kind, _AIS_TYPES[kind], checksum)


def _content_md5(value: bytes) -> str:
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 16:
        raise InvalidRequest("Content-MD5 is not the base64 form of an MD5 digest")
    return digest.hex()


def _haul_digest(value: bytes) -> Expected:
    algorithm, _, digest = value.decode("latin-1").strip().partition("=")
    algorithm = algorithm.strip().lower()
    if algorithm not in _HAUL_TYPES or not digest.strip():
        raise InvalidRequest(f"Haul-Digest: expecting algorithm=hex, with one of {', '.join(sorted(_HAUL_TYPES))}")
    return Expected(algorithm, algorithm, digest.strip().lower())
