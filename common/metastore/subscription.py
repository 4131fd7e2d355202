"""What one watch has not told yet, and how it starts over when it lags; finding changes is left to the stores.

Everything here runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from common.errors import Unavailable
from common.metastore.base import Change, Event

MAX_WAITING_CHANGES: Final = 4096
"""A watch whose reader is further behind forgets them and reads the log again, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The events a watch begins with; everything after `revision` is left to the subscription."""

    revision: int
    events: Sequence[Event]


class Subscription:
    """The changes under a prefix that wait for one reader."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._waiting: list[Change] = []
        self._lags = False
        self._ready = asyncio.Event()
        self.ended = False

    def offer(self, changes: Sequence[Change]) -> None:
        """Takes whole transactions only, so that what is read at once never ends inside of one."""
        if self._lags:
            return
        self._waiting.extend(change for change in changes if change.key.startswith(self._prefix))
        if len(self._waiting) > MAX_WAITING_CHANGES:
            self.lag()
        elif self._waiting:
            self._ready.set()

    def lag(self) -> None:
        """Changes have been left out: the reader must begin again."""
        self._waiting = []
        self._lags = True
        self._ready.set()

    def end(self) -> None:
        self.ended = True
        self._ready.set()

    async def follow(
        self, from_revision: int | None, begin: Callable[[int | None], Awaitable[Beginning]]
    ) -> AsyncGenerator[Event, None]:
        """The events of the watch; `begin` reads what has happened since a revision, `offer` takes what is new."""
        while not self.ended:
            try:
                beginning = await begin(from_revision)
            except Unavailable:
                if self.ended:
                    return
                raise
            for event in beginning.events:
                yield event
            seen_revision = beginning.revision
            while (changes := await self._take()) is not None:
                for change in changes:
                    if change.revision > seen_revision:
                        yield change
                seen_revision = max(seen_revision, changes[-1].revision)
            from_revision = seen_revision + 1

    async def _take(self) -> Sequence[Change] | None:
        """Everything that waits; None when the watch has ended or lags."""
        await self._ready.wait()
        if self.ended:
            return None
        self._ready.clear()
        if self._lags:
            self._lags = False
            return None
        changes, self._waiting = self._waiting, []
        return changes
