"""A byte budget shared by transfers: a token bucket that is charged with what was really read.

Which transfers share one is left to the scheduler, pausing and resuming them to the engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from common.clock import monotonic

BURST_SECONDS = 1.0
MIN_BURST_BYTES = 1024


class Budget:
    """Bytes per second, met smoothly: reading is allowed while there is no debt, and each read may make some."""

    def __init__(self, bytes_per_second: float, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rate = max(0.0, bytes_per_second)
        self._balance_bytes = 0.0
        self._settled_at = clock()

    @property
    def bytes_per_second(self) -> float:
        return self._rate

    def set_rate(self, bytes_per_second: float) -> None:
        """Change the rate from now on; a rate of 0 stops all reading. Debts stay."""
        with self._lock:
            self._settle()
            self._rate = max(0.0, bytes_per_second)

    def charge(self, size_bytes: int) -> None:
        with self._lock:
            self._settle()
            self._balance_bytes -= size_bytes

    def delay(self) -> float:
        """Seconds until the next read is allowed: 0 is now, infinity is when the rate changes."""
        with self._lock:
            self._settle()
            if not self._rate:
                return float("inf")
            return max(0.0, -self._balance_bytes / self._rate)

    def take(self, wanted_bytes: int) -> int:
        """Charge up to so many bytes as far as there is no debt; returns how many."""
        with self._lock:
            self._settle()
            taken = max(0, min(wanted_bytes, int(self._balance_bytes)))
            self._balance_bytes -= taken
            return taken

    def _settle(self) -> None:
        now = self._clock()
        earned = (now - self._settled_at) * self._rate
        burst = max(self._rate * BURST_SECONDS, MIN_BURST_BYTES)
        self._balance_bytes = min(self._balance_bytes + earned, burst)
        self._settled_at = now
