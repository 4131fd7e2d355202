"""Objects: what is known of one, the calls that read and write one, and checking what arrives; pure.

Sources: docs/wire.md, and wire.md §3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx
import xxhash

from haul.errors import Changed, Damaged, InvalidInput, UnexpectedAnswer
from haul.exchange import Call, is_redirect, json_body, location, nothing
from haul.places import BucketName, Place, object_of

CHUNK_BYTES = 1 << 20
_COPY_SECONDS = 3600.0
"""A target is silent while it copies; so long is 360 GB at 100 MB/s."""
_XXHASH = frozenset({"xxhash", "xxhash2"})
_PROPERTIES = "name,size,checksum,version,atime,custom,etag,last-modified,location,grade"
_DIRECTORY, _PRESENT = 256, 64
_REPLACED = "has been replaced while it was being read; read it again from its beginning"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of one object; `is_present` is False for one of a remote bucket that is not in the cluster.

    `checksum` is of the type that is named, `xxhash2` unless another cluster or service has computed it. `modified` is
    the origin's time, `stored` when it came here. `custom` is metadata that was stored with it. `grade` tells how
    strongly its bytes were verified, and `location` where it lies; both only after a HEAD.
    """

    size_bytes: int
    checksum_type: str
    checksum: str
    version: str
    etag: str
    modified: datetime | None
    stored: datetime | None
    custom: Mapping[str, str]
    grade: str
    location: str
    is_present: bool

    @classmethod
    def from_headers(cls, headers: httpx.Headers, size_bytes: int) -> Self:
        """Of an answer about the object."""
        custom = dict(_pairs(headers.get_list("Ais-Custom-Md")))
        stored_ns = headers.get("Ais-Atime", "")
        return cls(
            size_bytes=size_bytes,
            checksum_type=headers.get("Ais-Checksum-Type", ""),
            checksum=headers.get("Ais-Checksum-Value", ""),
            version=headers.get("Ais-Version", ""),
            etag=headers.get("ETag", ""),
            modified=_http_date(headers.get("Last-Modified", "")),
            stored=datetime.fromtimestamp(int(stored_ns) / 1e9, UTC) if stored_ns.isdecimal() else None,
            custom=custom,
            grade=headers.get("Haul-Grade", ""),
            location=headers.get("Ais-Location", ""),
            is_present=headers.get("Ais-Present", "true") == "true",
        )

    def is_same(self, other: ObjectInfo) -> bool:
        """Whether both are the same bytes, as far as they tell."""
        if self.checksum_type == other.checksum_type and self.checksum != other.checksum:
            return False
        mine, other_one = _opaque(self.etag), _opaque(other.etag)
        return mine == other_one or not mine or not other_one


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """A line of a listing: an object, or with `is_directory` what lies behind a slash (its name ends with one).

    Everything but name and size is empty unless details were asked for.
    """

    name: str
    size_bytes: int
    is_directory: bool
    is_present: bool
    checksum: str
    version: str

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """An entry of a page."""
        flags = int(fields.get("flags") or 0)
        return cls(
            str(fields.get("name", "")),
            int(fields.get("size") or 0),
            bool(flags & _DIRECTORY),
            bool(flags & _PRESENT),
            str(fields.get("checksum", "")),
            str(fields.get("version", "")),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """Bytes to read: from `start` to `end` (exclusive, None: the object's end).

    With `unchanged_since` they are those of that object, or `Changed` is raised.
    """

    place: Place
    start: int = 0
    end: int | None = None
    unchanged_since: ObjectInfo | None = None

    @classmethod
    def of(cls, bucket: BucketName, name: str, start: int, end: int | None, unchanged_since: ObjectInfo | None) -> Self:
        """Raises InvalidInput."""
        if start < 0 or (end is not None and end <= start):
            raise InvalidInput(f"no bytes are from {start} to {end}: start must not be negative, end be behind it")
        return cls(object_of(bucket, name), start, end, unchanged_since)

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are wanted."""
        return not self.start and self.end is None

    def call(self) -> Call[Arriving]:
        """The call; its body follows, and goes through what it returns."""
        return Call(
            "GET", self.place.path, self._read, self.place.query, self._headers(), streams=True, place=self.place
        )

    def _headers(self) -> dict[str, str]:
        if self.is_whole:
            return {}
        headers = {"Range": f"bytes={self.start}-{'' if self.end is None else self.end - 1}"}
        since = self.unchanged_since
        # Of an object that was not here, its service has told the etag in its own spelling.
        if since is not None and since.etag and since.is_present:
            headers["If-Range"] = since.etag
        return headers

    def _read(self, response: httpx.Response) -> Arriving:
        length = int(response.headers.get("Content-Length", 0))
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        info = ObjectInfo.from_headers(response.headers, int(total) if total.isdecimal() else length)
        since = self.unchanged_since
        if since is not None and not info.is_same(since):
            raise Changed(f"{self.place.uri} {_REPLACED}")
        if not self.is_whole and response.status_code != 206:
            raise UnexpectedAnswer(f"{self.place.uri}: the cluster does not serve parts of it")
        return Arriving(self.place, info, verifies=self.is_whole)


class Arriving:
    """The bytes of an object on their way: hashed, and at their end compared with the cluster's checksum, if whole."""

    def __init__(self, place: Place, info: ObjectInfo, *, verifies: bool) -> None:
        self.place = place
        self.info = info
        self._hasher = xxhash.xxh64() if verifies and info.checksum_type in _XXHASH else None

    def take(self, chunk: bytes) -> bytes:
        """The chunk, as it is."""
        if self._hasher is not None:
            self._hasher.update(chunk)
        return chunk

    def finish(self) -> None:
        """All has come; raises Damaged."""
        if self._hasher is not None and self._hasher.hexdigest() != self.info.checksum:
            raise Damaged(f"{self.place.uri} arrived damaged: its checksum is not {self.info.checksum}")


@dataclass(slots=True)
class Writing:
    """An object that is sent: where to, with which headers; its bytes are hashed on the way.

    With `if_absent` it is stored only where there is none, or `AlreadyExists` is raised.
    """

    place: Place
    metadata: Mapping[str, str]
    size_bytes: int | None = None
    if_absent: bool = False
    _hasher: xxhash.xxh64 = field(default_factory=xxhash.xxh64)
    _sent_bytes: int = 0

    @classmethod
    def of(
        cls,
        bucket: BucketName,
        name: str,
        metadata: Mapping[str, str] | None,
        size_bytes: int | None = None,
        *,
        if_absent: bool = False,
    ) -> Self:
        """Raises InvalidInput."""
        for key, value in (metadata or {}).items():
            if not key or "=" in key or not f"{key}{value}".isprintable() or not f"{key}{value}".isascii():
                raise InvalidInput(f"metadata must be printable ASCII, without '=' in a key: {key!r}")
        return cls(object_of(bucket, name), dict(metadata or {}), size_bytes, if_absent)

    def locate(self) -> Call[httpx.URL]:
        """Ask where the bytes belong; without them, so that they travel once."""
        return Call("PUT", self.place.path, self._location, self.place.query, {"Content-Length": "0"}, follows=False)

    def _location(self, response: httpx.Response) -> httpx.URL:
        if not is_redirect(response):
            raise UnexpectedAnswer(f"{response.url} does not tell where {self.place.uri} belongs; is it a cluster?")
        return location(response)

    def request(self, client: httpx.Client | httpx.AsyncClient, url: httpx.URL, content: Any) -> httpx.Request:
        """The request with the bytes; whole ones are announced with their checksum."""
        lines = [("Ais-Custom-Md", f"{key}={value}") for key, value in self.metadata.items()]
        lines.append(("Content-Type", "application/octet-stream"))
        if self.if_absent:
            lines.append(("If-None-Match", "*"))
        if isinstance(content, bytes):
            self.take(content)
            lines += [("Ais-Checksum-Type", "xxhash2"), ("Ais-Checksum-Value", self._hasher.hexdigest())]
        elif self.size_bytes is not None:
            lines.append(("Content-Length", str(self.size_bytes)))
        return client.build_request("PUT", url, content=content, headers=lines)

    def take(self, chunk: bytes) -> bytes:
        """The chunk, as it is."""
        self._hasher.update(chunk)
        self._sent_bytes += len(chunk)
        return chunk

    def stored(self, response: httpx.Response) -> ObjectInfo:
        """What the cluster has stored; raises Damaged when it is not what was sent."""
        info = ObjectInfo.from_headers(response.headers, self._sent_bytes)
        if info.checksum_type in _XXHASH and info.checksum != self._hasher.hexdigest():
            raise Damaged(
                f"{self.place.uri} is not stored as it was sent: its checksum is {info.checksum}; send it again"
            )
        return info


def head(bucket: BucketName, name: str) -> Call[ObjectInfo]:
    """What is known of an object."""
    place = object_of(bucket, name)
    query = place.query | {"props": _PROPERTIES}
    return Call("HEAD", place.path, _head, query, place=place)


def _head(response: httpx.Response) -> ObjectInfo:
    return ObjectInfo.from_headers(response.headers, int(response.headers.get("Content-Length", 0)))


def delete(bucket: BucketName, name: str, unchanged_since: ObjectInfo | None = None) -> Call[None]:
    """Remove an object; with `unchanged_since` only that one. Raises InvalidInput when nothing tells which that is."""
    place = object_of(bucket, name)
    headers = {}
    if unchanged_since is not None:
        if not unchanged_since.etag:
            raise InvalidInput(f"{place.uri}: nothing is known by which a change would be seen; ask with head()")
        headers["If-Match"] = unchanged_since.etag
    return Call("DELETE", place.path, nothing, place.query, headers, is_repeatable=False)


def copy(bucket: BucketName, name: str, to_bucket: BucketName, to_name: str) -> Call[None]:
    """Have the targets make another object of one."""
    place, copied = object_of(bucket, name), object_of(to_bucket, to_name)
    query = place.query | {"object_to": copied.bucket.uname + copied.name}
    return Call("PUT", place.path, nothing, query, timeout_seconds=_COPY_SECONDS)


def rename(bucket: BucketName, name: str, new_name: str) -> Call[None]:
    """Give an object another name in its bucket."""
    place, renamed = object_of(bucket, name), object_of(bucket, new_name)
    body = json_body({"action": "rename-obj", "name": renamed.name})
    return Call("POST", place.path, nothing, place.query, is_repeatable=False, timeout_seconds=_COPY_SECONDS, **body)


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _pairs(lines: Sequence[str]) -> list[tuple[str, str]]:
    # A target sends a line for each pair, and values have commas.
    parts = (line.strip().partition("=") for line in lines)
    return [(key, value) for key, equals, value in parts if equals]


def _http_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None
