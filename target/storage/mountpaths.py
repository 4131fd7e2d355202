"""The mountpaths that a running target uses: opened, closed, and what of them is seen at one moment.

Every use of a disk from its opening to its closing is a slot with a number of its own, so that what is late belongs to
a slot that is gone and never to its successor. Readers look at an immutable `View`, which is replaced as a whole.
Which state a path has, and that it keeps it, is left to `registry`; why a state changes to `target.disks`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from common.errors import DiskError, DiskFailure, InvalidRequest
from common.names import printable
from target.storage.committer import Committer
from target.storage.mountpath import Durability, Mountpath, Space
from target.storage.registry import IN_USE, LEAVING, Entry, Registry, State, check_new_path

_log = structlog.get_logger("target.mountpaths")


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One use of a disk; `number` is never used again while the process lives."""

    number: int
    mountpath: Mountpath
    committer: Committer


@dataclass(frozen=True, slots=True)
class View:
    """What is in use at one moment.

    Objects are placed on `placed`, and may still lie on all that are `readable`. `is_settled`: each of them lies where
    it belongs, so its place has the newest there is.
    """

    placed: tuple[Slot, ...] = ()
    readable: tuple[Slot, ...] = ()
    is_settled: bool = False
    digests: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digests", tuple(slot.mountpath.digest for slot in self.placed))


