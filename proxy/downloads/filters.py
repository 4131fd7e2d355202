"""The client's regular expression over descriptions: POSIX syntax, matched in linear time; the only user of RE2."""

from __future__ import annotations

from collections.abc import Callable

import re2

from common.errors import InvalidRequest
from common.names import printable
from proxy.downloads.requests import MAX_REGEX_BYTES

_MAX_MEMORY_BYTES = 1 << 20


class InvalidPattern(InvalidRequest):
    """The text is no POSIX regular expression, or one that would cost too much."""

    code = "Error"


def description_filter(pattern: str) -> Callable[[str], bool]:
    """A test for descriptions, unanchored; everything passes an empty pattern. Raises InvalidPattern."""
    if not pattern:
        return lambda _: True
    if len(pattern.encode()) > MAX_REGEX_BYTES:
        raise InvalidPattern(f"error parsing regexp: expression is longer than {MAX_REGEX_BYTES} bytes")
    options = re2.Options()
    options.posix_syntax = True
    options.longest_match = True
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_MEMORY_BYTES
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise InvalidPattern(f"error parsing regexp: {_reason(error)}") from None
    return lambda text: compiled.search(text) is not None


def _reason(error: Exception) -> str:
    """RE2's reason, with the offending part in backquotes as Go writes it."""
    raw = error.args[0] if error.args else ""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    reason, colon, part = text.replace("missing ", "missing closing ", 1).partition(": ")
    return f"{reason}: `{printable(part)}`" if colon else printable(reason)
