"""When a disk counts as full, and when no more; pure.

Between the two watermarks it stays what it was, so that one object more or less does not change it back and forth.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Above `high_percent` nothing new is taken, until less than `low_percent` is used again."""

    high_percent: float = 95.0
    low_percent: float = 90.0

    def is_full(self, used_percent: float, *, was_full: bool) -> bool:
        """Whether a disk takes nothing new."""
        return used_percent >= (self.low_percent if was_full else self.high_percent)

    def refusal(self, used_percent: float) -> str:
        """What is said to those who want to store something on a full disk."""
        return (
            f"full: {used_percent:.1f} % are used, and nothing is stored above {self.high_percent:g} %, "
            f"until less than {self.low_percent:g} % are"
        )
