"""What lies below a mountpath: its file system as the kernel's mount table tells it, and the disks of that.

Everything is read from `/proc` and `/sys`, never from the disks themselves, so a disk that hangs holds up nobody.
How full a file system is is left to `health`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_ESCAPED = re.compile(r"\\([0-7]{3})")
_SECTOR_BYTES = 512
"""Of `/proc/diskstats`, whatever the disk's own are (Documentation/admin-guide/iostats.rst of the kernel)."""
_DEPTH = 8


class FileSystem(NamedTuple):
    """A device or a source, and the type: `/dev/sda1`, `ext4`."""

    source: str = ""
    type: str = ""


class DiskCounters(NamedTuple):
    """What a disk has done since the machine started."""

    reads: int
    read_bytes: int
    writes: int
    written_bytes: int
    busy_ms: int


def find_file_system(mount_table: str, path: str, device: int) -> FileSystem:
    """The file system of a path on a device, by the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)); pure."""
    number = f"{os.major(device)}:{os.minor(device)}"
    best: tuple[bool, int, FileSystem] = (False, -1, FileSystem())
    for line in mount_table.splitlines():
        fields, _, described = line.partition(" - ")
        _, _, of, _, mount_point, *_ = fields.split(" ")
        kind, source, *_ = described.split(" ")
        mount_point = _plain(mount_point)
        is_around = mount_point in ("/", path) or path.startswith(f"{mount_point}/")
        if of == number or is_around:
            # Of several mounts at one place the last one hides the others.
            here = (of == number, len(mount_point) if is_around else 0, FileSystem(_plain(source), kind))
            best = here if here[:2] >= best[:2] else best
    return best[2]


def find_disks(device: int, sys_directory: Path = Path("/sys")) -> list[str]:
    """The names of the whole disks that a block device lies on; none for a file system without one."""
    start = sys_directory / "dev" / "block" / f"{os.major(device)}:{os.minor(device)}"
    return sorted(_below(start.resolve(), _DEPTH)) if start.exists() else []


def _below(directory: Path, depth: int) -> set[str]:
    """A partition lies on its disk; a mapped or assembled device on others."""
    if (directory / "partition").exists():
        return _below(directory.parent, depth - 1) if depth else set()
    slaves = list((directory / "slaves").iterdir()) if (directory / "slaves").is_dir() else []
    if not slaves or not depth:
        return {directory.name}
    return {name for slave in slaves for name in _below(slave.resolve(), depth - 1)}


def read_disk_counters(names: Iterable[str], proc: Path = Path("/proc")) -> Mapping[str, DiskCounters]:
    """What the named disks have done, of those that there are."""
    wanted, found = frozenset(names), {}
    try:
        text = (proc / "diskstats").read_text("ascii", errors="replace")
    except OSError:
        return {}
    for line in text.splitlines():
        _, _, name, *values = line.split()
        if name in wanted:
            reads, _, read, _, writes, _, written, _, _, busy_ms = map(int, values[:10])
            found[name] = DiskCounters(reads, read * _SECTOR_BYTES, writes, written * _SECTOR_BYTES, busy_ms)
    return found


def _plain(text: str) -> str:
    """The mount table writes blanks and the like as octal numbers."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
