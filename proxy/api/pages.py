"""What a client asks a listing for, and a page of it written as JSON or msgpack; pure.

Written by hand because a page has ten thousand entries. Source: wire.md §3.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any

import msgpack

from common.errors import InvalidRequest, Unsupported
from common.names import printable
from proxy.jsonbody import integer, lower_keys, string, type_name
from proxy.listing import Entry, Page

MAX_PAGE = 10_000
_CACHED, _ARCHIVES, _NAME_ONLY, _NAME_SIZE = 1, 8, 16, 32
_PRESENT_BUCKET, _DIFFERENCES, _INVENTORY = 64, 4096, 32768
_NOT_ADDED, _NOT_CACHED, _ONLY_OUTSIDE = 256, 512, 1024
_MAX_FLAG_DIGITS = 20
_NOT_RECURSIVE, _NO_DIRECTORIES = 2048, 8192
_OBJECT_FLAGS, _DIRECTORY_FLAGS = 64, 256
_FROM_METADATA = ("checksum", "atime", "version", "location", "custom", "grade")
_CUSTOM_ORDER = ("source", "ETag", "LastModified", "Last-Modified", "crc32c", "md5", "version")
_WHAT = "failed to unmarshal list"
_FIELDS = frozenset(
    {"uuid", "prefix", "start_after", "continuation_token", "pagesize", "props", "time_format", "flags"}
    | {"target", "hdr"}
)


@dataclass(frozen=True, slots=True)
class ListMessage:
    """AIStore's LsoMsg as far as it means something here; `properties` are the wanted ones.

    Of a bucket with a backend: `only_here` lists what is in the cluster, `only_absent` what is not; without
    `looks_here` nobody asks what is; `adds` the bucket to those that are known, `only_recorded` wants it among them.
    """

    uuid: str
    prefix: str
    token: str
    start_after: str
    limit: int
    properties: frozenset[str]
    time_format: str
    is_recursive: bool
    with_directories: bool
    only_here: bool
    only_absent: bool
    looks_here: bool
    adds: bool
    only_recorded: bool
    with_archives: bool

    @property
    def after(self) -> str:
        """The name behind which a page begins, where tokens are names."""
        return max(self.token, self.start_after)

    @property
    def needs_metadata(self) -> bool:
        """Whether targets must read more than names and sizes."""
        return not self.properties.isdisjoint(_FROM_METADATA)


def parse_list_message(value: object) -> ListMessage:
    """The `value` of a list request; raises InvalidRequest, Unsupported."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{_WHAT}: 'value' must be an object, found: {type_name(value)}")
    unknown = [key for key in value if key.lower() not in _FIELDS]
    if unknown:
        raise InvalidRequest(f"{_WHAT}: found unknown field: {printable(unknown[0])}")
    fields = lower_keys(value)
    flags = _flags(fields)
    if flags & _DIFFERENCES:
        raise Unsupported("flag 'diff' is not supported: ask for the listings with 'cached' and without, and compare")
    if flags & _INVENTORY:
        raise Unsupported("flag 'native bucket inventory' is not supported: there are no inventories")
    limit = integer(fields, "pagesize", _WHAT)
    if limit < 0:
        raise InvalidRequest(f"{_WHAT}: 'pagesize' must not be negative")
    return ListMessage(
        uuid=string(fields, "uuid", _WHAT),
        prefix=string(fields, "prefix", _WHAT).rstrip("*"),
        token=string(fields, "continuation_token", _WHAT),
        start_after=string(fields, "start_after", _WHAT),
        limit=min(limit or MAX_PAGE, MAX_PAGE),
        properties=_properties(string(fields, "props", _WHAT), flags),
        time_format=string(fields, "time_format", _WHAT),
        is_recursive=not flags & _NOT_RECURSIVE,
        with_directories=not flags & _NO_DIRECTORIES,
        only_here=bool(flags & _CACHED),
        only_absent=bool(flags & _NOT_CACHED),
        looks_here=not flags & _ONLY_OUTSIDE or bool(flags & _NOT_CACHED),
        adds=not flags & _NOT_ADDED,
        only_recorded=bool(flags & _PRESENT_BUCKET),
        with_archives=bool(flags & _ARCHIVES),
    )


def _flags(fields: Mapping[str, Any]) -> int:
    value = fields.get("flags", "0")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value.isdecimal() or len(value) > _MAX_FLAG_DIGITS:
        raise InvalidRequest(f"{_WHAT}: 'flags' must be a string of digits")
    return int(value)


def _properties(props: str, flags: int) -> frozenset[str]:
    if flags & _NAME_ONLY:
        return frozenset()
    if flags & _NAME_SIZE:
        return frozenset({"size"})
    if not props:
        return frozenset({"size", "checksum", "atime"} if flags & _CACHED else {"size"})
    return frozenset(name for name in (*_FROM_METADATA, "size", "copies") if name in props)


