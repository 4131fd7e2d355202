"""`what=log` of every node: its last log lines as text, or packed as the `ais` program downloads them (wire.md §4.1).

Keeping the lines is left to `common.logs`.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping

from common import clock
from common.errors import InvalidRequest
from common.logs import SEVERITIES, RecentLines
from common.names import printable
from common.web import is_true

_MAX_DIGITS = 18


def read_log(recent: RecentLines, query: Mapping[str, str], node_id: str) -> tuple[str, bytes]:
    """Content type and body: lines from `offset` on of at least `severity`; with `all` a tar.gz of all that is kept.

    Raises InvalidRequest.
    """
    severity, offset = query.get("severity") or SEVERITIES[0], query.get("offset") or "0"
    if severity not in SEVERITIES:
        raise InvalidRequest(f"invalid severity '{printable(severity, 40)}': one of {', '.join(SEVERITIES)}")
    if not offset.isdecimal() or not offset.isascii() or len(offset) > _MAX_DIGITS:
        raise InvalidRequest(f"invalid offset '{printable(offset, 40)}': a number of bytes is expected")
    if is_true(query.get("all", "")):
        return "application/gzip", _packed(f"{node_id}.log", recent.text(severity))
    return "text/plain; charset=utf-8", recent.text(severity, int(offset))


def _packed(name: str, text: bytes) -> bytes:
    archive, member = io.BytesIO(), tarfile.TarInfo(name)
    member.size, member.mtime = len(text), clock.unix_ns() // 10**9
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(member, io.BytesIO(text))
    return gzip.compress(archive.getvalue(), compresslevel=5)
