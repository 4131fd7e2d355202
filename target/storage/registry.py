"""Which mountpaths a target has and how each of them stands, in a file outside of them; pure but for that file.

Two things name mountpaths: the configuration and operators at run time. The rule (decision 0008): a configured path is
there until an operator detaches it, an attached one until it is detached, and what an operator or a fault has disabled
stays so; restarts change nothing of it. A path that leaves the configuration leaves the target at the next start,
unless an operator had attached it. Opening disks is left to `mountpaths`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import DiskFailure, InvalidRequest

_FORMAT = 2


class State(Enum):
    """How a mountpath stands; stored by value."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    """By an operator: its objects are elsewhere, or out of reach."""
    FAULTED = "faulted"
    """Its disk has failed; an operator may enable it again."""
    DISABLING = "disabling"
    """Nothing new comes to it, its objects are being moved away; then it is disabled."""
    DETACHING = "detaching"
    """The same, and then it is detached."""
    DETACHED = "detached"
    """Configured, and detached at run time."""


IN_USE = frozenset({State.ENABLED, State.DISABLING, State.DETACHING})
"""The disk is opened, and read from."""
LEAVING: Mapping[State, State] = {State.DISABLING: State.DISABLED, State.DETACHING: State.DETACHED}
"""What becomes of a mountpath that is being emptied."""


class Entry(NamedTuple):
    """One path. `id` is that of its marker, as far as it is known; `reason`: why it is faulted."""

    id: str = ""
    state: State = State.ENABLED
    reason: str = ""
    is_attached: bool = False
    """By an operator, so that it need not be configured."""


class Registry:
    """The file; `load` first. What it says is changed by one thread at a time, `save` is for any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.entries: dict[str, Entry] = {}
        self.settled: frozenset[str] = frozenset()
        """Ids of the enabled mountpaths when every object was last known to lie where it belongs."""
        self.is_new = True
        """Whether this target has never been started before."""

    def load(self, configured: Iterable[str]) -> None:
        """Read the file and apply the rule; raises DiskFailure when it is there and cannot be read."""
        plain = self._read()
        self.is_new = not plain
        known, settled = (_entries(plain["paths"]), plain["settled"]) if "paths" in plain else (_format_1(plain), ())
        self.entries = reconcile(known, configured)
        self.settled = frozenset(settled)

    def save(self) -> None:
        """Write everything down, durably; raises DiskFailure."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        entries = list(self.entries.items())
        plain = {
            "format": _FORMAT,
            "paths": {path: [entry.id, entry.state.value, entry.reason, entry.is_attached] for path, entry in entries},
            "settled": sorted(self.settled),
        }
        temporary = self._path.with_name(f"{self._path.name}.new")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(plain, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise DiskFailure(f"the record of mountpaths cannot be written: {os.strerror(error.errno or 0)}") from None

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise DiskFailure(f"the record of mountpaths cannot be read ({type(error).__name__})") from None


def reconcile(known: Mapping[str, Entry], configured: Iterable[str]) -> dict[str, Entry]:
    """What a target has at its start, given what it had and what its configuration lists now: the rule above."""
    entries = {path: known.get(path, Entry()) for path in configured}
    for path, entry in known.items():
        if path not in entries and entry.is_attached:
            entries[path] = entry
    return entries


def check_new_path(path: str, present: Iterable[str]) -> None:
    """Raise InvalidRequest unless `path` can stand beside the present ones: no disk is looked at.

    One inside of another would have the other's objects among its own.
    """
    if not path.startswith("/") or path != os.path.normpath(path) or path == "/":
        raise InvalidRequest(f'mountpath "{path[:512]}": must be an absolute path without "." and ".."')
    for other in present:
        if path == other:
            raise InvalidRequest(f'mountpath "{path}" is attached already')
        if path.startswith(f"{other}/"):
            raise InvalidRequest(f'mountpath "{path}" lies inside of mountpath "{other}"')
        if other.startswith(f"{path}/"):
            raise InvalidRequest(f'mountpath "{path}" contains mountpath "{other}"')


def _entries(plain: Mapping[str, Any]) -> dict[str, Entry]:
    try:
        return {
            str(path): Entry(str(identity), State(state), str(reason), bool(is_attached))
            for path, (identity, state, reason, is_attached) in plain.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise DiskFailure(f"the record of mountpaths cannot be read ({type(error).__name__})") from None


def _format_1(plain: Mapping[str, Any]) -> dict[str, Entry]:
    """Of a target that could not change its mountpaths: path and id."""
    return {str(path): Entry(str(identity)) for path, identity in plain.items()}
