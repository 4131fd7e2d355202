"""How fast objects are moved: so many at once, so many bytes a second, and less while something is downloaded here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from common import clock

_BUSY_DIVISOR = 4
_BURST_SECONDS = 0.25
_LOOK_SECONDS = 0.5


class Pace:
    """Counted by who sends; `is_busy` tells whether downloads want the disks and the line."""

    def __init__(self, streams: int, bytes_per_second: int, is_busy: Callable[[], bool]) -> None:
        self._streams = streams
        self._bytes_per_second = bytes_per_second
        self._is_busy_now = is_busy
        self._was_busy = False
        self._looked_at = float("-inf")
        self._free_at = 0.0

    @property
    def streams(self) -> int:
        """How many objects may be on their way at once."""
        return 1 if self._is_busy() else self._streams

    async def wait(self, size_bytes: int) -> None:
        """Wait until so many bytes more may be sent."""
        rate = self._bytes_per_second / (_BUSY_DIVISOR if self._is_busy() else 1)
        now = clock.monotonic()
        self._free_at = max(self._free_at, now - _BURST_SECONDS) + size_bytes / rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    def _is_busy(self) -> bool:
        """As it was half a second ago at most."""
        now = clock.monotonic()
        if now >= self._looked_at + _LOOK_SECONDS:
            self._looked_at, self._was_busy = now, self._is_busy_now()
        return self._was_busy
