"""The bytes that a carrier may still read for a limited job, or from a limited host; granting them is the lane's.

Interface of `target.transfer.budget.Budget`, for the engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from target.transfer.request import Meter

ASK_SECONDS = 0.1
"""How long a carrier that has used up its bytes waits between asking for more."""


class Allowance:
    """Granted bytes minus read ones; a read may end below zero by one buffer of each transfer."""

    def __init__(self, bytes_per_second: float) -> None:
        self.asked_at = 0.0
        self.bytes_per_second = bytes_per_second
        self._left_bytes = 0
        self._spent_bytes = 0

    def charge(self, size_bytes: int) -> None:
        self._left_bytes -= size_bytes
        self._spent_bytes += size_bytes

    def delay(self) -> float:
        """0 while there are bytes left, else when to look again."""
        return 0.0 if self._left_bytes > 0 else ASK_SECONDS

    def grant(self, size_bytes: int) -> None:
        self._left_bytes += size_bytes

    def account(self) -> tuple[int, int]:
        """Bytes read since the last account, and how many are wanted to read on for a while."""
        spent, self._spent_bytes = self._spent_bytes, 0
        return spent, max(0, int(self.bytes_per_second * 2 * ASK_SECONDS) + 1 - self._left_bytes)


class Strictest:
    """Several allowances that a fetch needs all of."""

    def __init__(self, allowances: Sequence[Allowance]) -> None:
        self._allowances = allowances

    @property
    def bytes_per_second(self) -> float:
        return min(allowance.bytes_per_second for allowance in self._allowances)

    def charge(self, size_bytes: int) -> None:
        for allowance in self._allowances:
            allowance.charge(size_bytes)

    def delay(self) -> float:
        return max(allowance.delay() for allowance in self._allowances)


def meter_of(allowances: Sequence[Allowance]) -> Meter | None:
    """What a fetch that needs all of these obeys."""
    if not allowances:
        return None
    return allowances[0] if len(allowances) == 1 else Strictest(allowances)
