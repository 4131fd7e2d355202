"""Lets the whole cluster leave an origin alone for as long as it has asked one target to.

A target that is told to wait tells the others, once for each wait: its quota is counted by token or address, and all
have the same token, if not the same address. What a hold means is decided in `hosts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from common.clock import monotonic
from common.errors import HaulError
from common.lifecycle import TaskScope
from common.links import host_of
from common.ratelimits import WAIT_CAP_SECONDS
from target.downloads.budgets import CallTarget

_SAME_SECONDS = 1.0
"""Origins tell whole seconds: of two waits that end so close to each other the second is not news."""
_log = structlog.get_logger("target.holds")


class Holds:
    """What this target has been told by origins and by other targets; belongs to the event loop, but for `told`."""

    def __init__(
        self,
        target_id: str,
        scope: TaskScope,
        call_target: CallTarget,
        targets: Callable[[], Sequence[str]],
        hold: Callable[[str, float], None],
    ) -> None:
        """`targets()` gives the ids of the cluster's; `hold(origin, seconds)` makes this one wait, from any thread."""
        self._target_id = target_id
        self._scope = scope
        self._call_target = call_target
        self._targets = targets
        self._hold = hold
        self._until: dict[str, float] = {}
        self._waits: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Begin to tell; before the lanes begin."""
        self._loop = asyncio.get_running_loop()
        self._scope.start("holds", self._tell_on())

    def told(self, origin: str, seconds: float) -> None:
        """An origin has asked this target for so much time; any thread."""
        self._hold(origin, seconds)
        self._loop.call_soon_threadsafe(self._waits.put_nowait, (origin, monotonic() + seconds))

    def take(self, body: dict[str, Any]) -> None:
        """Another target was told."""
        origin, seconds = str(body["origin"]), min(float(body["seconds"]), WAIT_CAP_SECONDS)
        if seconds > 0 and self._is_news(origin, monotonic() + seconds):
            self._hold(origin, seconds)

    async def _tell_on(self) -> None:
        while True:
            origin, until = await self._waits.get()
            if self._is_news(origin, until):
                for target in self._targets():
                    if target != self._target_id:
                        self._scope.start(f"hold of {origin}", self._tell(target, origin, until))

    async def _tell(self, target: str, origin: str, until: float) -> None:
        try:
            body = {"origin": origin, "seconds": max(0.0, until - monotonic())}
            await self._call_target(target, f"/intra/v1/hosts/{host_of(origin)}/hold", body)
        except HaulError as error:
            # It will be told by the origin itself, if it asks.
            _log.debug("holds.not_told", target=target, origin=origin, error=error.message)

    def _is_news(self, origin: str, until: float) -> bool:
        now = monotonic()
        self._until = {known: end for known, end in self._until.items() if end > now}
        if until <= self._until.get(origin, 0.0) + _SAME_SECONDS:
            return False
        self._until[origin] = until
        return True
