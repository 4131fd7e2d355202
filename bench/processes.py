"""Child processes of the bench: found, started, timed and always stopped; what they measure is left to callers."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import BenchError

PACKAGES = "apt-get install nginx-light aria2 wrk curl"
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_STOP_SECONDS = 5.0


def tool(name: str) -> str:
    """The path of a program; raises BenchError that says how to install it."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(_SBIN))
    if found is None:
        raise BenchError(f"{name} is not installed: {PACKAGES}")
    return found


def free_port(count: int = 1) -> int:
    """The first of `count` adjoining loopback ports that are free now, below the range of outgoing connections."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as sockets:
            try:
                for offset in range(count):
                    probe = sockets.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port
    raise BenchError("no free loopback port was found")


def run_timed(command: Sequence[str], timeout_seconds: float, cwd: Path | None = None) -> tuple[float, str, int]:
    """Run to the end; returns wall seconds, what it printed and its exit status. Raises BenchError at the timeout."""
    start = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, cwd=cwd
    )
    try:
        output, _ = child.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{Path(command[0]).name} did not end within {timeout_seconds:.0f} s") from None
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return time.perf_counter() - start, output, child.returncode


class Service:
    """A child that serves until the `with` block ends; it leads a process group, which is stopped as a whole."""

    def __init__(self, command: Sequence[str], ready: Callable[[], bool], log: Path) -> None:
        self._command = command
        self._ready = ready
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        try:
            self._wait_until_ready(self._child)
        except BaseException:
            self.stop()
            raise
        return self

    def _wait_until_ready(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 10
        while not self._ready():
            if child.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")[-500:]
                raise BenchError(f"{Path(self._command[0]).name} did not start: {said}")
            time.sleep(0.01)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the whole group: politely, then not."""
        if self._child is None:
            return
        _signal_group(self._child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_STOP_SECONDS)
        _signal_group(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._child = None


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def accepts(port: int) -> bool:
    """Whether something listens on this loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False
