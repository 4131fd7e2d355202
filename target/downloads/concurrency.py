"""How many connections one origin may have, learned from what more of them have brought; pure, the time is an argument.

It starts low and doubles in every round while that makes things faster, holds when it does not, halves when the origin
struggles, and remembers where that was. Rounds, and when the pipe counts as full: after BBR's start-up (Cardwell et
al., ACM Queue 14/5, 2016). An origin that answers much less than it once did with as many connections throttles, and
more of them make it worse (peers.md §3.7, rule 4): it gets half. Who uses a connection is decided in `scheduler`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

Tell = Callable[[int, int, str], None]
"""Told every decision: connections before and after, and why."""


@dataclass(frozen=True, slots=True)
class ConcurrencySettings:
    """Where the search for the right number begins and ends, and how patient it is."""

    initial_connections: int = 16
    max_connections: int = 256
    round_seconds: float = 0.02
    """A round lasts at least so long, and until every connection has been used once by what began in it …"""
    long_round_seconds: float = 1.0
    """… or so long, where transfers take their time."""
    gain: float = 1.25
    """Twice as many connections must make it so much faster, or they are of no use."""
    small_gain: float = 1.1
    """… but as long as it is this much faster, those that are there stay."""
    flat_rounds: int = 2
    struggle_share: float = 0.03
    """Below it, what breaks off is the weather (FTS cuts at 97 % success, too)."""
    cut_interval_seconds: float = 0.1
    episode_seconds: float = 1.0
    ceiling_seconds: float = 60.0
    probe_seconds: float = 10.0
    max_probe_seconds: float = 600.0
    collapse: float = 0.25
    collapse_rounds: int = 2
    collapse_hold_seconds: float = 300.0
    peak_seconds: float = 300.0


class Rate(NamedTuple):
    """What an origin delivers; for large objects the bytes count, for small ones the answers."""

    bytes_per_second: float
    answers_per_second: float | None
    """None where transfers take longer than was looked: they end in bursts, which say nothing."""

    def exceeds(self, other: Rate, factor: float) -> bool:
        """Whether either is at least so many times the other's."""
        return any(
            ours >= factor * theirs if theirs else ours > 0
            for ours, theirs in zip(self, other, strict=True)
            if ours is not None and theirs is not None
        )

    def __str__(self) -> str:
        answers = "" if self.answers_per_second is None else f", {self.answers_per_second:.0f} answers/s"
        return f"{self.bytes_per_second / 1e6:.1f} MB/s{answers}"


_NOTHING = Rate(0.0, 0.0)
_GROWING, _HOLDING, _PROBING, _RECOVERING = "growing", "holding", "probing", "recovering"


