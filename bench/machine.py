"""Describes the machine and the programs that were measured; without names of hosts, users or directories."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pycurl

from bench.errors import BenchError
from bench.processes import tool

_REPOSITORY = Path(__file__).resolve().parent.parent
_MISSING = "not installed"


def describe() -> dict[str, str]:
    """What the figures depend on, ready to print."""
    return {
        "cores": f"{os.cpu_count()} ({_cpu_model()})",
        "memory": f"{_memory_gib():.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Haul": f"{_package('haul')}, commit {_commit()}",
        "libcurl of Haul": str(pycurl.version).split(" ", 2)[1].removeprefix("libcurl/"),
        "pycurl": _package("pycurl"),
        "uvicorn": _package("uvicorn"),
        "curl": _program("curl", ["--version"], r"curl (\S+)"),
        "aria2c": _program("aria2c", ["--version"], r"aria2 version (\S+)"),
        "nginx": _program("nginx", ["-v"], r"nginx/(\S+)"),
        "wrk": _program("wrk", ["-v"], r"wrk (\S+)"),
        "load before the run": f"{os.getloadavg()[0]:.1f}",
    }


def file_system_of(directory: Path) -> str:
    """The type of the file system that a directory lies on, by the longest mount point above it."""
    best, found = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        above = directory.is_relative_to(mount_point)
        if above and len(mount_point) >= len(best):
            best, found = mount_point, kind
    return found


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return _MISSING


def _program(name: str, arguments: Sequence[str], pattern: str) -> str:
    try:
        done = subprocess.run([tool(name), *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (BenchError, subprocess.TimeoutExpired):
        return _MISSING
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"


def _commit() -> str:
    try:
        said = [
            subprocess.run(
                ["git", "-C", str(_REPOSITORY), *command], capture_output=True, text=True, timeout=10, check=True
            )
            for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said[0].stdout.strip() + (" with changes" if said[1].stdout.strip() else "")
