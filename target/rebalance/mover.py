"""Moves what lies here and is others': walks over all objects, again until a walk leaves nothing to do.

A walk counts only when nothing could put others' objects here behind its back: shares of jobs that were planned over
another placement must have ended before it began. When all targets have said of the same placement that they are
through, the leader makes it the settled one (`proxy.rebalance`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

import structlog

from common import clock
from common.clustermap import FLAG_KEEPS_OBJECTS, ClusterMap
from common.errors import HaulError
from common.lifecycle import TaskScope
from common.names import printable
from target.membership import Membership
from target.rebalance.figures import Tally
from target.rebalance.pace import Pace
from target.rebalance.sender import Sender
from target.rebalance.walk import Foreign, foreign_objects, next_batch
from target.storage.store import Store

_LOOK_SECONDS = 1.0
_LOOK_AT_DISKS_SECONDS = 10.0
"""A disk that comes back may hold what has become others' since it was here."""
_MOST_FAILURES = 16
"""An owner that takes nothing is left alone until the next walk."""
_WALK_WHILE_BUSY_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_log = structlog.get_logger("target.rebalance")


class Mover:
    """The walks of one target; `plans()` tells over which targets the shares were planned that have not ended."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        sender: Sender,
        tally: Tally,
        pace: Pace,
        plans: Callable[[], AbstractSet[tuple[str, ...]]],
        scope: TaskScope,
    ) -> None:
        self._store = store
        self._membership = membership
        self._sender = sender
        self._tally = tally
        self._pace = pace
        self._plans = plans
        self._scope = scope
        self._through_version = 0
        self._walked = store.mountpaths.view
        self._strays = 0
        self._strays_seen = 0

    def __repr__(self) -> str:
        return f"<Mover through placement {self._through_version}, {self._tally.figures}>"

    def look_again(self) -> None:
        """Something that is another's may lie here, though a walk has ended."""
        self._strays += 1
        self._membership.changed.set()

    def share_ended(self, plan: tuple[str, ...]) -> None:
        """A share of a job has ended; one that was planned over other targets has left others' objects here."""
        if plan != self._membership.cluster_map.placement:
            self.look_again()

    def status(self) -> dict[str, Any]:
        """The figures, and whether this target is through with the placement that it knows."""
        cluster_map = self._membership.cluster_map
        figures = self._tally.begin(cluster_map.placement_version, clock.unix_ns())
        return {**figures.to_wire(), "is_through": self._is_through(cluster_map)}

    async def run(self) -> None:
        """Move for ever."""
        self._walked = self._store.mountpaths.view
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            cluster_map = self._membership.cluster_map
            figures = self._tally.begin(cluster_map.placement_version, clock.unix_ns())
            figures.waiting = self._reason_to_wait(cluster_map)
            if figures.waiting or not self._is_wanted(cluster_map):
                await self._pause(_LOOK_AT_DISKS_SECONDS)
                continue
            if await self._walk_surely(cluster_map):
                pause_seconds = _FIRST_PAUSE_SECONDS
            elif self._is_busy(cluster_map):
                figures.waiting = "jobs that were planned over other targets are running"
                await self._until_idle(cluster_map)
            else:
                await self._pause(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _is_through(self, cluster_map: ClusterMap) -> bool:
        return self._through_version == cluster_map.placement_version and self._strays == self._strays_seen

    def _is_wanted(self, cluster_map: ClusterMap) -> bool:
        if cluster_map.get(self._membership.node.id) is None or not cluster_map.candidates:
            return False
        if self._walked.readable != self._store.mountpaths.view.readable or self._strays != self._strays_seen:
            return True
        return not cluster_map.is_settled and not self._is_through(cluster_map)

    def _reason_to_wait(self, cluster_map: ClusterMap) -> str:
        own = cluster_map.get(self._membership.node.id)
        if own is not None and own.flags & FLAG_KEEPS_OBJECTS:
            return "this target is in maintenance, and keeps its objects until it is back"
        return ""

    def _is_busy(self, cluster_map: ClusterMap) -> bool:
        return bool(self._plans() - {cluster_map.placement})

    async def _walk_surely(self, cluster_map: ClusterMap) -> bool:
        try:
            return await self._walk(cluster_map)
        except HaulError as error:
            self._tally.figures.error = error.message
            _log.warning("rebalance.walk_failed", error=error.message)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end all moving
            self._tally.figures.error = f"internal error ({type(error).__name__})"
            _log.exception("rebalance.walk_failed")
        return False

    async def _walk(self, cluster_map: ClusterMap) -> bool:
        """One walk; True when it counts, and nothing of others is left here. Raises DiskError."""
        version, figures = cluster_map.placement_version, self._tally.figures
        figures.passes += 1
        is_busy, strays = self._is_busy(cluster_map), self._strays
        view, moved = self._store.mountpaths.view, self._store.moved
        batches = foreign_objects(view.readable, cluster_map, self._membership.node.id)
        outcome = await self._send_all(batches, version)
        all_went = await self._sender.let_go(wait=True) and outcome
        if self._membership.cluster_map.placement_version != version or not all_went or is_busy:
            return False
        if view.readable != self._store.mountpaths.view.readable or moved != self._store.moved:
            return False  # objects may have moved from a mountpath that was still to be walked to one that had been
        self._strays_seen, self._walked, self._through_version = strays, view, version
        figures.ended_ns = clock.unix_ns()
        _log.info("rebalance.through", placement=version, moved=figures.out_objects, kept=figures.kept)
        return True

    async def _send_all(self, batches: Iterator[list[Foreign]], version: int) -> bool:
        """Send everything that a walk finds; False when some of it must be sent again. Raises DiskError."""
        sending: dict[asyncio.Task[bool], str] = {}
        failures: Counter[str] = Counter()
        try:
            while (batch := await asyncio.to_thread(next_batch, batches)) is not None:
                for foreign in batch:
                    await self._make_room(sending, failures)
                    if self._membership.cluster_map.placement_version != version:
                        break
                    if failures[foreign.owner.id] < _MOST_FAILURES:
                        moving = self._sender.move(foreign, version)
                        task = self._scope.start(f"move {printable(foreign.name)}", moving)
                        sending[task] = foreign.owner.id
                if self._membership.cluster_map.placement_version != version:
                    return False
                failures[""] += not await self._sender.let_go()
        finally:
            if sending:
                await asyncio.wait(sending)
        _take_ended(sending, failures)
        return not failures.total()

    async def _make_room(self, sending: dict[asyncio.Task[bool], str], failures: Counter[str]) -> None:
        """Wait until one more may be sent."""
        while len(sending) >= self._pace.streams:
            await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
            _take_ended(sending, failures)

    async def _until_idle(self, cluster_map: ClusterMap) -> None:
        """Wait until the jobs have ended that put others' objects here, or long enough for another walk."""
        walk_at = clock.monotonic() + _WALK_WHILE_BUSY_SECONDS
        while (
            self._is_busy(cluster_map)
            and clock.monotonic() < walk_at
            and self._membership.cluster_map.placement_version == cluster_map.placement_version
        ):
            await self._pause(_LOOK_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Wait for a change of the map, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._membership.changed.wait()
        self._membership.changed.clear()


def _take_ended(sending: dict[asyncio.Task[bool], str], failures: Counter[str]) -> None:
    """Forget what has ended, and count by owner what must be sent again."""
    for task in [task for task in sending if task.done()]:
        owner_id = sending.pop(task)
        if not task.cancelled() and not task.result():
            failures[owner_id] += 1
