"""Header lines as libcurl hands them over, turned into a ResponseHead; pure.

Which heads are acceptable is left to `outcomes`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence

from target.transfer.request import ResponseHead

_NEXT_ANSWER = b"\r\n\r\nHTTP/"


@functools.lru_cache(256)
def _begin_of(name: str) -> bytes:
    """How a field of that name begins."""
    return f"\n{name}:".encode("latin-1", "replace")


class HeaderFields(Mapping[str, str]):
    """The fields of one head, found when they are asked for: of most heads two or three are.

    Names in lower case; the values of a repeated name are joined by a comma.
    """

    __slots__ = ("_lowered", "_raw")

    def __init__(self, raw: bytes) -> None:
        """`raw` is the head from the end of its status line on: every field begins after a line feed."""
        self._raw = raw
        self._lowered = raw.lower()

    def __getitem__(self, name: str) -> str:
        key = _begin_of(name)
        position = self._lowered.find(key)
        if position < 0:
            raise KeyError(name)
        values = []
        while position >= 0:
            begin = position + len(key)
            end = self._raw.find(b"\r\n", begin)
            values.append(self._raw[begin : end if end >= 0 else None].decode("latin-1").strip())
            position = self._lowered.find(key, begin)
        return values[0] if len(values) == 1 else ", ".join(values)

    def mention(self, names: re.Pattern[bytes]) -> bool:
        """Whether `names` matches anywhere in the lower-case head: one look instead of one for each name."""
        return names.search(self._lowered) is not None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _begin_of(name) in self._lowered

    def __iter__(self) -> Iterator[str]:
        names = (line.partition(b":")[0].decode("latin-1") for line in self._lowered.split(b"\r\n"))
        return iter(dict.fromkeys(name[1:] for name in names if name[1:]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def parse_head(lines: Sequence[bytes], url: str) -> ResponseHead | None:
    """The answer in `lines` (informational answers come before it, trailers after it), None when it is incomplete."""
    text = b"".join(lines)
    earlier_end = text.rfind(_NEXT_ANSWER)
    if earlier_end >= 0:
        text = text[earlier_end + 4 :]
    end = text.find(b"\r\n\r\n")
    status = _status(text)
    if end < 0 or status < 200:
        return None
    fields = HeaderFields(text[text.find(b"\r\n") + 1 : end])
    length = None if "transfer-encoding" in fields else _length(fields)
    return ResponseHead(status, length, fields, url)


def _length(fields: HeaderFields) -> int | None:
    if "content-length" not in fields:
        return None
    length = fields["content-length"]
    return int(length) if length.isascii() and length.isdecimal() else None


def _status(status_line: bytes) -> int:
    code = status_line.partition(b"\r\n")[0].partition(b" ")[2].partition(b" ")[0]
    return int(code) if code.isdigit() else 0
