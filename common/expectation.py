"""What a job knows of an object before it is fetched: its size, its digests; pure. Comparing is left to carriers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple

from common.errors import InvalidRequest
from common.names import printable

HEX_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128, "crc32c": 8, "xxh64": 16, "gitsha1": 40}
"""The algorithms of digests that can be checked, with the length of their hexadecimal form."""
GIT_SHA1 = "gitsha1"
"""The id that git gives a file, its SHA-1 behind `blob SIZE` and a zero byte: it begins with the size."""
FIELDS = frozenset({"size", *HEX_LENGTHS})
"""What a job may say of an object."""
_MAX_SIZE_BYTES = 2**63 - 1


class Expectation(NamedTuple):
    """Size, None when it is not known, and digests as (algorithm, lower-case hex).

    With an `etag` both are of the version that has it, as a listing told: what has another is a later version.
    """

    size_bytes: int | None
    digests: tuple[tuple[str, str], ...] = ()
    etag: str = ""


def parse_expectation(fields: Mapping[str, object], where: str) -> Expectation | None:
    """What `fields` say of an object, None when that is nothing; raises InvalidRequest that names `where` and field.

    Sizes are numbers or decimal text, digests hexadecimal or base64; empty fields say nothing.
    """
    size = _size(fields["size"], where) if "size" in fields else None
    digests = tuple(
        (name, _digest(name, fields[name], where)) for name in HEX_LENGTHS if fields.get(name) not in (None, "")
    )
    if size is None and any(name == GIT_SHA1 for name, _ in digests):
        raise InvalidRequest(f"{where}: '{GIT_SHA1}' needs the 'size', which is hashed before the bytes")
    return Expectation(size, digests) if size is not None or digests else None


def _size(value: object, where: str) -> int | None:
    if value in (None, ""):
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(_MAX_SIZE_BYTES)):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_SIZE_BYTES:
        raise InvalidRequest(f"{where}: 'size' must be a number of bytes, found: {printable(str(value), 40)}")
    return value


def _digest(algorithm: str, value: object, where: str) -> str:
    length = HEX_LENGTHS[algorithm]
    if isinstance(value, str):
        text = value.strip()
        try:
            raw = bytes.fromhex(text) if len(text) == length else base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        if 2 * len(raw) == length:
            return raw.hex()
    raise InvalidRequest(
        f"{where}: '{algorithm}' must be {length} hexadecimal digits or their base64, "
        f"found: {printable(str(value), 40)}"
    )
