"""What a client asks for in a batch: many objects, members of archives, or parts of them, as one archive; pure.

Source: wire.md §3.8 (MossReq, MossResp). Fetching them is left to `sources`, answering to `target.api.batches`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import InvalidRequest, RequestError
from common.names import MAX_OBJECT_NAME_BYTES, Bucket, printable, validate_key
from target.archives.formats import Format, by_mime

MAX_ENTRIES = 100_000
MAX_BODY_BYTES = 32 << 20
_MAX_VALUES = 2_000_000
"""Lists, objects and what is in them, which take many times the memory of their text."""
TO_THE_END = -1
_MISSING = "__404__"
_MAX_OFFSET = 1 << 63
_MAX_OPAQUE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is asked for: of an object, or of the member `archpath` of it, the bytes of a range.

    `length` 0 is the whole, TO_THE_END from `start` on.
    """

    bucket: Bucket
    name: str
    archpath: str = ""
    start: int = 0
    length: int = 0
    opaque: str = ""

    @property
    def shown(self) -> str:
        """As errors show it."""
        inside = f"/{printable(self.archpath)}" if self.archpath else ""
        return f"{self.bucket.cname}/{printable(self.name)}{inside}"

    @property
    def range_header(self) -> str:
        """As HTTP asks for the range, empty for the whole."""
        if not self.length or (not self.start and self.length == TO_THE_END):
            return ""
        return f"bytes={self.start}-" + ("" if self.length == TO_THE_END else str(self.start + self.length - 1))


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """All entries in order, and how they are to come.

    With `continues` an entry that cannot be read is marked and the rest goes on; with `streams` the archive comes at
    once, otherwise behind a description of all entries.
    """

    entries: tuple[Entry, ...]
    format: Format
    continues: bool
    only_names: bool
    streams: bool

    def packed_name(self, entry: Entry, *, is_missing: bool = False) -> str:
        """The name in the archive."""
        name = entry.name if self.only_names else f"{entry.bucket.name}/{entry.name}"
        if entry.archpath:
            name += "/" + entry.archpath.strip("/")
        return f"{_MISSING}/{name}" if is_missing else name


def parse_batch(body: bytes, bucket: Bucket | None) -> BatchRequest:
    """The body of a request whose path names `bucket`, if any; raises RequestErrors that name the entry."""
    if sum(map(body.count, (b"[", b"{", b","))) > _MAX_VALUES:
        raise InvalidRequest(f"batch request: more than {_MAX_VALUES} values in it")
    try:
        fields = _lower(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"failed to unmarshal batch request, err: {printable(str(error))}") from None
    listed = fields.get("in")
    if not isinstance(listed, list) or not listed:
        raise InvalidRequest("batch request: 'in' must be a list with at least one entry")
    if len(listed) > MAX_ENTRIES:
        raise InvalidRequest(f"batch request: {len(listed)} entries, at most {MAX_ENTRIES} are allowed")
    entries = []
    for number, one in enumerate(listed):
        try:
            entries.append(_entry(_lower(one), bucket))
        except RequestError as error:
            raise InvalidRequest(f"batch request: entry {number}: {error}") from None
    return BatchRequest(
        entries=tuple(entries),
        format=by_mime(_string(fields, "mime") or Format.TAR.value),
        continues=_boolean(fields, "coer"),
        only_names=_boolean(fields, "onob"),
        streams=_boolean(fields, "strm"),
    )


def _entry(fields: Mapping[str, Any], default: Bucket | None) -> Entry:
    name, archpath, opaque = _string(fields, "objname"), _string(fields, "archpath"), _string(fields, "opaque")
    if uname := _string(fields, "uname"):
        parts = uname.split("/", 3)
        if len(parts) < 4:
            raise InvalidRequest(f'"uname" is none of an object: "{printable(uname)}"')
        bucket, name = Bucket.from_uname("/".join(parts[:3]) + "/"), parts[3]
    elif _string(fields, "bucket"):
        bucket = Bucket.parse_namespace(_string(fields, "bucket"), _string(fields, "provider"), "")
        if default is not None and (bucket.name, bucket.provider) == (default.name, default.provider):
            bucket = default
    elif default is not None:
        bucket = default
    else:
        raise InvalidRequest("it names no bucket, and neither does the path")
    if "\0" in archpath or not 0 <= _size_bytes(archpath) <= MAX_OBJECT_NAME_BYTES:
        raise InvalidRequest(f"'archpath' is longer than {MAX_OBJECT_NAME_BYTES} bytes, has a NUL, or is no UTF-8")
    if len(opaque) > _MAX_OPAQUE_BYTES:
        raise InvalidRequest(f"'opaque' is longer than {_MAX_OPAQUE_BYTES} bytes")
    start, length = _integer(fields, "start"), _integer(fields, "length")
    if start < 0 or length < TO_THE_END:
        raise InvalidRequest("'start' must not be negative, 'length' positive, or -1 for all that follows")
    if start and not length:
        raise InvalidRequest("'start' needs a 'length' (-1: all that follows)")
    return Entry(bucket, validate_key(name), archpath, start, length, opaque)


def _size_bytes(text: str) -> int:
    """As UTF-8; -1 for what is none, as JSON can spell halves of characters."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1


def describe(entry: Entry, size: int, error: str = "") -> dict[str, object]:
    """What a MossResp says of an entry."""
    described: dict[str, object] = {
        "objname": entry.name,
        "archpath": entry.archpath,
        "bucket": entry.bucket.name,
        "provider": entry.bucket.provider,
        "opaque": entry.opaque,
        "err_msg": error,
        "size": size,
    }
    return {key: value for key, value in described.items() if value != "" or key == "objname"}


def _lower(value: object) -> dict[str, Any]:
    """The fields of an object by lower-case key, as the dialect matches them; null counts as absent."""
    if not isinstance(value, dict):
        raise InvalidRequest("expecting an object")
    return {key.lower(): field for key, field in value.items() if field is not None}


def _string(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"'{key}' must be a string")
    return value


def _boolean(fields: Mapping[str, Any], key: str) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"'{key}' must be a boolean")
    return value


def _integer(fields: Mapping[str, Any], key: str) -> int:
    value = fields.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _MAX_OFFSET:
        raise InvalidRequest(f"'{key}' must be an integer of at most 63 bits")
    return value
