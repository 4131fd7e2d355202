"""A target's disks in AIStore's dialect: capacity by mountpath, and what the disks do (wire.md §4.5).

How full a disk is was found out by `target.storage.health`; nothing here waits for a disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import clock
from common.growth import Growth
from target.storage.filesystems import FileSystem, find_disks, find_file_system, read_disk_counters
from target.storage.health import Health
from target.storage.mountpath import Space
from target.storage.mountpaths import Mountpaths

_COUNTERS = ("reads", "read_bytes", "writes", "written_bytes", "busy_ms")


class Capacity:
    """The figures of the mountpaths in use; one thread at a time."""

    def __init__(self, mountpaths: Mountpaths, health: Health) -> None:
        self._mountpaths = mountpaths
        self._health = health
        self._known: dict[int, tuple[FileSystem, list[str]]] = {}
        self._growth = Growth({}, clock.monotonic())

    def described(self) -> dict[str, Any]:
        """AIStore's capacity of a node: its mountpaths, and the totals of their file systems, each counted once."""
        spaces = self._spaces()
        self._known = {slot.number: self._known[slot.number] for slot, _ in spaces if slot.number in self._known}
        mountpaths: dict[str, Any] = {}
        totals: dict[str, tuple[int, int]] = {}
        percents, refusals = [], []
        for slot, space in spaces:
            file_system, disks = self._below(slot.number, slot.mountpath.path, slot.mountpath.identity[0])
            used, percent = space.total_bytes - space.free_bytes, _percent(space)
            fs_id = _fs_id(space.file_system_id)
            mountpaths[slot.mountpath.path] = {
                "mountpath_label": "",
                "fs": {"Fs": file_system.source, "FsType": file_system.type, "FsID": fs_id},
                "disks": disks,
                "used": str(used),
                "avail": str(space.free_bytes),
                "pct_used": percent,
            }
            totals[fs_id] = used, space.free_bytes
            percents.append(percent)
            refusals.append(slot.mountpath.refusal)
        return {
            "mountpaths": mountpaths,
            "cs_err": next(filter(None, refusals), ""),
            "total_used": str(sum(used for used, _ in totals.values())),
            "total_avail": str(sum(free for _, free in totals.values())),
            "pct_max": max(percents, default=0),
            "pct_avg": sum(percents) // len(percents) if percents else 0,
            "pct_min": min(percents, default=0),
        }

    def disks(self) -> list[str]:
        """The names of all disks that mountpaths lie on."""
        below = (
            self._below(slot.number, slot.mountpath.path, slot.mountpath.identity[0])[1]
            for slot in self._mountpaths.view.readable
        )
        return sorted({disk for disks in below for disk in disks})

    def disk_stats(self) -> dict[str, dict[str, int]]:
        """AIStore's DiskStats of each: bytes a second, the average size of an access, percent of the time busy."""
        counters = read_disk_counters(self.disks())
        flat = {f"{disk}.{name}": getattr(of, name) for disk, of in counters.items() for name in _COUNTERS}
        rates = self._growth.look(flat, clock.monotonic())
        stats = {}
        for disk in counters:
            reads, read, writes, written, busy = (rates.get(f"{disk}.{name}", 0.0) for name in _COUNTERS)
            stats[disk] = {
                "RBps": int(read),
                "Ravg": int(read / reads) if reads else 0,
                "WBps": int(written),
                "Wavg": int(written / writes) if writes else 0,
                "Util": min(round(busy / 10), 100),
            }
        return stats

    def fullness(self) -> tuple[int, int]:
        """How many mountpaths take nothing new because they are full, and how many there are."""
        readable = self._mountpaths.view.readable
        return sum(bool(slot.mountpath.refusal) for slot in readable), len(readable)

    def _spaces(self) -> list[tuple[Any, Space]]:
        spaces = self._health.spaces
        readable = self._mountpaths.view.readable
        return [(slot, spaces[slot.mountpath.path]) for slot in readable if slot.mountpath.path in spaces]

    def _below(self, number: int, path: str, device: int) -> tuple[FileSystem, list[str]]:
        if number not in self._known:
            table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
            self._known[number] = find_file_system(table, path, device), find_disks(device)
        return self._known[number]


def _percent(space: Space) -> int:
    return 100 * (space.total_bytes - space.free_bytes) // space.total_bytes if space.total_bytes else 0


def _fs_id(number: int) -> str:
    """The two signed halves of it, as AIStore writes them."""
    halves = (number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF)
    return ",".join(str(half - (1 << 32) if half >> 31 else half) for half in halves)
