"""Header lines as libcurl hands them over, turned into a ResponseHead; pure.

Which heads are acceptable is left to `outcomes`.
"""

from __future__ import annotations

from collections.abc import Sequence

from target.transfer.request import ResponseHead

_NEXT_ANSWER = "\r\n\r\nHTTP/"


def parse_head(lines: Sequence[bytes], url: str) -> ResponseHead | None:
    """The answer in `lines` (informational answers come before it, trailers after it), None when it is incomplete."""
    text = b"".join(lines).decode("latin-1")
    earlier_end = text.rfind(_NEXT_ANSWER)
    if earlier_end >= 0:
        text = text[earlier_end + 4 :]
    text, blank_line, _trailers = text.partition("\r\n\r\n")
    status_line, *fields = text.split("\r\n")
    status = _status(status_line)
    if not blank_line or status < 200:
        return None
    headers: dict[str, str] = {}
    for line in fields:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    length = "" if "transfer-encoding" in headers else headers.get("content-length", "")
    return ResponseHead(
        status=status,
        content_length=int(length) if length.isascii() and length.isdecimal() else None,
        headers=headers,
        url=url,
    )


def _status(status_line: str) -> int:
    code = status_line.split(" ", 2)[1:2]
    return int(code[0]) if code and code[0].isdecimal() else 0
