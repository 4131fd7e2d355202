"""Which bytes of an object are there; pure. Whose bytes they are and whether they are durable is left to callers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Range = tuple[int, int]
"""First byte, and the byte after the last."""


class RangeSet:
    """Disjoint, ordered ranges that never touch; few, so lists do."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __repr__(self) -> str:
        return f"<RangeSet {self.ranges()}>"

    def add(self, start: int, end: int) -> None:
        """Add the bytes from `start` to before `end`; what is there already is added again without harm."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def ranges(self) -> list[Range]:
        """All ranges in order."""
        return list(zip(self._starts, self._ends, strict=True))

    def total(self) -> int:
        """How many bytes are there."""
        return sum(self._ends) - sum(self._starts)

    def end_of(self, position: int) -> int:
        """Up to where bytes are there without a gap from `position` on; `position` itself where none is."""
        index = bisect_right(self._starts, position) - 1
        return max(position, self._ends[index]) if index >= 0 else position

    def gaps(self, size: int) -> list[Range]:
        """What is missing of `size` bytes."""
        edges = [0, *(edge for pair in self.ranges() for edge in pair), size]
        return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]

    def copy(self) -> RangeSet:
        """One that changes independently."""
        twin = RangeSet()
        twin._starts, twin._ends = self._starts.copy(), self._ends.copy()
        return twin
