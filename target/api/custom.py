"""What a PATCH makes of an object's custom metadata (wire.md §3.4); pure. Storing it is left to `renaming`."""

from __future__ import annotations

import re
from typing import Any

from common.errors import InvalidRequest
from common.names import printable
from target.api.object_headers import MAX_CUSTOM_BYTES
from target.storage.custom import Change
from target.storage.metadata import ObjectMetadata

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


def custom_change(value: Any, *, replaces: bool) -> Change:
    """The change that adds these keys, or replaces all others with them; it and this raise InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest('"value" must be the custom metadata: {"key": "value"}')
    for key, text in value.items():
        _check(key, text)

    def change(stored: ObjectMetadata) -> ObjectMetadata:
        custom = dict(value) if replaces else {**stored.custom, **value}
        # Of the S3 API's there may be more; adding must stay possible where nothing is added.
        limit_bytes = max(MAX_CUSTOM_BYTES, 0 if replaces else _size_bytes(stored.custom))
        if _size_bytes(custom) > limit_bytes:
            raise InvalidRequest(f"custom metadata: larger than {limit_bytes} bytes")
        return stored._replace(custom=custom)

    return change


def _check(key: str, text: Any) -> None:
    if not key or "=" in key or _UNSAFE.search(key):
        raise InvalidRequest(f'custom metadata: "{printable(key)}" is no key: empty, or with "=" or controls in it')
    if not isinstance(text, str):
        raise InvalidRequest(f'custom metadata: the value of "{printable(key)}" is no text')
    try:
        is_safe = not _UNSAFE.search(text) and bool((key + text).encode() or True)
    except UnicodeEncodeError:
        is_safe = False
    if not is_safe:
        raise InvalidRequest(f'custom metadata: the value of "{printable(key)}" has controls in it, or is not UTF-8')


def _size_bytes(custom: Any) -> int:
    return sum(len(key.encode()) + len(text.encode()) + 1 for key, text in custom.items())
