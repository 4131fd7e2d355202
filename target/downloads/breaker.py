"""Whether an origin is worth asking at all, and how often it may be asked again; pure, the time is an argument.

An origin that only fails is left alone but for single probes (a circuit breaker); after a while its tasks are given up.
One that fails now and then gets a bounded number of second attempts. How many at once is decided in `concurrency`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When an origin counts as down, and for how long its tasks wait for it."""

    failures: int = 16
    """So many in a row, from any tasks, without one good answer in between."""
    first_probe_seconds: float = 0.5
    max_probe_seconds: float = 30.0
    patience_seconds: float = 60.0


class Breaker:
    """Closed while the origin works; open, with one probe at a time, while it does not."""

    __slots__ = ("_failures", "_last_text", "_opened_at", "_probe_at", "_probe_began_at", "_probe_seconds", "_settings")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_at = 0.0
        self._probe_began_at: float | None = None
        self._probe_seconds = settings.first_probe_seconds
        self._last_text = ""

    @property
    def is_open(self) -> bool:
        """Whether the origin is left alone."""
        return self._opened_at is not None

    @property
    def probe_at(self) -> float | None:
        """When it may be asked again; None while it may be asked now, or is being asked."""
        return self._probe_at if self.is_open and self._probe_began_at is None else None

    def allows(self, now: float) -> bool:
        """Whether a transfer may begin."""
        return self._opened_at is None or (self._probe_began_at is None and now >= self._probe_at)

    def began(self, now: float) -> None:
        """A transfer has begun; while the breaker is open it is the probe."""
        if self._opened_at is not None:
            self._probe_began_at = now

    def succeeded(self) -> bool:
        """The origin has answered; returns whether that closes the breaker."""
        was_open = self._opened_at is not None
        self._failures = 0
        self._opened_at = self._probe_began_at = None
        self._probe_seconds = self._settings.first_probe_seconds
        return was_open

    def failed(self, now: float, taken_at: float, text: str) -> bool:
        """A transfer that began at `taken_at` failed by the origin's fault; returns whether that opens the breaker."""
        self._failures += 1
        self._last_text = text
        if self._opened_at is None:
            if self._failures < self._settings.failures:
                return False
            self._opened_at = now
            self._probe_at = now + self._probe_seconds
            return True
        if self._probe_began_at is not None and taken_at >= self._probe_began_at:
            self._probe_began_at = None
            self._probe_seconds = min(2 * self._probe_seconds, self._settings.max_probe_seconds)
            self._probe_at = now + self._probe_seconds
        return False

    def dropped(self, taken_at: float) -> None:
        """A transfer has ended without saying anything about the origin; another may be the probe."""
        if self._probe_began_at is not None and taken_at >= self._probe_began_at:
            self._probe_began_at = None

    def hold_until(self, until: float) -> None:
        """The origin has asked for so much time: no probe before, and waiting for it is no impatience."""
        if self._opened_at is not None:
            self._probe_at = max(self._probe_at, until)
            self._opened_at = max(self._opened_at, until)

    def gives_up(self, now: float, waiting_since: float) -> str | None:
        """Why a task that has waited since then need not wait any longer; None while it should."""
        if self._opened_at is None or self._probe_began_at is not None:
            return None
        waited = now - max(self._opened_at, waiting_since)
        if waited <= self._settings.patience_seconds:
            return None
        return f"its host has given no good answer for {waited:.0f} s, the last was: {self._last_text}"


class RetryBudget:
    """Second attempts that an origin may be asked for: a part of its good answers, and some each second.

    The part: 10 %, as Finagle's and Envoy's retry budgets have it by default (20 % there). Nothing fails for want of
    it, retries only wait.
    """

    __slots__ = ("_balance", "_per_answer", "_per_second", "_settled_at", "_top")

    def __init__(self, per_answer: float = 0.1, per_second: float = 10.0, burst: float = 64.0) -> None:
        self._per_answer = per_answer
        self._per_second = per_second
        self._top = burst
        self._balance = burst
        self._settled_at = 0.0

    def answered(self, count: int = 1) -> None:
        """So many good answers came."""
        self._balance = min(self._top, self._balance + count * self._per_answer)

    def wait_seconds(self, now: float) -> float:
        """Take one retry out of the budget; returns how long it must wait for being affordable."""
        earned = max(0.0, now - self._settled_at) * self._per_second
        self._settled_at = now
        self._balance = min(self._top, self._balance + earned) - 1.0
        return max(0.0, -self._balance / self._per_second)
