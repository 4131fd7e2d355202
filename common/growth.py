"""How fast counters grow, from two looks at them; pure. Whose counters they are is left to the callers."""

from __future__ import annotations

from collections.abc import Mapping

LEAST_SECONDS = 1.0
"""Two looks that follow each other sooner give what the last two have given: a rate of less means nothing."""


class Growth:
    """Units per second of named counters, between the last two looks that were at least LEAST_SECONDS apart."""

    def __init__(self, counters: Mapping[str, float], now: float) -> None:
        """The first look; `now` on the monotonic clock."""
        self._counters, self._at = dict(counters), now
        self._rates = dict.fromkeys(counters, 0.0)

    def look(self, counters: Mapping[str, float], now: float) -> Mapping[str, float]:
        """The rates by now; 0 for a counter that is new, or has begun anew."""
        seconds = now - self._at
        if seconds >= LEAST_SECONDS:
            before = self._counters
            self._rates = {
                name: max(value - before.get(name, value), 0.0) / seconds for name, value in counters.items()
            }
            self._counters, self._at = dict(counters), now
        return self._rates
