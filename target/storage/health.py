"""Whether disks still work, and have room: errors are counted, suspects are probed, what has vanished is noticed.

A probe writes, syncs, reads and removes a small file, on a thread of its own, because a disk may hang for ever; one
that is only slow has other writes to finish first, and is seen to finish them. What is done about a disk that fails is
left to `target.disks`, and how its path stands then to `registry`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from common import clock
from common.errors import DiskError, NoSpace
from target.storage.mountpath import Mountpath, Space
from target.storage.mountpaths import Mountpaths, Slot
from target.storage.watermarks import Watermarks

_WATCH_SECONDS = 1.0
Failed = Callable[[Slot, str], None]
_log = structlog.get_logger("target.health")


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """A disk is a suspect after `errors` within `window_seconds`, and whenever nothing was heard of it for a while."""

    errors: int = 3
    window_seconds: float = 10.0
    routine_seconds: float = 15.0
    patience_seconds: float = 20.0
    """A disk has failed that ends neither its probe nor anything else for so long."""


class Suspicion:
    """How much is known against one disk; pure, the time is an argument."""

    def __init__(self, settings: HealthSettings, now: float) -> None:
        self._settings = settings
        self._errors: deque[float] = deque(maxlen=settings.errors)
        self._probed_at = now

    def error(self, now: float) -> None:
        """Something has failed by this disk's fault."""
        self._errors.append(now)

    def wants_probe(self, now: float) -> bool:
        """Whether it is time to see if the disk works."""
        errors, settings = self._errors, self._settings
        is_suspect = len(errors) == settings.errors and errors[0] >= now - settings.window_seconds
        return is_suspect or now >= self._probed_at + settings.routine_seconds

    def probed(self, now: float) -> None:
        """It is about to be seen; what was known against it is forgotten."""
        self._errors.clear()
        self._probed_at = now


class _Probe:
    """One look at a disk; `outcome` is None until it has ended, then empty or what is wrong."""

    def __init__(self, slot: Slot, now: float) -> None:
        self.outcome: str | None = None
        self._mountpath = slot.mountpath
        self._moved_at = now
        self._written = _writes_completed(slot.mountpath)
        threading.Thread(target=self._run, name=f"probe {slot.mountpath.id}", daemon=True).start()

    def is_late(self, now: float, patience_seconds: float) -> bool:
        """Whether the disk has ended nothing for so long."""
        written = _writes_completed(self._mountpath)
        if written != self._written:
            self._written, self._moved_at = written, now
        return now >= self._moved_at + patience_seconds

    def _run(self) -> None:
        try:
            self._mountpath.probe()
        except NoSpace:
            self.outcome = ""  # full, and it works
        except DiskError as error:
            self.outcome = error.message
        else:
            self.outcome = ""


class Health:
    """The thread that watches all mountpaths of a target."""

    def __init__(self, mountpaths: Mountpaths, watermarks: Watermarks, settings: HealthSettings) -> None:
        self._mountpaths = mountpaths
        self._watermarks = watermarks
        self._settings = settings
        self._suspicions: dict[int, Suspicion] = {}
        self._probes: dict[int, _Probe] = {}
        self._spaces: dict[int, Space] = {}
        self._errors: deque[int] = deque()
        self._failed: Failed
        self._wanted = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self, failed: Failed) -> None:
        """Begin; `failed(slot, why)` is called on the thread for a disk that does not work, until it is out of use."""
        self._failed = failed
        self._mountpaths.watch(self.noticed)
        self._wanted.set()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()

    def noticed(self, number: int) -> None:
        """Something has failed by the fault of this slot's disk; any thread."""
        self._errors.append(number)
        self._wanted.set()

    def suspect(self, number: int) -> None:
        """See at once whether this slot's disk works; any thread."""
        for _ in range(self._settings.errors):
            self.noticed(number)

    @property
    def spaces(self) -> dict[str, Space]:
        """How the disks in use were filled at the last look, by path; any thread."""
        spaces = self._spaces.copy()
        readable = self._mountpaths.view.readable
        return {slot.mountpath.path: spaces[slot.number] for slot in readable if slot.number in spaces}

    def _run(self) -> None:
        while not self._stopping:
            self._wanted.wait(_WATCH_SECONDS)
            self._wanted.clear()
            self._look(clock.monotonic())

    def _look(self, now: float) -> None:
        slots = {slot.number: slot for slot in self._mountpaths.view.readable}
        for known in (self._suspicions, self._probes, self._spaces):
            for number in known.keys() - slots.keys():
                del known[number]
        while self._errors:
            number = self._errors.popleft()
            if number in slots:
                self._suspicion(number, now).error(now)
        for number, slot in slots.items():
            trouble = self._trouble(number, slot, now)
            if trouble:
                self._probes.pop(number, None)
                self._failed(slot, trouble)

    def _trouble(self, number: int, slot: Slot, now: float) -> str:
        """What is wrong with a disk, as far as it is known by now."""
        try:
            slot.mountpath.check()
            self._spaces[number] = self._measure(slot.mountpath)
        except DiskError as error:
            return error.message
        probe = self._probes.get(number)
        if probe is None:
            suspicion = self._suspicion(number, now)
            if suspicion.wants_probe(now):
                suspicion.probed(now)
                self._probes[number] = _Probe(slot, now)
                self._wanted.set()
            return ""
        if probe.outcome is None:
            patience = self._settings.patience_seconds
            is_late = probe.is_late(now, patience)
            return f"mountpath {slot.mountpath.id}: does not answer within {patience:g} seconds" if is_late else ""
        del self._probes[number]
        return probe.outcome

    def _measure(self, mountpath: Mountpath) -> Space:
        """Let a disk take nothing new while it is full."""
        space, was_full = mountpath.space(), bool(mountpath.refusal)
        used = space.used_percent
        is_full = self._watermarks.is_full(used, was_full=was_full)
        mountpath.refusal = self._watermarks.refusal(used) if is_full else ""
        if is_full != was_full:
            _log.warning("mountpath.full" if is_full else "mountpath.has_room", mountpath=mountpath.id, used=used)
        return space

    def _suspicion(self, number: int, now: float) -> Suspicion:
        return self._suspicions.setdefault(number, Suspicion(self._settings, now))


def _writes_completed(mountpath: Mountpath) -> str:
    """The block device's own count (Documentation/block/stat.rst of the kernel); empty where there is none: tmpfs."""
    device, _ = mountpath.identity
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text("ascii").split()[4]
    return ""
