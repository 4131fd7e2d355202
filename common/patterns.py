"""Regular expressions of clients, by RE2: matched in linear time and bounded memory, whatever they are.

The only user of RE2. How long one may be, and what is said of one that is none, is left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable

import re2

from common.names import printable

_MAX_MEMORY_BYTES = 1 << 20


class BadPattern(Exception):
    """No regular expression, or one that would cost too much; says why, with the part in backquotes as Go writes it."""


def matcher(pattern: str, *, is_posix: bool = False) -> Callable[[str], bool]:
    """A test for texts, unanchored; raises BadPattern. `is_posix`: POSIX's syntax, else RE2's own."""
    options = re2.Options()
    options.posix_syntax = options.longest_match = is_posix
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_MEMORY_BYTES
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise BadPattern(_reason(error)) from None
    return lambda text: compiled.search(text) is not None


def _reason(error: Exception) -> str:
    raw = error.args[0] if error.args else ""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    reason, colon, part = text.replace("missing ", "missing closing ", 1).partition(": ")
    return f"{reason}: `{printable(part)}`" if colon else printable(reason)
