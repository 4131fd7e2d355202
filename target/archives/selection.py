"""Which members of an archive a request asks for: one by its path, or those whose names match; pure.

Source: wire.md §3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from common.errors import InvalidRequest
from common.names import MAX_OBJECT_NAME_BYTES, printable
from common.patterns import BadPattern, matcher
from target.archives.formats import Format, by_mime

_MAX_PATTERN_BYTES = 4096
REGEXP = "regexp"
MODES = (REGEXP, "prefix", "suffix", "substr", "wdskey")


@dataclass(frozen=True, slots=True)
class Selection:
    """One member by its `path`, or all whose names `matches` takes; `format` if the request says what it is."""

    path: str
    matches: Callable[[str], bool] | None
    format: Format | None
    shown: str
    """What was asked for, as errors show it."""


def parse_selection(query: Mapping[str, str]) -> Selection | None:
    """What a request wants of an archive, None when it wants the object; empty parameters count as absent.

    Raises InvalidRequest, Unsupported.
    """
    path, pattern, mode = query.get("archpath", ""), query.get("archregx", ""), query.get("archmode", "")
    if not path and not pattern:
        if mode:
            raise InvalidRequest("'archmode' without 'archregx' selects nothing")
        return None
    kind = by_mime(query["archmime"]) if query.get("archmime") else None
    if path and pattern:
        raise InvalidRequest("'archpath' and 'archregx' exclude each other: one selects one archived file, one many")
    if path:
        if len(path.encode("utf-8", "surrogateescape")) > MAX_OBJECT_NAME_BYTES:
            raise InvalidRequest(f"'archpath' is longer than {MAX_OBJECT_NAME_BYTES} bytes")
        return Selection(path, None, kind, f'the archived file "{printable(path)}"')
    shown = f'an archived file that matches "{printable(pattern)}" ({mode or REGEXP})'
    return Selection("", _matcher(pattern, mode or REGEXP), kind, shown)


def _matcher(pattern: str, mode: str) -> Callable[[str], bool]:
    if len(pattern.encode("utf-8", "surrogateescape")) > _MAX_PATTERN_BYTES:
        raise InvalidRequest(f"'archregx' is longer than {_MAX_PATTERN_BYTES} bytes")
    plain: dict[str, Callable[[str], bool]] = {
        "prefix": lambda name: name.startswith(pattern),
        "suffix": lambda name: name.endswith(pattern),
        "substr": lambda name: pattern in name,
        "wdskey": lambda name: _sample_key(name) == pattern,
    }
    if mode in plain:
        return plain[mode]
    if mode != REGEXP:
        raise InvalidRequest(f"invalid 'archmode' \"{printable(mode)}\": expecting one of {' '.join(MODES)}")
    try:
        return matcher(pattern)
    except BadPattern:
        raise InvalidRequest(f"'archregx' is no regular expression: \"{printable(pattern)}\"") from None


def _sample_key(name: str) -> str:
    """A WebDataset key: the name up to the first dot of its last component."""
    directory, slash, base = name.rpartition("/")
    return directory + slash + base.partition(".")[0]
