"""The only module that reads a clock; everything else is given a time or a `Clock`."""

from __future__ import annotations

import time


def unix_ns() -> int:
    """Wall-clock time in unix nanoseconds: for showing and storing, never for measuring."""
    return time.time_ns()


def monotonic() -> float:
    """Seconds that never go back: for deadlines, rates and durations."""
    return time.monotonic()


def boottime() -> float:
    """Seconds since the machine started, suspended time included: the same for all its processes, so leases use it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
