"""Memory and processors of the machine and of this node, as AIStore's MemCPUInfo (wire.md §4.5).

Read from `/proc` and, where a control group (v2) sets limits, from `/sys/fs/cgroup`. A node is its process with all
that descend from it: a target's carriers are processes of their own. Disks are left to `target.storage`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from common import clock
from common.growth import Growth

_MAX_PROCESSES = 256
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class _Used(NamedTuple):
    """What processes have taken: bytes, and seconds of processors since they began."""

    size: int
    resident: int
    shared: int
    user_seconds: float
    system_seconds: float


class Machine:
    """Makes the figures; any thread. They come from the kernel's memory, so nothing here waits for a disk."""

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._growth = Growth({"busy": self._processors()[0]}, clock.monotonic())

    def memory_and_processors(self) -> dict[str, Any]:
        """AIStore's MemCPUInfo; `cpu_util` is the machine's, or the control group's where that is limited."""
        now = clock.monotonic()
        used, memory = self._used(), self._memory()
        busy_seconds, processors = self._processors()
        busy = self._growth.look({"busy": busy_seconds}, now)["busy"]
        seconds = used.user_seconds + used.system_seconds
        percent = min(100.0 * seconds / self._lifetime_seconds() / processors, 100.0)
        return {
            "mem_used": used.resident,
            "mem_avail": memory["ActualFree"],
            "pct_mem_used": 100.0 * used.resident / (memory["Total"] or 1),
            "pct_cpu_used": percent,
            "load_avg": dict(zip(("One", "Five", "Fifteen"), os.getloadavg(), strict=True)),
            "cpu_util": min(round(100 * busy / processors), 100),
            "mem": memory,
            "proc": {
                "CPU": {
                    "User": int(used.user_seconds * 1000),
                    "System": int(used.system_seconds * 1000),
                    "Total": int(seconds * 1000),
                    "LastTime": 0,
                    "Percent": percent,
                },
                "Mem": {"Size": used.size, "Resident": used.resident, "Share": used.shared},
            },
        }

    def _memory(self) -> dict[str, int]:
        """AIStore's MemStat, in bytes; no more than the control group may have."""
        info: dict[str, int] = {}
        for line in _lines(self._proc / "meminfo"):
            name, _, value = line.partition(":")
            info[name] = int(value.split()[0]) * 1024
        total, free, available = (info.get(name, 0) for name in ("MemTotal", "MemFree", "MemAvailable"))
        for group in self._groups():
            limit = _number(group / "memory.max")
            if limit is None or limit >= total:
                continue
            cached = _fields(group / "memory.stat").get("inactive_file", 0)
            taken = _number(group / "memory.current") or 0
            total = limit
            free = min(free, max(limit - taken, 0))
            available = min(available, max(limit - taken + cached, 0))
        swap, free_swap = info.get("SwapTotal", 0), info.get("SwapFree", 0)
        return {
            "Total": total,
            "Used": total - free,
            "Free": free,
            "BuffCache": info.get("Buffers", 0) + info.get("Cached", 0),
            "ActualFree": available,
            "ActualUsed": total - available,
            "SwapTotal": swap,
            "SwapFree": free_swap,
            "SwapUsed": swap - free_swap,
        }

    def _processors(self) -> tuple[float, float]:
        """Busy seconds since some beginning, of all processors together, and how many processors those are."""
        for group in self._groups():
            quota, _, period = (_lines(group / "cpu.max") or ["max 0"])[0].partition(" ")
            usage = _fields(group / "cpu.stat").get("usage_usec")
            if quota.isdecimal() and int(period or 0) and usage is not None:
                return usage / 1e6, int(quota) / int(period)
        for line in _lines(self._proc / "stat"):
            name, *values = line.split()
            if name == "cpu":
                times = list(map(int, values[:8]))  # of these the fourth and the fifth are idle
                return (sum(times) - sum(times[3:5])) / _TICKS, float(os.cpu_count() or 1)
        return 0.0, float(os.cpu_count() or 1)

    def _groups(self) -> Iterator[Path]:
        """The directories of this process's control group and of those around it, as far as they can be seen."""
        own = next((line[3:] for line in _lines(self._proc / "self" / "cgroup") if line.startswith("0::")), "")
        if not own:
            return
        inner = self._cgroups / own.strip().lstrip("/")
        yield inner
        if inner != self._cgroups and self._cgroups in inner.parents:
            yield from inner.parents[: len(inner.parts) - len(self._cgroups.parts)]

    def _used(self) -> _Used:
        totals = [0, 0, 0, 0.0, 0.0]
        for process in self._family():
            sizes, times = _lines(process / "statm"), _lines(process / "stat")
            if not sizes or not times:  # it has just ended
                continue
            size, resident, shared = (int(pages) * _PAGE_BYTES for pages in sizes[0].split()[:3])
            fields = times[0].rpartition(")")[2].split()  # a command's name may have blanks
            used = (size, resident, shared, int(fields[11]) / _TICKS, int(fields[12]) / _TICKS)
            totals = [total + part for total, part in zip(totals, used, strict=True)]
        return _Used(int(totals[0]), int(totals[1]), int(totals[2]), totals[3], totals[4])

    def _lifetime_seconds(self) -> float:
        """Since this process began; never 0."""
        times = "".join(_lines(self._proc / str(os.getpid()) / "stat")).rpartition(")")[2].split()
        started = int(times[19]) / _TICKS if times else 0.0
        return max(clock.boottime() - started, 1 / _TICKS)

    def _family(self) -> Iterator[Path]:
        """This process and all that descend from it."""
        waiting = [str(os.getpid())]
        for _ in range(_MAX_PROCESSES):
            if not waiting:
                return
            process = self._proc / waiting.pop()
            yield process
            with contextlib.suppress(OSError):
                for task in (process / "task").iterdir():
                    waiting += "".join(_lines(task / "children")).split()


def deployment() -> tuple[str, str]:
    """How AIStore names the surroundings, and the name of the pod: `K8s` there, else the operating system."""
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "K8s", os.uname().nodename
    return "linux", ""


def _lines(path: Path) -> list[str]:
    """None where there is no such file: a process has ended, or the kernel is another one."""
    try:
        return path.read_text("ascii", errors="replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> Mapping[str, int]:
    """Lines of a name and a number."""
    pairs = (line.split() for line in _lines(path))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
