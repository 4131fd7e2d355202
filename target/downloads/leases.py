"""A byte budget that several targets share: who may read how many bytes now; pure, the time is an argument.

One target keeps the book, the others ask it several times a second; so what the idle do not need goes to the
busy. One that is not heard counts as using its even part, and it does, once it has heard nothing for longer than that:
together they never exceed the budget. Asking is left to `budgets`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from common.clock import monotonic
from target.transfer.budget import Budget

SILENCE_SECONDS = 2.0
"""Who has not asked for so long counts as using its even part …"""
ALONE_SECONDS = 4.0
"""… and begins to do so after this."""
HELD_SECONDS = 0.3
"""A target asks for what it can use in so long, lest much of the budget lies idle with one that does not need it."""


class LeaseBook:
    """One budget, kept by one target; `parts` is how many targets share it."""

    def __init__(self, bytes_per_second: float, parts: int, clock: Callable[[], float] = monotonic) -> None:
        self._rate = bytes_per_second
        self.parts = parts
        self._clock = clock
        self._budget = Budget(0.0, clock)
        self._asked_at: dict[str, float] = {}
        self._wants: dict[str, int] = {}
        self._done: set[str] = set()
        self.last_asked_at = clock()

    def __repr__(self) -> str:
        return f"<LeaseBook {self._rate:.0f} B/s for {self.parts}, {len(self._asked_at)} heard>"

    def ask(self, target: str, wanted_bytes: int, *, is_done: bool) -> int:
        """How many of the wanted bytes a target may read now; `is_done`: it will not ask any more."""
        now = self.last_asked_at = self._clock()
        if is_done:
            self._done.add(target)
        else:
            self._done.discard(target)
        self._asked_at[target] = now
        self._wants[target] = wanted_bytes
        heard = {name for name, at in self._asked_at.items() if now - at < SILENCE_SECONDS}
        known = min(self.parts, len(heard | self._done))
        self._budget.set_rate(self._rate * known / self.parts)
        asking = sum(1 for name in heard if self._wants[name])
        if not wanted_bytes:
            return 0
        # a target that asks first must not take what another, as busy, would ask for a moment later
        return self._budget.take(min(wanted_bytes, 1 + int(self._rate * HELD_SECONDS / max(1, asking))))


class Lease:
    """A target's side: bytes that it was given and has not used yet. `take` from any thread."""

    def __init__(self, bytes_per_second: float, parts: int, clock: Callable[[], float] = monotonic) -> None:
        self.bytes_per_second = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._parts = parts
        self._alone = Budget(0.0, clock)
        self._heard_at = clock()
        self._held_bytes = 0
        self._wanted_bytes = 0

    def take(self, wanted_bytes: int) -> int:
        """Up to so many bytes, as far as there are any."""
        with self._lock:
            self._wanted_bytes = max(self._wanted_bytes, wanted_bytes)
            taken = min(wanted_bytes, self._held_bytes)
            self._held_bytes -= taken
            if taken < wanted_bytes:
                taken += self._alone.take(wanted_bytes - taken)
            return taken

    def wanted(self) -> int:
        """How many bytes to ask for now."""
        with self._lock:
            most = int(self.bytes_per_second * HELD_SECONDS) + 1
            wanted, self._wanted_bytes = self._wanted_bytes, 0
            return max(0, min(most, 2 * wanted) - self._held_bytes)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody asked for bytes since `wanted` was called."""
        return self._wanted_bytes > 0

    def granted(self, size_bytes: int) -> None:
        """The answer of the one that keeps the book."""
        with self._lock:
            self._heard_at = self._clock()
            self._alone.set_rate(0.0)
            self._held_bytes += size_bytes

    def unanswered(self) -> None:
        """It did not answer: after a while use the even part, which it leaves for us."""
        with self._lock:
            if self._clock() - self._heard_at >= ALONE_SECONDS:
                self._alone.set_rate(self.bytes_per_second / self._parts)

    def set_parts(self, parts: int) -> None:
        """So many targets share the budget from now on."""
        with self._lock:
            self._parts = parts
