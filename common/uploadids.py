"""The ids of uploads that come in pieces: which target has the pieces, and under which name; pure.

An upload stays at the target where it began, even when the object is another's meanwhile; so the id tells the target,
and a proxy needs no table to send a piece there. What an upload consists of is left to `target.storage.pieces`.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self

_ID = re.compile(r"([0-9a-f]{24})~([A-Za-z0-9][A-Za-z0-9_-]{0,62})(?:~(\d{1,19}))?\Z")


class UploadId(NamedTuple):
    """`token` is the upload's name at the target; `size_bytes` is what an append has so far, None for other uploads."""

    token: str
    target_id: str
    size_bytes: int | None = None

    def __str__(self) -> str:
        end = "" if self.size_bytes is None else f"~{self.size_bytes}"
        return f"{self.token}~{self.target_id}{end}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `str`'s form; None for what is none."""
        match = _ID.match(text)
        if match is None:
            return None
        token, target_id, size = match.groups()
        return cls(token, target_id, int(size) if size is not None else None)