class Mountpaths:
    """All of a target's; mountpaths are changed by one thread at a time, the rest is for any."""

    def __init__(
        self,
        configured: Sequence[str | Path],
        cluster_id: str,
        target_id: str,
        registry: Registry,
        durability: Durability = Durability.POWER_LOSS,
    ) -> None:
        self._configured = [os.path.normpath(path) for path in configured]
        self._owner = (cluster_id, target_id)
        self._registry = registry
        self._durability = durability
        self._slots: dict[str, Slot] = {}
        self._next_number = 0
        self._lock = threading.Lock()
        self._noticed: Callable[[int], None] = lambda number: None
        self.reasons: dict[str, str] = {}
        """Why paths that should be in use are not, by path."""
        self.view = View()

    def __repr__(self) -> str:
        return f"<Mountpaths {len(self.view.placed)} of {len(self._registry.entries)} in use>"

    @property
    def is_new(self) -> bool:
        """Whether this target had never been started before."""
        return self._registry.is_new

    def watch(self, noticed: Callable[[int], None]) -> None:
        """Have `noticed` called with a slot's number whenever its disk has failed somehow; any thread."""
        self._noticed = noticed

    def start(self) -> None:
        """Open what is in use; a path that cannot be opened is left out and named in `reasons`. Raises DiskFailure."""
        self._registry.load(self._configured)
        for path, entry in self._registry.entries.items():
            if entry.state in IN_USE:
                try:
                    self._open(path, entry)
                except DiskError as error:
                    _log.error("mountpath.refused", path=path, error=error.message)
                    self.reasons[path] = error.message
            elif entry.state is State.FAULTED:
                self.reasons[path] = entry.reason
        if not any(slot.mountpath.buckets() for slot in self._slots.values()):
            self._registry.settled = frozenset(slot.mountpath.id for slot in self._slots.values())
        self._look()
        self._registry.save()

    def stop(self) -> None:
        """Commit what was submitted and close everything; nothing may be called afterwards."""
        slots, self._slots = list(self._slots.values()), {}
        self.view = View()
        for slot in slots:
            slot.committer.stop()
        for slot in slots:
            slot.mountpath.close()

    def attach(self, path: str) -> Slot:
        """Take a path into use that is not a mountpath yet; raises InvalidRequest, DiskError."""
        entries = self._registry.entries
        check_new_path(path, (other for other, entry in entries.items() if entry.state is not State.DETACHED))
        _check_directory(path, self._slots.values())
        return self._begin(path, Entry(is_attached=path not in self._configured))

    def enable(self, path: str) -> Slot | None:
        """Take a path into use again; None when it is enabled already. Raises InvalidRequest, DiskError."""
        entry = self.entry(path)
        if path in self._slots:
            if entry.state in LEAVING:
                self._set(path, entry._replace(state=State.ENABLED))
            return None
        return self._begin(path, entry._replace(state=State.ENABLED, reason=""))

    def leave(self, path: str, state: State) -> Slot | None:
        """Place nothing more on a path and go on reading it, until `drop`; None when it is not in use."""
        self._set(path, self.entry(path)._replace(state=state))
        return self._slots.get(path)

    def drop(self, path: str, state: State, reason: str = "") -> Slot | None:
        """Do not use a path any more; its committer must be stopped. None when it was not in use."""
        entry = self.entry(path)
        slot = self._slots.pop(path, None)
        if state is State.FAULTED:
            self.reasons[path] = reason
        else:
            self.reasons.pop(path, None)
        if state is State.DETACHED and path not in self._configured:
            del self._registry.entries[path]
        else:
            self._registry.entries[path] = entry._replace(state=state, reason=reason)
        self._look()
        self._registry.save()
        return slot

    def settle(self, placed: Sequence[Slot]) -> None:
        """Every object lies where it belongs among these; nothing happens when they are not those in use any more."""
        if tuple(placed) == self.view.placed == self.view.readable:
            self._registry.settled = frozenset(slot.mountpath.id for slot in placed)
            self._look()
            self._registry.save()

    def unsettle(self) -> None:
        """Objects may lie where they do not belong; durable when this returns."""
        self._registry.settled = frozenset()
        self._look()
        self._registry.save()

    def entry(self, path: str) -> Entry:
        """What is recorded of a path; raises InvalidRequest for one that is no mountpath."""
        entry = self._registry.entries.get(path)
        if entry is None or entry.state is State.DETACHED:
            raise InvalidRequest(f'"{printable(path)}" is no mountpath of target {self._owner[1]}')
        return entry

    def leaving(self) -> list[str]:
        """The paths whose objects are to be moved away."""
        entries = list(self._registry.entries.items())
        return [path for path, entry in entries if entry.state in LEAVING and path in self._slots]

    def slot_of(self, path: str) -> Slot | None:
        """How a path is used, if it is."""
        return self._slots.get(path)

    def states(self) -> dict[str, State]:
        """Every path that is a mountpath of this target; one that should be in use and cannot be is faulted."""
        return {
            path: State.FAULTED if entry.state in IN_USE and path not in self._slots else entry.state
            for path, entry in list(self._registry.entries.items())
            if entry.state is not State.DETACHED
        }

    def describe(self) -> list[dict[str, object]]:
        """Every mountpath with its state and space, for operators and proxies."""
        described: list[dict[str, object]] = []
        for path, state in self.states().items():
            slot, error, space = self._slots.get(path), self.reasons.get(path, ""), Space()
            if slot is not None:
                error = error or slot.mountpath.refusal
                try:
                    space = slot.mountpath.space()
                except DiskError as failure:
                    error = error or failure.message
            described.append(
                {
                    "id": self._registry.entries[path].id,
                    "path": path,
                    "state": state.value,
                    "error": error,
                    "total_bytes": space.total_bytes,
                    "free_bytes": space.free_bytes,
                }
            )
        return described

    def _begin(self, path: str, entry: Entry) -> Slot:
        try:
            slot = self._open(path, entry)
        except DiskFailure as error:
            raise InvalidRequest(f'mountpath "{printable(path)}": {error.message}') from None
        self.reasons.pop(path, None)
        self._look()
        self._registry.save()
        return slot

    def _open(self, path: str, entry: Entry) -> Slot:
        mountpath = Mountpath(path, self._durability)
        mountpath.open(*self._owner, entry.id)
        twin = next((slot for slot in self._slots.values() if slot.mountpath.id == mountpath.id), None)
        if twin is not None:
            raise InvalidRequest(f'mountpath "{path}" is the directory of "{twin.mountpath.path}" by another name')
        committer = Committer(mountpath)
        committer.start()
        number = self._next_number
        mountpath.on_failure = lambda: self._noticed(number)
        slot = self._slots[path] = Slot(number, mountpath, committer)
        self._next_number += 1
        self._registry.entries[path] = entry._replace(id=mountpath.id)
        return slot

    def _set(self, path: str, entry: Entry) -> None:
        self._registry.entries[path] = entry
        self._look()
        self._registry.save()

    def _look(self) -> None:
        with self._lock:
            entries = list(self._registry.entries.items())
            used = [(self._slots[path], entry.state) for path, entry in entries if path in self._slots]
            readable = tuple(slot for slot, _ in used)
            placed = tuple(slot for slot, state in used if state is State.ENABLED)
            is_settled = placed == readable and self._registry.settled == {slot.mountpath.id for slot in placed}
            if not is_settled:
                # For good, until all has been looked at: the same mountpaths may be back with something older on one.
                self._registry.settled = frozenset()
            self.view = View(placed, readable, is_settled)


def _check_directory(path: str, slots: Iterable[Slot]) -> None:
    """Raise InvalidRequest when there is no directory, or it is one that is used already under another name."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise InvalidRequest(f'mountpath "{path}": {os.strerror(error.errno or 0)}') from None
    for slot in slots:
        if (status.st_dev, status.st_ino) == slot.mountpath.identity:
            raise InvalidRequest(f'mountpath "{path}" is the directory of "{slot.mountpath.path}" by another name')
