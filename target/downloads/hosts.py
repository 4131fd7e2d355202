"""What a target knows about one origin (scheme, host and port), and whether a transfer from it may begin; pure.

How many at once is left to `concurrency`, whether it is worth asking to `breaker`; which task uses a freed connection
is decided in `scheduler`, whose lock guards all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.links import host_of
from target.carriers.messages import HOST, OBJECT, Failure
from target.downloads.breaker import Breaker, BreakerSettings, RetryBudget
from target.downloads.concurrency import Concurrency, ConcurrencySettings

_WORKING_BYTES = 64 * 1024
_TOLD_SECONDS = 1.0
"""Every answer tells whole seconds that are left: a wait that grows by less is the same one."""
Tell = Callable[[str, int, int, str], None]
"""Told every decision: origin, connections before and after, and why."""


def silent(origin: str, before: int, after: int, why: str) -> None:
    """A `Tell` that keeps nothing."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How one target treats every origin."""

    concurrency: ConcurrencySettings = field(default_factory=ConcurrencySettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    limited: frozenset[str] = frozenset()
    """Hosts with a byte budget of their own."""


class Host:
    """The state of one origin; `active` counts connections, `starved` has the lanes that wait for one."""

    __slots__ = (
        "_breaker",
        "_concurrency",
        "_is_limited",
        "_retries",
        "_tell",
        "active",
        "blocked_until",
        "origin",
        "starved",
    )

    def __init__(self, origin: str, settings: HostSettings, tell: Tell = silent) -> None:
        self.origin = origin
        self._tell = tell
        self._concurrency = Concurrency(settings.concurrency, lambda *decision: tell(origin, *decision))
        self._breaker = Breaker(settings.breaker)
        self._retries = RetryBudget()
        self._is_limited = host_of(origin) in settings.limited
        self.active = 0
        self.blocked_until = 0.0
        self.starved: set[int] = set()

    def __repr__(self) -> str:
        return f"<Host {self.origin}: {self.active} of {self.limit} connections>"

    @property
    def limit(self) -> int:
        """Connections that it may have."""
        return self._concurrency.limit

    @property
    def is_busy(self) -> bool:
        """Whether forgetting it would change what happens next."""
        return bool(self.active or self.starved or self._breaker.is_open)

    def has_room(self, now: float) -> bool:
        """Whether one more transfer may begin."""
        return self.active < self._concurrency.limit and now >= self.blocked_until and self._breaker.allows(now)

    def wants_lanes(self, now: float) -> bool:
        """Whether those that wait should look again: there is room, or nothing to wait for, or a time from now on."""
        return self.has_room(now) or self._breaker.gives_up(now, 0.0) is not None or self.opens_at(now) is not None

    def gives_up(self, now: float, waiting_since: float) -> str | None:
        """Why a task that has waited since then is to fail, None when it is not."""
        return self._breaker.gives_up(now, waiting_since)

    def opens_at(self, now: float) -> float | None:
        """When the mere passing of time changes something, None when nothing does."""
        times = [time for time in (self.blocked_until, self._breaker.probe_at) if time is not None and time > now]
        return max(times, default=None)

    def began(self, now: float, *, is_limited: bool) -> None:
        """A transfer takes a connection; `is_limited`: its job has a budget."""
        if not self.active:
            self._concurrency.resumed(now)
        if is_limited or self._is_limited:
            self._concurrency.disturbed()
        self._breaker.began(now)
        self.active += 1
        if self.active >= self._concurrency.limit:
            self._concurrency.pressed()  # the lanes may have as many as they can carry, and ask for no more

    def refused(self, lane: int) -> None:
        """A lane wanted a connection and got none."""
        self.starved.add(lane)
        if self.active >= self._concurrency.limit:
            self._concurrency.pressed()

    def lend(self, now: float) -> bool:
        """Give a running transfer one connection more, if there is room or may become."""
        if self.active >= self._concurrency.limit:
            self._concurrency.lend(now)
        if not self.has_room(now) or self._breaker.is_open:
            return False
        self.active += 1
        return True

    def answered(self, now: float, taken_at: float, count: int = 1) -> None:
        """So many transfers have ended with a good answer, the last of which began at `taken_at`."""
        self._works()
        self._retries.answered(count)
        self._concurrency.answered(now, taken_at, count)

    def moved(self, now: float, size_bytes: int, *, is_long: bool) -> None:
        """So many bytes have come."""
        if size_bytes > 0:
            self._works()  # a probe may be an object that takes hours
        self._concurrency.moved(now, size_bytes, is_long=is_long)

    def failed(self, now: float, taken_at: float, failure: Failure) -> None:
        """A transfer that began at `taken_at` has failed."""
        wait = failure.retry_after_seconds
        if failure.slows_host:
            self._concurrency.struggled(now, taken_at, asks=wait is not None, why=failure.reason)
        if failure.gained_bytes >= _WORKING_BYTES:
            self._works()  # it breaks off, but what comes before that is kept
            self._breaker.dropped(taken_at)
        elif failure.fault == HOST:
            if self._breaker.failed(now, taken_at, failure.text):
                self._tell(self.origin, self.limit, 0, f"it only fails ({failure.reason}): one probe at a time")
        elif failure.fault == OBJECT:
            self.answered(now, taken_at)
        else:
            self._breaker.dropped(taken_at)
        if wait is not None:
            self.hold(now, wait)

    def hold(self, now: float, seconds: float) -> None:
        """It wants to be left alone for so long."""
        until, before = now + seconds, self.blocked_until
        if until <= before:
            return
        self.blocked_until = until
        self._breaker.hold_until(until)
        if now >= before or until >= before + _TOLD_SECONDS:
            self._tell(self.origin, self.limit, 0, f"it asks to be left alone for {seconds:.1f} s")

    def dropped(self, taken_at: float) -> None:
        """A transfer has ended without saying anything about the origin."""
        self._breaker.dropped(taken_at)

    def _works(self) -> None:
        if self._breaker.succeeded():
            self._tell(self.origin, self.limit, self.limit, "it answers again")

    def retry_wait_seconds(self, now: float) -> float:
        """How long a second attempt must wait for being affordable."""
        return self._retries.wait_seconds(now)
