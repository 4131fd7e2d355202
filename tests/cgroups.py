"""Limits that the kernel sets by control groups: of memory, and of how fast a disk is. Needs root."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.waiting import wait_for

_ROOT = Path("/sys/fs/cgroup")
THROTTLE = _ROOT / "blkio" / "blkio.throttle"
"""Of the first version: in its root, for those who are in no other group; the kernel's write-back always is there."""


class _Files(NamedTuple):
    """Where a version of control groups keeps them, and how it calls a group's files."""

    groups: Path
    limit: str
    usage: str
    events: str


_V1 = _Files(_ROOT / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
_V2 = _Files(_ROOT, "memory.max", "memory.current", "memory.events")


class MemoryGroup:
    """Processes that share a limit of memory; page cache counts, and goes when there is need."""

    def __init__(self, directory: Path, files: _Files) -> None:
        self._directory = directory
        self._files = files
        self.entering = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(directory / "cgroup.procs"))
        """What a command begins with that is to run in the group, with all that it starts."""

    def limit(self, size_bytes: int) -> None:
        """Change the limit; where more is in use that cannot go, v1 raises OSError, and v2 kills."""
        (self._directory / self._files.limit).write_text(str(size_bytes))

    def squeeze(self) -> None:
        """Limit it to what is in use now."""
        self.limit(int((self._directory / self._files.usage).read_text()))

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed because of the limit."""
        events = (self._directory / self._files.events).read_text()
        found = re.search(r"^oom_kill (\d+)$", events, re.MULTILINE)
        assert found, events
        return int(found[1])

    def end(self) -> None:
        """Kill who is left, and remove the group."""
        wait_for(lambda: not self._kill(), what="an empty group")
        self._directory.rmdir()

    def _kill(self) -> list[str]:
        pids = (self._directory / "cgroup.procs").read_text().split()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return pids


@contextmanager
def memory_limit(size_bytes: int) -> Iterator[MemoryGroup]:
    """A group of control, of the first version where there is one."""
    files = _V1 if _V1.groups.is_dir() else _V2
    if files is _V2:
        (_ROOT / "cgroup.subtree_control").write_text("+memory")
    directory = files.groups / f"haul-test-{secrets.token_hex(4)}"
    directory.mkdir()
    group = MemoryGroup(directory, files)
    try:
        group.limit(size_bytes)
        yield group
    finally:
        group.end()


@contextmanager
def slow_disk(path: Path, bytes_per_second: int) -> Iterator[None]:
    """The file system's device takes and gives no more than this, write-back included."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    files = [Path(f"{THROTTLE}.{what}_bps_device") for what in ("read", "write")]
    for file in files:
        file.write_text(f"{number} {bytes_per_second}")
    try:
        yield
    finally:
        for file in files:
            file.write_text(f"{number} 0")