class Concurrency:
    """The limit of one origin; `tell` hears of every change."""

    __slots__ = (
        *("_answers", "_best", "_bytes", "_ceiling", "_collapsed", "_cut_at", "_ends", "_flat", "_goal", "_good"),
        *("_has_long", "_has_whole", "_is_disturbed", "_is_pressed", "_next_probe_at", "_peak", "_peak_at"),
        *("_peak_limit", "_probe_seconds", "_round_at", "_round_limit", "_settings", "_state", "_struggles"),
        *("_tell", "limit"),
    )

    def __init__(self, settings: ConcurrencySettings, tell: Tell) -> None:
        self._settings = settings
        self._tell = tell
        self.limit = min(settings.initial_connections, settings.max_connections)
        self._state = _GROWING
        self._best = _NOTHING
        self._good = self.limit
        self._flat = 0
        self._ceiling: int | None = None
        self._probe_seconds = settings.probe_seconds
        self._next_probe_at = 0.0
        self._cut_at = float("-inf")
        self._ends = self._struggles = 0
        self._peak, self._peak_limit, self._peak_at = _NOTHING, 0, 0.0
        self._collapsed = 0
        self._has_long = self._has_whole = False
        self._goal = self.limit
        self._begin_round(0.0)

    def __repr__(self) -> str:
        return f"<Concurrency {self.limit}, {self._state}>"

    def resumed(self, now: float) -> None:
        """A transfer begins where none was running; after an idle time, what was measured before is of no use."""
        if now - self._round_at > self._settings.long_round_seconds:
            self._begin_round(now)

    def pressed(self) -> None:
        """Somebody was refused a connection: only such rounds say anything about the limit."""
        self._is_pressed = True

    def disturbed(self) -> None:
        """Something of ours holds transfers back, a budget: the round says nothing about the origin."""
        self._is_disturbed = True

    def answered(self, now: float, taken_at: float, count: int = 1) -> None:
        """So many transfers have ended well, the last of which began at `taken_at`."""
        self._answers += count
        self._has_whole = self._has_whole or taken_at >= self._round_at
        self._ends += count
        if self.limit < self._goal:
            self.limit = min(self._goal, self.limit + count)
        self._end_round_if_due(now)

    def moved(self, now: float, size_bytes: int, *, is_long: bool = False) -> None:
        """So many bytes have come; `is_long`: those of a transfer that is still running."""
        self._bytes += size_bytes
        self._has_long = self._has_long or is_long
        self._end_round_if_due(now)

    def lend(self, now: float) -> None:
        """A large object has become faster with every stream so far, and asks for one more."""
        self._is_pressed = True
        if self._state is _GROWING and self.limit < self._goal:
            self.limit += 1
        self._end_round_if_due(now)

    def struggled(self, now: float, taken_at: float, *, asks: bool, why: str) -> None:
        """A transfer broke off, stalled or was refused; it had begun at `taken_at`.

        `asks`: the origin said itself that it wants less. What began before the last cut says nothing new.
        """
        settings = self._settings
        self._ends += 1
        self._struggles += 1
        few = self._struggles < settings.struggle_share * self._ends
        if taken_at < self._cut_at or now < self._cut_at + settings.cut_interval_seconds or (few and not asks):
            return
        if now >= self._cut_at + settings.episode_seconds:
            self._ceiling = self.limit
        self._cut_at = now
        self._probe_seconds = settings.ceiling_seconds
        self._change(max(1, self.limit // 2), f"the origin struggles ({why})")
        self._state = _RECOVERING
        self._flat = self._collapsed = 0
        self._begin_round(now)

    def _change(self, limit: int, why: str) -> None:
        before, self.limit = self.limit, limit
        if before != limit:
            self._tell(before, limit, why)

    def _begin_round(self, now: float, *, is_untold: bool = False) -> None:
        self._round_at = now
        if not is_untold:
            self._round_limit = self.limit
        self._answers = self._bytes = 0
        self._is_pressed = self._is_disturbed = self._has_whole = False
        if self._ends > 1000:
            self._ends, self._struggles = self._ends // 2, self._struggles // 2
        if is_untold:
            return
        self._goal = max(self.limit, min(self._top, 2 * self.limit)) if self._state is _GROWING else self.limit

    @property
    def _top(self) -> int:
        """As many as the settings allow, and fewer than were too many."""
        maximum = self._settings.max_connections
        return maximum if self._ceiling is None else max(1, min(maximum, self._ceiling - 1))

    def _end_round_if_due(self, now: float) -> None:
        settings = self._settings
        seconds = now - self._round_at
        is_quick = not self._has_long and self._state is _GROWING and self._answers >= self._round_limit
        least = settings.round_seconds if is_quick else settings.long_round_seconds
        if seconds < least or not (self._has_whole or self._has_long):
            return
        rate = Rate(self._bytes / seconds, self._answers / seconds if self._has_whole else None)
        is_telling = self._is_pressed and not self._is_disturbed
        if is_telling:
            self._learn(now, rate)
        self._has_long = False
        self._begin_round(now, is_untold=not is_telling)

    def _learn(self, now: float, rate: Rate) -> None:
        if self._has_collapsed(now, rate):
            return
        match self._state:
            case "growing":
                self._grow(now, rate)
            case "probing":
                self._judge_probe(now, rate)
            case "recovering":
                self._recover(now, rate)
            case _:
                self._best = rate
                self._probe_if_due(now)

    def _grow(self, now: float, rate: Rate) -> None:
        settings, before = self._settings, self._round_limit
        if self._collapsed:  # not the time to try yet more
            self._change(self._good, f"more have made it much slower ({rate})")
            self._hold(now, settings.probe_seconds)
            return
        if rate.exceeds(self._best, settings.gain):
            if self.limit != before:
                self._tell(before, self.limit, f"it grows with the connections ({rate})")
            self._best, self._good, self._flat = rate, self.limit, 0
            if self.limit >= self._top:
                self._hold(now, settings.probe_seconds)
            return
        self._flat += 1
        if self.limit != before:
            self._tell(before, self.limit, f"more have brought little, trying on ({rate})")
        if self._flat >= settings.flat_rounds or before >= self._top:
            if not rate.exceeds(self._best, settings.small_gain):
                self._change(self._good, f"more have brought nothing ({rate})")
            self._best = rate
            self._hold(now, settings.probe_seconds)

    def _hold(self, now: float, probe_seconds: float) -> None:
        self._state, self._flat = _HOLDING, 0
        self._probe_seconds = min(probe_seconds, self._settings.max_probe_seconds)
        self._next_probe_at = now + self._probe_seconds

    def _probe_if_due(self, now: float) -> None:
        """Try some more now and then; near a known ceiling only a little."""
        if now < self._next_probe_at or self.limit >= self._settings.max_connections:
            return
        more = max(1, self.limit // 10 if self._ceiling is not None else self.limit // 2)
        self._state, self._good = _PROBING, self.limit
        self._change(min(self._settings.max_connections, self.limit + more), "trying whether more help now")

    def _judge_probe(self, now: float, rate: Rate) -> None:
        settings, is_careful = self._settings, self._ceiling is not None
        if self._ceiling is not None and self.limit >= self._ceiling:
            self._ceiling = self.limit + 1 + self.limit // 10
        expected = 1.0 + (settings.gain - 1.0) * (self.limit / self._good - 1.0)
        if rate.exceeds(self._best, max(expected, 1.05)):
            self._tell(self._good, self.limit, f"more do help now ({rate})")
            self._best, self._good = rate, self.limit
            if is_careful:
                self._hold(now, settings.probe_seconds)
            else:
                self._state, self._flat = _GROWING, 0
        else:
            self._change(self._good, f"more still bring nothing ({rate})")
            self._hold(now, 2 * self._probe_seconds)

    def _recover(self, now: float, rate: Rate) -> None:
        """Come back slowly, and stay just below what was too much."""
        top = self._top
        if self.limit >= top:
            self._best = rate
            self._hold(now, self._settings.ceiling_seconds)
            return
        more = max(1, (top + 1 - self.limit) // 4)
        self._change(min(top, self.limit + more), f"it goes well again; {top + 1} were too many")

    def _has_collapsed(self, now: float, rate: Rate) -> bool:
        """Whether it has become so much slower, at no fewer connections, that the origin must be throttling us."""
        settings = self._settings
        if now - self._peak_at > settings.peak_seconds or rate.exceeds(self._peak, 1.0):
            self._peak, self._peak_limit, self._peak_at = rate, self.limit, now
        if self.limit < self._peak_limit or rate.exceeds(self._peak, settings.collapse):
            self._collapsed = 0
            return False
        self._collapsed += 1
        if self._collapsed < settings.collapse_rounds:
            return False
        why = f"collapsed from {self._peak} to {rate} with no fewer connections; half of them, for a while"
        self._ceiling = self._peak_limit
        self._change(max(1, self._peak_limit // 2), why)
        self._peak, self._peak_limit, self._peak_at, self._collapsed = _NOTHING, 0, now, 0
        self._best, self._good = _NOTHING, self.limit
        self._hold(now, settings.collapse_hold_seconds)
        return True
