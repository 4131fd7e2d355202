"""How many streams an object is fetched by, and which bytes each gets; pure, the time is an argument.

One stream is enough where the line is full; where an origin caps each connection, or the way is long, more bring more.
So it is tried: as long as the rate grows with the streams there are more, and when it does not there are not. What
other tasks need of the same host is decided in `target.downloads.scheduler`, which lends the connections.
"""

from __future__ import annotations

from collections.abc import Sequence

from target.storage.ranges import Range

MIN_PIECE_BYTES = 1 << 20
MAX_PIECE_BYTES = 64 << 20
MAX_STREAMS = 32
_FIRST_STEP = 8
_GAIN = 1.25
_FAST_BYTES_PER_SECOND = 128 << 20
"""A stream that fills a gigabit a second is not what holds an object up; trying others would cost it its order."""
_MEASURE_SECONDS = 0.1
_TRY_AGAIN_SECONDS = 10.0


def next_piece(gaps: Sequence[Range], streams: int) -> Range | None:
    """What a free stream fetches next: the front of the largest gap, None when nothing is missing.

    Pieces shrink towards the end (half of an even share of what is missing), so that all streams end together.
    """
    if not gaps:
        return None
    start, end = max(gaps, key=lambda gap: (gap[1] - gap[0], -gap[0]))
    missing = sum(gap_end - gap_start for gap_start, gap_end in gaps)
    wanted = min(MAX_PIECE_BYTES, max(MIN_PIECE_BYTES, missing // (2 * max(1, streams))))
    # a rest that is not worth a request of its own goes with the piece
    return (start, end if end - start < wanted + MIN_PIECE_BYTES else start + wanted)


class StreamCount:
    """How many streams one object should have; fed with what has arrived so far."""

    __slots__ = ("_before", "_holds_until", "_last", "_measured_at", "_measured_bytes", "limit", "wanted")

    def __init__(self, now: float, received_bytes: int, limit: int = MAX_STREAMS) -> None:
        self.wanted = 1
        self.limit = limit
        self._last = 1
        self._before = 0.0
        self._measured_at = now
        self._measured_bytes = received_bytes
        self._holds_until = 0.0

    def observe(self, now: float, received_bytes: int, active: int) -> int:
        """How many are wanted, given how many were `active` since the last change."""
        seconds = now - self._measured_at
        if seconds < _MEASURE_SECONDS:
            return self.wanted
        rate = (received_bytes - self._measured_bytes) / seconds
        self._measured_at, self._measured_bytes = now, received_bytes
        if active < self.wanted or now < self._holds_until:
            return self.wanted
        if self.wanted == 1 and rate >= _FAST_BYTES_PER_SECOND:
            self._holds_until = now + _TRY_AGAIN_SECONDS
        elif rate >= _GAIN * self._before:
            self._before, self._last = rate, self.wanted
            self.wanted = min(self.limit, _FIRST_STEP if self.wanted == 1 else 2 * self.wanted)
        else:
            self._before = 0.0
            self.wanted = self._last
            self._holds_until = now + _TRY_AGAIN_SECONDS
        return self.wanted

    def refused(self, active: int, now: float) -> None:
        """The origin, or the limits, allow no more than `active`."""
        self.wanted = max(1, active)
        self._holds_until = now + _TRY_AGAIN_SECONDS
