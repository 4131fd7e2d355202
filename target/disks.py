"""Changes a running target's set of mountpaths, and sees to what follows: lanes, and objects that belong elsewhere.

One change at a time. What a mountpath's state is, and that it lasts, is left to `target.storage.registry`; moving one
object to `target.storage.resilver`; whether a disk works to `target.storage.health`. Source of the operations: wire.md
§4.2 (AIStore's mountpath actions).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
from collections.abc import Callable, Container
from dataclasses import dataclass, field

import structlog

from common import clock
from common.errors import DiskError, InvalidRequest
from common.lifecycle import TaskScope
from target.downloads.lanes import Lanes
from target.storage.health import Health
from target.storage.mountpaths import Mountpaths, Slot, View
from target.storage.registry import LEAVING, State
from target.storage.resilver import Figures, Resilver
from target.storage.store import Store

_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = (1.0, 60.0)
"""Between passes that could not move everything."""
_COMMITTER_SECONDS = 1.0
"""A committer that hangs on its disk is left behind."""
_log = structlog.get_logger("target.disks")


@dataclass(slots=True)
class Run:
    """One resilvering, from the change that makes it necessary until every object is in its place."""

    id: str = field(default_factory=lambda: f"rsl-{secrets.token_hex(4)}")
    started_ns: int = field(default_factory=clock.unix_ns)
    ended_ns: int = 0
    figures: Figures = field(default_factory=Figures)


class Disks:
    """What operators and failures do to the mountpaths of this target; belongs to the event loop."""

    def __init__(
        self,
        mountpaths: Mountpaths,
        store: Store,
        lanes: Lanes,
        resilver: Resilver,
        health: Health,
        scope: TaskScope,
        unended_jobs: Callable[[], Container[str]],
    ) -> None:
        self._mountpaths = mountpaths
        self._store = store
        self._lanes = lanes
        self._resilver = resilver
        self._health = health
        self._scope = scope
        self._unended_jobs = unended_jobs
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._failing: set[int] = set()
        self.last_run: Run | None = None

    def start(self) -> None:
        """Go on with what was not finished before a restart, and do without disks that fail."""
        loop = asyncio.get_running_loop()

        def failed(slot: Slot, reason: str) -> None:
            loop.call_soon_threadsafe(self._begin_to_fail, slot, reason)

        self._health.start(failed)
        self._scope.start("resilver", self._settle_for_ever())

    def stop(self) -> None:
        """End the pass under way, and look after no disk any more."""
        self._resilver.stop()
        self._health.stop()

    async def attach(self, path: str) -> None:
        """Take a directory into use; raises InvalidRequest, DiskError."""
        async with self._changing:
            slot = await asyncio.to_thread(self._mountpaths.attach, path)
            await self._begin(slot)
            _log.info("mountpath.attached", mountpath=slot.mountpath.id)

    async def enable(self, path: str) -> None:
        """Take a path into use again; one that is in use already is left alone. Raises InvalidRequest, DiskError."""
        async with self._changing:
            was_leaving = self._mountpaths.entry(path).state in LEAVING
            slot = await asyncio.to_thread(self._mountpaths.enable, path)
            if slot is None and was_leaving:
                slot = self._mountpaths.slot_of(path)
            if slot is not None:
                await self._begin(slot)
                _log.info("mountpath.enabled", mountpath=slot.mountpath.id)

    async def disable(self, path: str, *, moves_objects: bool = True) -> None:
        """Use a path no more, once its objects are elsewhere, or at once and with them; raises InvalidRequest."""
        await self._take_out(path, State.DISABLING, moves_objects=moves_objects)

    async def detach(self, path: str, *, moves_objects: bool = True) -> None:
        """`disable`, and forget the path."""
        await self._take_out(path, State.DETACHING, moves_objects=moves_objects)

    async def fail(self, slot: Slot, reason: str) -> None:
        """A disk does not work any more: do without it, at once."""
        async with self._changing:
            path = slot.mountpath.path
            if self._mountpaths.slot_of(path) is slot:
                _log.error("mountpath.failed", mountpath=slot.mountpath.id, reason=reason)
                await asyncio.to_thread(self._mountpaths.drop, path, State.FAULTED, reason)
                await self._end(slot, at_once=True)

    def _begin_to_fail(self, slot: Slot, reason: str) -> None:
        if slot.number not in self._failing:
            self._failing.add(slot.number)
            self._scope.start(f"fail {slot.mountpath.id}", self.fail(slot, reason))

    async def resilver(self) -> None:
        """Look at every object, though nothing says that one is not in its place."""
        await asyncio.to_thread(self._mountpaths.unsettle)
        self._changed.set()

    def check(self, path: str) -> None:
        """See whether a path's disk works, and do without it if not; raises InvalidRequest."""
        self._mountpaths.entry(path)
        slot = self._mountpaths.slot_of(path)
        if slot is not None:
            self._health.suspect(slot.number)

    async def _take_out(self, path: str, state: State, *, moves_objects: bool) -> None:
        async with self._changing:
            entry = self._mountpaths.entry(path)
            slot = self._mountpaths.slot_of(path)
            placed = self._mountpaths.view.placed
            if placed == (slot,):
                raise InvalidRequest(
                    f'mountpath "{path}" is the last enabled one of this target: enable or attach another one first'
                )
            if slot is None or not moves_objects or not placed:
                await self._drop(path, LEAVING[state], slot)
            elif entry.state is not state:
                await asyncio.to_thread(self._mountpaths.leave, path, state)
                await self._lanes.remove(slot.number)
                self._changed.set()
            _log.info("mountpath.taken_out", path=path, state=self._state_of(path))

    def _state_of(self, path: str) -> str:
        state = self._mountpaths.states().get(path)
        return state.value if state is not None else State.DETACHED.value

    async def _drop(self, path: str, state: State, slot: Slot | None) -> None:
        if slot is not None:
            # First out of what is placed on, so that nothing new begins there; then what has come whole is committed.
            if slot in self._mountpaths.view.placed:
                leaving = next(before for before, after in LEAVING.items() if after is state)
                await asyncio.to_thread(self._mountpaths.leave, path, leaving)
            await self._lanes.remove(slot.number)
            await asyncio.to_thread(slot.committer.stop, _COMMITTER_SECONDS)
        await asyncio.to_thread(self._mountpaths.drop, path, state)
        if slot is not None:
            await self._end(slot)

    async def _begin(self, slot: Slot) -> None:
        mountpath = slot.mountpath
        with contextlib.suppress(DiskError):  # litter, no more
            await asyncio.to_thread(mountpath.sweep_parts, self._unended_jobs())
        await asyncio.to_thread(self._store.forget_destroyed, mountpath)
        self._lanes.add(slot)
        self._changed.set()

    async def _end(self, slot: Slot, *, at_once: bool = False) -> None:
        await self._lanes.remove(slot.number, at_once=at_once)
        await asyncio.to_thread(slot.committer.stop, _COMMITTER_SECONDS)
        self._store.forget_walks()
        asyncio.get_running_loop().call_soon(gc.collect)  # so that its disk can be unmounted
        self._changed.set()

    async def _settle_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            view = self._mountpaths.view
            if not view.is_settled and view.placed:
                self.last_run = Run()
                await self._settle(self.last_run)
                self.last_run.ended_ns = clock.unix_ns()
                _log.info("resilver.ended", moved=self.last_run.figures.moved, id=self.last_run.id)

    async def _settle(self, run: Run) -> None:
        """Pass after pass, until one finds nothing to move; it must begin when nothing old is on its way any more."""
        wait_seconds = _AGAIN_SECONDS[0]
        view = self._mountpaths.view
        old = self._lanes.orders()
        while view.placed:
            is_calm = not self._still_on_its_way(old)
            is_whole = await asyncio.to_thread(self._resilver.walk, view, run.figures)
            async with self._changing:
                now = self._mountpaths.view
                if now.placed != view.placed or now.readable != view.readable:
                    view, old = now, self._lanes.orders()
                    continue
                if is_whole and is_calm and not run.figures.misplaced:
                    for path in self._mountpaths.leaving():
                        state = self._mountpaths.entry(path).state
                        await self._drop(path, LEAVING[state], self._mountpaths.slot_of(path))
                    await asyncio.to_thread(self._mountpaths.settle, view.placed)
                    return
            if run.figures.failed or not is_whole:
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(2 * wait_seconds, _AGAIN_SECONDS[1])
            await self._wait_for(old, view)

    async def _wait_for(self, old: dict[int, set[int]], view: View) -> None:
        """Until what is old has ended, or mountpaths come or go."""
        while self._still_on_its_way(old) and self._mountpaths.view.placed == view.placed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()
            self._changed.clear()

    def _still_on_its_way(self, old: dict[int, set[int]]) -> bool:
        """Whether something that was ordered by an older view may yet be stored where it does not belong."""
        now = self._lanes.orders()
        return any(ids & now.get(number, set()) for number, ids in old.items())
