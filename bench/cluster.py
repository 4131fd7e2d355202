"""A Haul cluster for one measurement, started and stopped through `haul cluster`, as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.client import HaulClient, single_job
from bench.errors import BenchError
from bench.processes import free_port

_REPOSITORY = Path(__file__).resolve().parent.parent
_UP_SECONDS = 60
_DOWN_SECONDS = 30
_START_ATTEMPTS = 3
_PORTS = 16
_SHOWN_LINES = 5


@dataclass(frozen=True, slots=True)
class Node:
    """A process of the cluster."""

    id: str
    role: str
    pid: int

    def peak_rss_bytes(self) -> int:
        """The most memory that the largest of its processes ever had resident."""
        return max(_kernel_figure(pid, "status", "VmHWM:") for pid in _family(self.pid))

    def own_bytes(self) -> int:
        """Memory of all its processes now; what they share is counted once."""
        return sum(_kernel_figure(pid, "smaps_rollup", "Pss:") for pid in _family(self.pid))


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return family


def _kernel_figure(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    raise BenchError(f"process {pid} has no memory figures: it is not running any more")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster."""

    endpoint: str
    nodes: tuple[Node, ...]


@contextlib.contextmanager
def running_cluster(
    directory: Path, *, targets: int = 1, mountpaths: int = 4, durability: str = "power-loss", warm_link: str = ""
) -> Iterator[Cluster]:
    """A cluster with its whole state under `directory`; stopped at the end, whatever happened.

    `warm_link` is fetched once, so that no measurement pays for what a process does the first time.
    """
    home = directory / "cluster"
    try:
        endpoint = _start(home, targets, mountpaths, durability)
        cluster = Cluster(endpoint, _nodes(home))
        try:
            if warm_link:
                _warm_up(cluster, warm_link)
            yield cluster
        except Exception:
            _show_errors(home)
            raise
        finally:
            _haul(home, "down", timeout_seconds=_DOWN_SECONDS)
            _wait_until_gone(cluster.nodes, home)
    finally:
        _kill_leftovers(home)


def _start(home: Path, targets: int, mountpaths: int, durability: str) -> str:
    said = ""
    for _ in range(_START_ATTEMPTS):
        port = free_port(_PORTS)
        said, status = _haul(
            home,
            *("up", "--port", str(port), "--proxies", "1", "--targets", str(targets), "--mountpaths", str(mountpaths)),
            *("--allow-origin", "127.0.0.0/8", "--durability", durability),
            timeout_seconds=_UP_SECONDS,
        )
        if status == 0:
            return f"http://127.0.0.1:{port}"
        _haul(home, "down", timeout_seconds=_DOWN_SECONDS)
        shutil.rmtree(home, ignore_errors=True)
        if "is taken" not in said:
            break
    raise BenchError(f"the cluster did not start: {said[-800:]}")


def _nodes(home: Path) -> tuple[Node, ...]:
    said, status = _haul(home, "status", "--json", timeout_seconds=_DOWN_SECONDS)
    if status != 0:
        raise BenchError(f"haul cluster status failed: {said[-800:]}")
    nodes: list[dict[str, Any]] = json.loads(said)
    return tuple(Node(node["id"], node["role"], int(node["pid"])) for node in nodes if node.get("pid"))


def _warm_up(cluster: Cluster, link: str) -> None:
    with HaulClient(cluster.endpoint) as client:
        for number in range(4 * sum(node.role == "target" for node in cluster.nodes)):
            client.run_job(single_job("warm", f"warm-{number}", link), timeout_seconds=20, poll_seconds=0.005)


def _haul(home: Path, action: str, *arguments: str, timeout_seconds: float) -> tuple[str, int]:
    """Run `haul cluster ACTION`; what it remembers goes beside the cluster, not where the user's last one is kept."""
    environment = os.environ | {"PYTHONPATH": str(_REPOSITORY), "XDG_STATE_HOME": f"{home}-state", "NO_COLOR": "1"}
    entry = "from cli.main import main; main()"
    command = [sys.executable, "-c", entry, "cluster", action, "--dir", str(home), *arguments]
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=_REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"haul cluster {action} did not end within {timeout_seconds:.0f} s", -1
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr, done.returncode


def _show_errors(home: Path) -> None:
    """Print what the nodes logged as errors, because their logs go away with the measurement's directory."""
    for log in home.glob("*/log"):
        lines = [line for line in log.read_text(errors="replace").splitlines() if '"info"' not in line]
        for line in lines[-_SHOWN_LINES:]:
            print(f"  {log.parent.name}: {line[:1000]}")


def _wait_until_gone(nodes: tuple[Node, ...], home: Path) -> None:
    deadline = time.monotonic() + 5
    while any(_is_node_of(node.pid, home) for node in nodes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _kill_leftovers(home: Path) -> None:
    """End what `down` left running, in case it failed: only our own interpreter with our own directory qualifies."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _is_node_of(int(entry.name), home):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)


def _is_node_of(pid: int, home: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return command.startswith(os.fsencode(sys.executable)) and f"\0--config\0{home}/".encode() in command
