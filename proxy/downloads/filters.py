"""The client's regular expression over descriptions: POSIX syntax, matched in linear time."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import InvalidRequest
from common.patterns import BadPattern, matcher
from proxy.downloads.requests import MAX_REGEX_BYTES


class InvalidPattern(InvalidRequest):
    """The text is no POSIX regular expression, or one that would cost too much."""

    code = "Error"


def description_filter(pattern: str) -> Callable[[str], bool]:
    """A test for descriptions, unanchored; everything passes an empty pattern. Raises InvalidPattern."""
    if not pattern:
        return lambda _: True
    if len(pattern.encode()) > MAX_REGEX_BYTES:
        raise InvalidPattern(f"error parsing regexp: expression is longer than {MAX_REGEX_BYTES} bytes")
    try:
        return matcher(pattern, is_posix=True)
    except BadPattern as error:
        raise InvalidPattern(f"error parsing regexp: {error}") from None
