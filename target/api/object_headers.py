"""What an object says about itself in HTTP headers, and which bytes of it a request wants; pure.

Sources: wire.md §0.7, §3.2, §3.3. Sending it is left to `objects`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from common.backends.base import SourceObject, custom_of
from common.errors import InvalidRequest, PreconditionFailed, RangeNotSatisfiable
from common.names import Bucket
from common.web import Header
from target.storage.metadata import ObjectMetadata

CHECKSUM_TYPE = b"xxhash2"
_CONTENT_TYPE: Header = (b"content-type", b"application/octet-stream")
MAX_CUSTOM_BYTES = 2048
_RANGE = re.compile(r"(\d{0,19})-(\d{0,19})\Z")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PROPERTIES = frozenset(
    {"name", "size", "checksum", "atime", "version", "custom", "last-modified", "etag", "location", "copies"}
    | {"ec", "chunked", "grade"}
)


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """The bytes (start, end exclusive) that a `Range` header asks for; None for units other than bytes.

    Raises RangeNotSatisfiable for several ranges, too: the dialect answers those with 416.
    """
    unit, _, spec = text.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    match = _RANGE.match(spec.strip())
    if not match or spec.strip() == "-":
        raise RangeNotSatisfiable(spec, size)
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise RangeNotSatisfiable(spec, size)
    return start, end


def attributes(metadata: ObjectMetadata) -> list[Header]:
    """The headers that every successful answer about an object has."""
    headers: list[Header] = [
        (b"ais-atime", b"%d" % metadata.stored_ns),
        (b"ais-checksum-type", CHECKSUM_TYPE),
        (b"ais-checksum-value", metadata.checksum.encode()),
        (b"ais-version", b"%d" % metadata.version),
    ]
    if metadata.custom:
        headers += _custom(metadata)
    return headers


def validated(metadata: ObjectMetadata) -> list[Header]:
    """`attributes` and the validator: what every answer to a GET has."""
    headers = attributes(metadata)
    headers.append((b"etag", etag(metadata)))
    return headers


def whole(metadata: ObjectMetadata) -> list[Header]:
    """The headers that go with all bytes of an object."""
    headers = validated(metadata)
    headers.append((b"content-length", b"%d" % metadata.size))
    headers.append(_CONTENT_TYPE)
    return headers


def partial(metadata: ObjectMetadata, start: int, end: int) -> list[Header]:
    """The headers that go with the bytes from `start` to `end` (exclusive)."""
    return [
        *validated(metadata),
        (b"accept-ranges", b"bytes"),
        (b"content-range", b"bytes %d-%d/%d" % (start, end - 1, metadata.size)),
        (b"content-length", b"%d" % (end - start)),
        _CONTENT_TYPE,
    ]


def etag(metadata: ObjectMetadata) -> bytes:
    """The validator: the origin's if there is one, else the checksum; always quoted, as HTTP wants it."""
    origin = metadata.etag
    if not origin:
        return b'"%s"' % metadata.checksum.encode()
    return _value(origin if origin.endswith('"') else f'"{origin}"')


def last_modified(metadata: ObjectMetadata) -> bytes:
    """The origin's modification time, else when the object was stored."""
    if metadata.last_modified:
        return _value(metadata.last_modified)
    return _http_date(metadata.stored_ns)


def _http_date(unix_ns: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC), usegmt=True).encode()


def is_unchanged(metadata: ObjectMetadata, if_none_match: bytes, if_modified_since: bytes) -> bool:
    """Whether the client's copy is still right; `If-None-Match` takes precedence, as HTTP says."""
    if if_none_match:
        ours = etag(metadata).removeprefix(b"W/")
        theirs = [one.strip().removeprefix(b"W/") for one in if_none_match.split(b",")]
        return b"*" in theirs or ours in theirs
    return _changed_after(metadata, if_modified_since) is False


def check_wanted(metadata: ObjectMetadata, if_match: bytes, if_unmodified_since: bytes) -> None:
    """Raise PreconditionFailed unless it is the object that is wanted; `If-Match` takes precedence, as HTTP says."""
    if if_match:
        if not names(if_match, etag(metadata)):
            raise PreconditionFailed(f"If-Match: the object has the ETag {etag(metadata).decode()}")
    elif if_unmodified_since and _changed_after(metadata, if_unmodified_since):
        raise PreconditionFailed(f"If-Unmodified-Since: the object is of {last_modified(metadata).decode()}")


def names(wanted: bytes, tag: bytes) -> bool:
    """Whether a list of ETags, or `*`, has this one; an empty one is that of nothing. Weak ones are never the same."""
    if not tag:
        return False
    listed = {one.strip() for one in wanted.split(b",")}
    return b"*" in listed or tag in listed or tag.strip(b'"') in listed


def _changed_after(metadata: ObjectMetadata, date: bytes) -> bool | None:
    """Whether the object is newer than an HTTP date, None when that is no date."""
    try:
        limit = parsedate_to_datetime(date.decode("latin-1"))
        changed = parsedate_to_datetime(last_modified(metadata).decode("latin-1"))
        return changed.timestamp() > limit.timestamp()
    except (ValueError, OverflowError):
        return None


