"""An origin in virtual time: answers take a while, throughput has a knee, and it may throttle who pushes it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from target.downloads.concurrency import Concurrency, ConcurrencySettings

OBJECT_BYTES = 1_000_000


@dataclass
class Origin:
    """Serves `per_connection` objects a second on each connection, `capacity` on all together.

    Above `collapses_above` connections it punishes: for `punishes_seconds` it serves a tenth. More than
    `refuses_above` connections are refused at once.
    """

    per_connection: float = 10.0
    capacity: float = 1e9
    collapses_above: int = 1 << 30
    punishes_seconds: float = 30.0
    refuses_above: int = 1 << 30
    punished_until: float = -1.0

    def seconds(self, now: float, active: int) -> float:
        """How long an object takes that is asked for now."""
        if active > self.collapses_above:
            self.punished_until = now + self.punishes_seconds
        rate = min(self.per_connection, self.capacity / active)
        return 1.0 / (rate / 10 if now < self.punished_until else rate)


class Simulation:
    """A host that always has more to fetch: whatever the limit allows is running."""

    def __init__(self, origin: Origin, settings: ConcurrencySettings | None = None) -> None:
        self.origin = origin
        self.decisions: list[tuple[float, int, int, str]] = []
        self.now = 0.0
        self.served = 0
        self.refused = 0
        self.most = 0
        self._running: list[tuple[float, int, float, bool]] = []
        self._number = 0
        self.concurrency = Concurrency(settings or ConcurrencySettings(), self._tell)
        self.concurrency.resumed(0.0)

    def _tell(self, before: int, after: int, why: str) -> None:
        self.decisions.append((self.now, before, after, why))

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        end = self.now + seconds
        while self.now < end:
            while len(self._running) < self.concurrency.limit:
                self._start()
            self.concurrency.pressed()
            self.now, _, began, is_good = heapq.heappop(self._running)
            if is_good:
                self.served += 1
                self.concurrency.moved(self.now, OBJECT_BYTES)
                self.concurrency.answered(self.now, began)
            else:
                self.refused += 1
                self.concurrency.struggled(self.now, began, asks=False, why="status 429")

    def _start(self) -> None:
        self._number += 1
        active = len(self._running) + 1
        self.most = max(self.most, active)
        is_good = active <= self.origin.refuses_above
        seconds = self.origin.seconds(self.now, active) if is_good else 0.01
        heapq.heappush(self._running, (self.now + seconds, self._number, self.now, is_good))