def json_page(page: Page, message: ListMessage, uuid: str) -> bytes:
    """The page as JSON: directories first, then objects."""
    quote = encode_basestring
    parts = [f'{{"name":{quote(name)},"flags":{_DIRECTORY_FLAGS}}}' for name in _directories(page, message)]
    if _is_special(page, message):
        parts += [_json_entry(entry, message, _flags_of(entry, page)) for entry in page.entries]
    elif message.properties:
        for entry in page.entries:
            size = f'"size":"{entry[1]}",' if entry[1] else ""
            parts.append(f'{{"name":{quote(entry[0])},{size}"flags":{_OBJECT_FLAGS}}}')
    else:
        parts += [f'{{"name":{quote(entry[0])},"flags":{_OBJECT_FLAGS}}}' for entry in page.entries]
    begin = f'{{"uuid":{quote(uuid)},"continuation_token":{quote(page.next_after)},"entries":['
    return "".join((begin, ",".join(parts), '],"flags":0}\n')).encode()


def msgpack_page(page: Page, message: ListMessage, uuid: str) -> bytes:
    """The page as msgpack, with the short keys that AIStore's clients expect."""
    entries: list[dict[str, Any]] = [{"n": name, "f": _DIRECTORY_FLAGS} for name in _directories(page, message)]
    if _is_special(page, message):
        entries += [_msgpack_entry(entry, message, _flags_of(entry, page)) for entry in page.entries]
    elif message.properties:
        entries += [
            {"n": entry[0], "s": entry[1], "f": _OBJECT_FLAGS} if entry[1] else {"n": entry[0], "f": _OBJECT_FLAGS}
            for entry in page.entries
        ]
    else:
        entries += [{"n": entry[0], "f": _OBJECT_FLAGS} for entry in page.entries]
    packed: bytes = msgpack.packb({"UUID": uuid, "ContinuationToken": page.next_after, "Entries": entries, "Flags": 0})
    return packed


def _directories(page: Page, message: ListMessage) -> Iterable[str]:
    return page.directories if message.with_directories else ()


def _is_special(page: Page, message: ListMessage) -> bool:
    """Whether entries differ in more than name and size."""
    return message.needs_metadata or "copies" in message.properties or bool(page.absent or page.flags)


def _flags_of(entry: Entry, page: Page) -> int:
    return 0 if entry[0] in page.absent else _OBJECT_FLAGS | page.flags.get(entry[0], 0)


def _values(entry: Entry, message: ListMessage, flags: int) -> list[tuple[str, str, Any]]:
    """The wanted properties that an entry has, as (JSON key, msgpack key, value), in the dialect's order."""
    _, size, checksum, stored_ns, version, label, custom, grade, *target = entry
    wanted = message.properties
    values = [
        ("checksum", "cs", checksum if "checksum" in wanted else ""),
        ("atime", "a", _time(stored_ns, message.time_format) if "atime" in wanted and stored_ns else ""),
        ("version", "v", str(version) if "version" in wanted and version else ""),
        ("location", "t", f"t[{target[0]}]:mp[{label}]" if "location" in wanted and target else ""),
        ("custom-md", "m", _custom(custom) if "custom" in wanted and custom else ""),
        ("grade", "grade", grade if "grade" in wanted else ""),
        ("size", "s", size if "size" in wanted else 0),
        ("copies", "c", 1 if "copies" in wanted and flags else 0),
        ("flags", "f", flags),
    ]
    return [value for value in values if value[2]]


def _json_entry(entry: Entry, message: ListMessage, flags: int) -> str:
    parts = [f'"name":{encode_basestring(entry[0])}']
    for key, _, value in _values(entry, message, flags):
        if key == "size":
            parts.append(f'"size":"{value}"')
        else:
            parts.append(f'"{key}":{encode_basestring(value) if isinstance(value, str) else value}')
    return "{" + ",".join(parts) + "}"


def _msgpack_entry(entry: Entry, message: ListMessage, flags: int) -> dict[str, Any]:
    return {"n": entry[0]} | {key: value for _, key, value in _values(entry, message, flags)}


def _custom(custom: Mapping[str, str]) -> str:
    """`[k:v k:v]`, well-known keys first."""
    keys = [key for key in _CUSTOM_ORDER if key in custom] + sorted(set(custom).difference(_CUSTOM_ORDER))
    return "[" + " ".join(f"{key}:{custom[key]}" for key in keys) + "]"


def _time(unix_ns: int, go_layout: str) -> str:
    """RFC 822 as the dialect's default, RFC 3339 when the layout asks for a full date."""
    moment = datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if "2006-01-02T" in go_layout else "%d %b %y %H:%M UTC")
