"""What an answer says about the bytes that follow: strong validators, ranges, digests; pure.

Computing digests is left to `target.storage`, comparing and grading to the carrier.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from common.expectation import GIT_SHA1, HEX_LENGTHS
from target.transfer.heads import HeaderFields
from target.transfer.request import ResponseHead

_SETTLED_SECONDS = 60
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\Z", re.ASCII | re.IGNORECASE)
_PLAIN_MD5 = re.compile(r'"([0-9a-f]{32})"\Z')
_TELLING = re.compile(rb"\n(?:x-goog-hash|x-amz-|repr-digest|digest|content-md5|x-ms-blob-content-md5)")
_MD5_OF_WHOLE = {200: "content-md5", 206: "x-ms-blob-content-md5"}
"""By status: with a part `Content-MD5` would be of the part, and Azure has another name for that of the whole."""
_DIGEST_NAMES = {"md5": "md5", "sha": "sha1", "sha-256": "sha256", "sha-512": "sha512", "crc32c": "crc32c"}
_AMAZON = {f"x-amz-checksum-{algorithm}": algorithm for algorithm in ("sha256", "sha512", "sha1", "md5", "crc32c")}
_PARTS = re.compile(r'-[0-9]+"\Z', re.ASCII)
"""How the ETag of an object ends that was uploaded in parts."""


def strong_validator(head: ResponseHead) -> str:
    """What `If-Range` may be asked with, empty when the answer has nothing strong (RFC 9110, 8.8 and 13.1.5).

    A modification time is strong when it is at least a minute older than the answer.
    """
    etag = head.etag
    if etag:
        return etag if etag.startswith('"') and etag.endswith('"') and len(etag) > 1 else ""
    modified, date = _date(head.last_modified), _date(head.headers.get("date", ""))
    if modified is None or date is None or (date - modified).total_seconds() < _SETTLED_SECONDS:
        return ""
    return head.last_modified


def content_range(value: str) -> tuple[int, int, int | None] | None:
    """First byte, byte after the last, and size (None for `*`) of a `Content-Range`; None when it is none."""
    match = _CONTENT_RANGE.match(value.strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    size = None if match[3] == "*" else int(match[3])
    if last < first or (size is not None and last >= size):
        return None
    return first, last + 1, size


def known_digests(head: ResponseHead) -> dict[str, str]:
    """Digests of the whole object that the origin tells, as algorithm: lower-case hex; what cannot be read is ignored.

    `x-goog-hash`, `x-amz-checksum-*` of whole objects, plain-MD5 ETags of S3, `Repr-Digest`, `Digest`, `Content-MD5`.
    """
    headers = head.headers
    found: dict[str, str] = {}
    if isinstance(headers, HeaderFields) and not headers.mention(_TELLING):
        return found
    stored_encoding = headers.get("x-goog-stored-content-encoding", "identity")
    transcoded = stored_encoding not in ("identity", headers.get("content-encoding", "identity"))
    for part in () if transcoded else headers.get("x-goog-hash", "").split(","):
        algorithm, _, value = part.strip().partition("=")
        _keep(found, algorithm.lower(), value)
    for name, algorithm in _AMAZON.items() if _has_checksums_of_whole(head) else ():
        if "-" not in headers.get(name, "-"):
            _keep(found, algorithm, headers[name])
    for part in headers.get("repr-digest", "").split(","):
        name, _, value = part.strip().partition("=")
        _keep(found, _DIGEST_NAMES.get(name.lower(), ""), value.strip(":"))
    for part in headers.get("digest", "").split(","):
        name, _, value = part.strip().partition("=")
        _keep(found, _DIGEST_NAMES.get(name.lower(), ""), value)
    _keep(found, "md5", headers.get(_MD5_OF_WHOLE.get(head.status, ""), ""))
    if _is_s3(head):
        plain = _PLAIN_MD5.match(head.etag)
        if plain:
            found.setdefault("md5", plain[1])
    return found


def _has_checksums_of_whole(head: ResponseHead) -> bool:
    """Whether `x-amz-checksum-*` are of the object, and neither of what was asked for nor of its parts' checksums."""
    assumed = "COMPOSITE" if _PARTS.search(head.etag) else "FULL_OBJECT"
    return head.status != 206 and head.headers.get("x-amz-checksum-type", assumed) == "FULL_OBJECT"


def _is_s3(head: ResponseHead) -> bool:
    """Whether an ETag of 32 hex digits is an MD5: S3 says so for plain objects that are not encrypted with own keys."""
    headers = head.headers
    return (
        "x-amz-request-id" in headers
        and not headers.get("x-amz-server-side-encryption", "").startswith("aws:")
        and "x-amz-server-side-encryption-customer-algorithm" not in headers
    )


def _keep(found: dict[str, str], algorithm: str, text: str) -> None:
    if algorithm not in HEX_LENGTHS or algorithm == GIT_SHA1 or not text:
        return
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return
    if len(raw) * 2 == HEX_LENGTHS[algorithm]:
        found.setdefault(algorithm, raw.hex())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