def head_v1(metadata: ObjectMetadata, bucket: Bucket, name: str, location: str, mountpath_id: str) -> list[Header]:
    """Everything, for clients that ask for no particular properties."""
    return [
        *attributes(metadata),
        (b"ais-bucket-name", bucket.name.encode()),
        (b"ais-bucket-provider", bucket.provider.encode()),
        (b"ais-location", location.encode()),
        (b"ais-mirror-copies", b"1"),
        (b"ais-mirror-paths", f"[{mountpath_id}]".encode()),
        (b"ais-name", _value(name)),
        (b"ais-present", b"true"),
        (b"haul-grade", metadata.grade.encode()),
        (b"etag", etag(metadata)),
        (b"last-modified", last_modified(metadata)),
    ]


def head_v2(metadata: ObjectMetadata, properties: list[str], location: str, mountpath_id: str) -> list[Header]:
    """The properties that were asked for; `check_properties` first."""
    known: dict[str, Callable[[], list[Header]]] = {
        "checksum": lambda: [
            (b"ais-checksum-type", CHECKSUM_TYPE),
            (b"ais-checksum-value", metadata.checksum.encode()),
        ],
        "atime": lambda: [(b"ais-atime", b"%d" % metadata.stored_ns)],
        "version": lambda: [(b"ais-version", b"%d" % metadata.version)],
        "custom": lambda: _custom(metadata),
        "last-modified": lambda: [(b"last-modified", last_modified(metadata))],
        "etag": lambda: [(b"etag", etag(metadata))],
        "location": lambda: [(b"ais-location", location.encode())],
        "copies": lambda: [(b"ais-mirror-copies", b"1"), (b"ais-mirror-paths", mountpath_id.encode())],
        "grade": lambda: [(b"haul-grade", metadata.grade.encode())],
    }
    headers: list[Header] = [(b"ais-present", b"true")]
    for name in properties:
        if name in known:
            headers += known[name]()
    return headers


def outside_v1(found: SourceObject, backend: Bucket, bucket: Bucket) -> list[Header]:
    """As `head_v1`, of an object that is not here."""
    return [
        *outside_v2(found, backend, list(_OUTSIDE)),
        (b"ais-bucket-name", bucket.name.encode()),
        (b"ais-bucket-provider", bucket.provider.encode()),
        (b"ais-name", _value(found.name)),
    ]


def outside_v2(found: SourceObject, backend: Bucket, properties: list[str]) -> list[Header]:
    """As `head_v2`, of an object that is not here: what its service tells of it."""
    headers: list[Header] = [(b"ais-present", b"false")]
    if found.size_bytes is not None:
        headers.append((b"content-length", b"%d" % found.size_bytes))
    for name in properties:
        headers += _OUTSIDE[name](found, backend) if name in _OUTSIDE else ()
    return headers


def _outside_checksum(found: SourceObject, _: Bucket) -> list[Header]:
    algorithm = next((one for one in _CHECKSUM_TYPES if one in found.digests), "")
    if not algorithm:
        return []
    value = found.digests[algorithm].encode()
    return [(b"ais-checksum-type", algorithm.encode()), (b"ais-checksum-value", value)]


def _outside_custom(found: SourceObject, backend: Bucket) -> list[Header]:
    told = custom_of(found, backend.provider).items()
    return [(b"ais-custom-md", _value(f"{key}={value}")) for key, value in told if "," not in value]


def _outside_etag(found: SourceObject, _: Bucket) -> list[Header]:
    return [(b"etag", _value(found.etag))] if found.etag else []


def _outside_modified(found: SourceObject, _: Bucket) -> list[Header]:
    return [(b"last-modified", _http_date(found.modified_ns))] if found.modified_ns else []


def _outside_version(found: SourceObject, _: Bucket) -> list[Header]:
    return [(b"ais-version", _value(found.version))] if found.version else []


_CHECKSUM_TYPES = ("md5", "crc32c", "sha256", "sha512")
"""Those of a service that the dialect knows, the most usual first."""
_OUTSIDE: Mapping[str, Callable[[SourceObject, Bucket], list[Header]]] = {
    "checksum": _outside_checksum,
    "version": _outside_version,
    "custom": _outside_custom,
    "last-modified": _outside_modified,
    "etag": _outside_etag,
}


def check_properties(text: str) -> list[str]:
    """The names in a `props` query; raises InvalidRequest for one that is unknown."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in _PROPERTIES:
            raise InvalidRequest(f'invalid property "{name}" in props list')
    return names


def parse_custom(lines: list[bytes], limit_bytes: int = MAX_CUSTOM_BYTES) -> dict[str, str]:
    """Custom metadata from `Ais-Custom-Md` lines (`key=value`); raises InvalidRequest."""
    if sum(map(len, lines)) > limit_bytes:
        raise InvalidRequest(f"Ais-Custom-Md: larger than {limit_bytes} bytes")
    custom = {}
    for line in lines:
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not key or not equals:
            raise InvalidRequest("Ais-Custom-Md: expecting key=value")
        custom[key] = value
    return custom


def _custom(metadata: ObjectMetadata) -> list[Header]:
    return [(b"ais-custom-md", _value(f"{key}={value}")) for key, value in metadata.custom.items()]


def _value(text: str) -> bytes:
    """Text that came from outside as a header value: nothing in it can end the line."""
    return _UNSAFE.sub(" ", text).encode()
