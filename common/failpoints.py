"""Named points in the code where a test makes a process die or an operation fail; what to check after is the test's.

Armed only by the environment variable HAUL_FAILPOINTS when the process starts, for example
`commit.before_rename=kill@3,writer.after_write=error:EIO@1`: SIGKILL at the third hit of the one, an OSError at the
first hit of the other. `stop` instead of `kill` sends SIGSTOP. Off, a point costs one look at an empty dict.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass

NAMES = frozenset(
    {
        "writer.after_create",
        "writer.after_write",
        "writer.after_metadata",
        "partial.after_write",
        "partial.before_sync",
        "partial.after_claim",
        "commit.before_data_sync",
        "commit.after_data_sync",
        "commit.before_rename",
        "commit.after_rename",
        "commit.before_directory_sync",
        "commit.after_directory_sync",
        "delete.before_unlink",
        "delete.after_unlink",
        "bucket.before_create",
        "bucket.after_create",
        "bucket.before_destroy",
        "bucket.after_destroy",
        "rebalance.sent_chunk",
        "rebalance.received",
        "rebalance.stored",
        "rebalance.acknowledged",
        "journal.before_commit",
        "journal.after_commit",
        "leader.before_map_write",
        "map.before_push",
        "leader.before_share",
    }
)
"""Every failpoint of the code base; one that is not listed cannot be armed."""

_SETTING = re.compile(r"(?P<name>[\w.]+)=(?P<action>kill|stop|error:(?P<errno>E[A-Z0-9]+))@(?P<at>[1-9][0-9]*)\Z")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(slots=True)
class _Armed:
    action: str
    errno: int
    hits_left: int


def parse(settings: str) -> dict[str, _Armed]:
    """Read HAUL_FAILPOINTS; raises ValueError for a point or an action that does not exist."""
    armed = {}
    for setting in filter(None, settings.split(",")):
        match = _SETTING.match(setting)
        if not match or match["name"] not in NAMES:
            raise ValueError(f"HAUL_FAILPOINTS: {setting!r} names no failpoint or no action")
        number = getattr(errno, match["errno"]) if match["errno"] else 0
        armed[match["name"]] = _Armed(match["action"], number, int(match["at"]))
    return armed


_armed: Mapping[str, _Armed] = parse(os.environ.get("HAUL_FAILPOINTS", ""))
_companions: list[int] = []
_lock = threading.Lock()


def hit(name: str) -> None:
    """Pass the point `name`; returns at once unless this process was started with it armed."""
    if _armed and name in _armed:
        _act(_armed[name])


def kill_too(pid: int) -> None:
    """Let `kill` and `stop` reach this process first: a target dies whole, also at a point that its carriers pass."""
    _companions[:] = [pid]


def _act(armed: _Armed) -> None:
    with _lock:
        armed.hits_left -= 1
        due = armed.hits_left == 0
    if not due:
        return
    if armed.action in _SIGNALS:
        for pid in (*_companions, os.getpid()):
            os.kill(pid, _SIGNALS[armed.action])
    else:
        raise OSError(armed.errno, os.strerror(armed.errno))
