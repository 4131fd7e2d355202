"""Durations and sizes as the wire and people write them (`"1h30m"`, `"64MiB"`); pure.

Source: wire.md §0.7; the grammar and the error texts are those of Go's `time.ParseDuration`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from common.errors import InvalidRequest
from common.names import printable

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGTPE])(i?))?B?\s*\Z", re.IGNORECASE | re.ASCII)
_MAX_CHARACTERS = 256
"""Longer texts are no durations and no sizes: refused before anybody does arithmetic with a million digits."""
_MAX_NANOSECONDS = 2**63 - 1
EPOCH = "1970-01-01T00:00:00Z"
"""How the wire writes a time that has not come yet (wire.md §1.5)."""


def parse_duration(text: str) -> float:
    """Seconds from a Go duration (`"1h30m"`, `"1.5s"`, `"0"`); raises InvalidRequest with Go's text."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    text = printable(text)
    if rest == "0":
        return 0.0
    if not rest or len(rest) > _MAX_CHARACTERS:
        raise InvalidRequest(f'time: invalid duration "{text}"')
    total = Decimal(0)
    while rest:
        part = _PART.match(rest)
        if not part:
            raise InvalidRequest(f'time: invalid duration "{text}"')
        amount, unit = part.groups()
        if not unit:
            raise InvalidRequest(f'time: missing unit in duration "{text}"')
        if unit not in _NANOSECONDS:
            raise InvalidRequest(f'time: unknown unit "{printable(unit)}" in duration "{text}"')
        total += Decimal(amount) * _NANOSECONDS[unit]
        rest = rest[part.end() :]
    if total > _MAX_NANOSECONDS:
        raise InvalidRequest(f'time: invalid duration "{text}"')
    return float(total / 1_000_000_000) * (-1 if text.startswith("-") else 1)


def parse_size(text: str) -> int:
    """Bytes from `"64MiB"`, `"1.5GB"`, `"100"` (IEC with `i`, SI without); raises InvalidRequest."""
    match = _SIZE.match(text)
    if not match or len(text) > _MAX_CHARACTERS:
        raise InvalidRequest(f'invalid size "{printable(text)}" (expecting e.g. 64MiB, 1.5GB, 4096)')
    amount, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(Decimal(amount) * base ** " KMGTPE".index((prefix or " ").upper()))


def format_time(unix_ns: int) -> str:
    """RFC 3339 with nanoseconds, UTC; 0 is the epoch, which the wire reads as "not yet"."""
    if not unix_ns:
        return EPOCH
    seconds, fraction = divmod(unix_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"
