"""What S3 says of an object in headers, and what is kept of an upload's: from and to a target's headers; pure.

Sending them is left to `objects`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from common.names import printable
from common.web import Header
from proxy.s3 import checksums
from proxy.s3.errors import S3Error, not_implemented
from proxy.s3.request import USER_METADATA, S3Request

_KEPT: Final = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-type": "Content-Type",
    "expires": "Expires",
}
"""What is kept of an upload's headers, and the custom key that has it."""
_SHOWN: Final = {key.lower(): name for name, key in _KEPT.items()}
_DEFAULT_TYPE: Final = "binary/octet-stream"
_MAX_USER_BYTES: Final = 2048
_MAX_KEPT_BYTES: Final = 4096
"""The headers in `_KEPT` together; the name of a file in a Content-Disposition can have nine bytes a letter."""
_OVERRIDE: Final = "response-"
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_ENCRYPTION: Final = "x-amz-server-side-encryption"
S3: Final[Header] = (b"haul-s3", b"true")
"""Asks a target for what S3 needs: an MD5 as ETag."""


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What a target's answer says about an object; `etag` is quoted, `custom` are the pairs that are kept with it."""

    etag: str
    modified_ns: int
    custom: Mapping[str, str]

    @property
    def modified_seconds(self) -> int:
        return self.modified_ns // 1_000_000_000


def read_head(headers: Iterable[Header]) -> ObjectHead:
    """From the headers of a GET, HEAD or PUT."""
    etag, checksum, modified_ns, custom = "", "", 0, {}
    for name, raw in headers:
        if name == b"etag":
            etag = raw.decode("latin-1")
        elif name == b"ais-checksum-value":
            checksum = raw.decode("latin-1")
        elif name == b"ais-atime":
            modified_ns = int(raw)
        elif name == b"ais-custom-md":
            key, _, value = raw.decode("latin-1").partition("=")
            custom[key] = value
    return ObjectHead(etag or f'"{checksum}"', modified_ns, custom)


def shown(head: ObjectHead, query: Mapping[str, str], *, with_checksums: bool) -> list[Header]:
    """The headers of an answer to GET or HEAD, but for lengths and ranges; raises S3Error for a bad override."""
    headers: list[Header] = [
        (b"etag", head.etag.encode("latin-1")),
        (b"last-modified", http_date(head.modified_ns)),
        (b"accept-ranges", b"bytes"),
    ]
    found = {"content-type": _DEFAULT_TYPE}
    for key, value in head.custom.items():
        name = key.lower()
        if name in _SHOWN:
            found[name] = value
        elif not _TOKEN.match(name):
            continue  # kept by another API
        elif name.startswith(USER_METADATA) or (with_checksums and name.startswith(checksums.HEADER)):
            headers.append((name.encode("latin-1"), value.encode("latin-1")))
    found |= _overrides(query)
    headers += [(name.encode(), value.encode("latin-1")) for name, value in found.items()]
    return headers


def _overrides(query: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for key, value in query.items():
        name = key.removeprefix(_OVERRIDE)
        if key.startswith(_OVERRIDE) and name in _KEPT:
            if _UNSAFE.search(value) or not value.isascii():
                raise S3Error("InvalidArgument", f"{key} has characters that no header can have")
            found[name] = value
    return found


def kept(request: S3Request) -> list[Header]:
    """What a target is to keep with an object, as `Ais-Custom-Md` lines; raises S3Error."""
    check_offered(request)
    pairs: dict[str, str] = {}
    for name, key in _KEPT.items():
        value = request.header(name)
        if name == "content-encoding":
            value = ",".join(one.strip() for one in value.split(",") if one.strip().lower() != "aws-chunked")
        if value:
            pairs[key] = value
    if sum(map(len, pairs.values())) > _MAX_KEPT_BYTES:
        names = ", ".join(pairs)
        raise S3Error("InvalidArgument", f"the values of {names} have more than {_MAX_KEPT_BYTES} bytes together")
    user = request.user_metadata
    if sum(len(key) + len(value) for key, value in user.items()) > _MAX_USER_BYTES:
        raise S3Error("MetadataTooLarge", f"Your metadata headers exceed the maximum allowed size, {_MAX_USER_BYTES}")
    for key, value in user.items():
        if not _TOKEN.match(key):
            raise S3Error("InvalidArgument", f"the name of the metadata {printable(key, 64)} cannot be a header's")
        pairs[USER_METADATA + key] = value
    for algorithm in checksums.ALGORITHMS:
        if value := request.header(checksums.HEADER + algorithm):
            pairs[checksums.HEADER + algorithm] = value
    return custom_lines(pairs)


def custom_lines(custom: Mapping[str, str]) -> list[Header]:
    """Pairs as a target takes them."""
    return [(b"ais-custom-md", f"{key}={value}".encode("latin-1", "replace")) for key, value in custom.items()]


def check_offered(request: S3Request) -> None:
    """Raise S3Error NotImplemented for headers of a write that cannot be ignored."""
    if request.header("x-amz-tagging"):
        raise not_implemented("tagging (x-amz-tagging)")
    if any(name.startswith((_ENCRYPTION, f"x-amz-copy-source{_ENCRYPTION[5:]}")) for name in request.headers):
        raise not_implemented("encryption by the service (x-amz-server-side-encryption)")
    if any(name.startswith("x-amz-object-lock") for name in request.headers):
        raise not_implemented("object lock")
    if request.header("x-amz-website-redirect-location"):
        raise not_implemented("x-amz-website-redirect-location")
    if request.header("x-amz-write-offset-bytes"):
        raise not_implemented("appending (x-amz-write-offset-bytes)")


def echoed(found: Mapping[str, bytes]) -> list[Header]:
    """The checksums of an upload, as its answer repeats them."""
    headers: list[Header] = [
        (f"{checksums.HEADER}{algorithm}".encode(), checksums.encoded(value).encode())
        for algorithm, value in found.items()
        if algorithm != "md5"
    ]
    if headers:
        headers.append((b"x-amz-checksum-type", b"FULL_OBJECT"))
    return headers


def http_date(unix_ns: int) -> bytes:
    """A time as HTTP's headers have it, in whole seconds."""
    return format_datetime(datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC), usegmt=True).encode()


def iso_date(unix_ns: int) -> str:
    """A time as S3's documents have it; in whole seconds, so that it is the same as in headers."""
    return datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def passed(headers: Sequence[Header], *names: bytes) -> list[Header]:
    """Some headers of an answer."""
    return [(name, value) for name, value in headers if name in names]
