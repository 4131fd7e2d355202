"""The processes of a cluster's nodes: found by their command line, started detached, stopped with a deadline.

A node is known by its configuration file: its command line ends with `-m proxy --config FILE`, whatever pid it has, so
a pid that has passed to another program is never mistaken for it. Linux only (/proc).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import common
from common.clock import monotonic

_PROC = Path("/proc")
_POLL_SECONDS = 0.05
PID_FILE = "pid"
LOG_FILE = "log"


def command(role: str, config: Path) -> list[str]:
    """How a node is started; -P keeps the current directory out of the module search path."""
    return [sys.executable, "-P", "-m", role, "--config", str(config)]


def find(configs: Iterable[tuple[str, Path]]) -> dict[Path, int]:
    """The pids of those nodes, given as (role, configuration file), that are running."""
    wanted = {_marks(role, config): config for role, config in configs}
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (config := wanted.get(_tail(entry))) is not None:
            found[config] = int(entry.name)
    return found


def _marks(role: str, config: Path) -> bytes:
    return b"\0".join(os.fsencode(part) for part in ("-m", role, "--config", str(config)))


def _tail(entry: Path) -> bytes:
    """The last four words of a process's command line; empty for a zombie, or one that has just gone."""
    try:
        words = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return b""
    return b"\0".join(words[-4:])


def age_seconds(pid: int) -> float:
    """How long ago a process was started; 0 when it has gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    # The name in parentheses may hold spaces; field 22 of all is the 20th after it, in ticks since the machine started.
    started_seconds = int(text.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_seconds)


def start(role: str, config: Path) -> subprocess.Popen[bytes]:
    """Start a node in a session of its own; its output is appended to the log beside its configuration."""
    folder = config.parent
    root = str(Path(common.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH", "")])]
    with (folder / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            command(role, config),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    (folder / PID_FILE).write_text(f"{process.pid}\n", encoding="ascii")
    return process


def leave_running(process: subprocess.Popen[bytes]) -> None:
    """Let go of a node that outlives this command on purpose."""
    process.returncode = 0  # else Popen would warn, when it is collected, that its process was forgotten


def give_up(started: Sequence[subprocess.Popen[bytes]], *, deadline_seconds: float) -> None:
    """End nodes that this command has started itself: SIGTERM, then SIGKILL at the deadline."""
    for process in started:
        process.terminate()
    end = monotonic() + deadline_seconds
    for process in started:
        try:
            process.wait(max(0.0, end - monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def stop(nodes: Mapping[Path, int], roles: Mapping[Path, str], *, deadline_seconds: float) -> list[int]:
    """SIGTERM all, wait, SIGKILL who is still there at the deadline; returns the pids that had to be killed."""
    left = _signal_all(nodes, signal.SIGTERM)
    end = monotonic() + deadline_seconds
    while left and monotonic() < end:
        time.sleep(_POLL_SECONDS)
        left = _still_there(left, roles)
    killed = list(left.values())
    left = _signal_all(left, signal.SIGKILL)
    while left:
        time.sleep(_POLL_SECONDS)
        left = _still_there(left, roles)
    for config in nodes:
        (config.parent / PID_FILE).unlink(missing_ok=True)
    return killed


def _still_there(nodes: Mapping[Path, int], roles: Mapping[Path, str]) -> dict[Path, int]:
    running = find((roles[config], config) for config in nodes)
    return {config: pid for config, pid in nodes.items() if config in running or _is_ending(pid)}


def _is_ending(pid: int) -> bool:
    """Whether the process has lost its memory (and command line) and may still hold its sockets and locks."""
    entry = _PROC / str(pid)
    try:
        state = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
        return state not in {"Z", "X"} and not (entry / "cmdline").read_bytes()
    except (OSError, IndexError):
        return False


def _signal_all(nodes: Mapping[Path, int], number: signal.Signals) -> dict[Path, int]:
    for pid in nodes.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return dict(nodes)


def last_lines(log: Path, from_byte: int, *, limit: int = 8) -> list[str]:
    """The last lines that a node has written since its log had `from_byte` bytes."""
    try:
        with log.open("rb") as file:
            file.seek(from_byte)
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-limit:]


def size_of(log: Path) -> int:
    """The log's present length."""
    try:
        return log.stat().st_size
    except OSError:
        return 0
