"""How many connections one origin host may have from this target, and when; pure, the time is an argument.

Starts low, grows by one with every success (so it doubles in each round trip) up to a ceiling, halves when the host
asks for less or breaks connections. Which task uses a freed connection is decided in `scheduler`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Limits of one target towards one origin (scheme, host and port)."""

    initial_connections: int = 16
    max_connections: int = 128
    cut_interval_seconds: float = 1.0


class Host:
    """The state of one origin; guarded by the scheduler's lock."""

    __slots__ = ("_last_cut", "_settings", "active", "blocked_until", "limit", "starved")

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        self.limit = settings.initial_connections
        self.active = 0
        self.blocked_until = 0.0
        self.starved: set[int] = set()
        self._last_cut = float("-inf")

    def __repr__(self) -> str:
        return f"<Host {self.active} of {self.limit} connections>"

    def has_room(self, now: float) -> bool:
        return self.active < self.limit and now >= self.blocked_until

    def succeeded(self) -> None:
        """A transfer went well: one more connection may be tried."""
        if self.limit < self._settings.max_connections:
            self.limit += 1

    def struggled(self, now: float, retry_after_seconds: float | None) -> None:
        """The host asked for less, or broke a connection: halve, at most once per interval; hold back if asked."""
        if now - self._last_cut >= self._settings.cut_interval_seconds:
            self._last_cut = now
            self.limit = max(1, self.limit // 2)
        if retry_after_seconds is not None:
            self.blocked_until = max(self.blocked_until, now + retry_after_seconds)
