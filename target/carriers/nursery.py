"""Starts carriers: a small process that has loaded everything once, and forks itself for each.

A target cannot fork itself, because it has threads; a new interpreter for each carrier would cost a quarter of a second
and 40 MiB. What a carrier does is left to `carrier`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

import structlog

from common.errors import Unavailable

_PID_BYTES = 4
_ANSWER_SECONDS = 10.0
"""A nursery that takes longer hangs; the next one takes its place, and its carriers go on."""
_log = structlog.get_logger("target.nursery")


class Child(NamedTuple):
    """A process that serves the other end of `connection`."""

    pid: int
    connection: socket.socket


class Nursery:
    """A target's side; may be used from all threads. `close` last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket

    def start(self) -> None:
        """Begin to load, without waiting; `fork` does so itself when it was not done."""
        with self._lock:
            self._start()

    def fork(self) -> Child:
        """A new carrier. Raises Unavailable when the machine does not allow one."""
        with self._lock:
            try:
                self._start()
                ours, theirs = socket.socketpair()
            except OSError as error:
                raise Unavailable(f"no process could be started for a lane: {error.strerror}") from None
            with theirs:
                try:
                    socket.send_fds(self._control, [b"."], [theirs.fileno()])
                    answer = self._control.recv(_PID_BYTES)
                except OSError:
                    answer = b""
            if len(answer) < _PID_BYTES or not any(answer):
                ours.close()
                self._stop()
                raise Unavailable("no process could be started for a lane")
            return Child(int.from_bytes(answer, "little"), ours)

    def close(self) -> None:
        """End the process; carriers go on until their lanes end them."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "target.carriers", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        ours.settimeout(_ANSWER_SECONDS)
        self._control = ours

    def _stop(self) -> None:
        if self._process is not None:
            self._control.close()
            try:
                self._process.wait(_ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def serve(control: socket.socket, carry: Callable[[socket.socket], None]) -> None:
    """Fork for every descriptor that comes through `control`, until that is closed."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(ignored, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        with socket.socket(fileno=descriptors[0]) as connection:
            try:
                pid = os.fork()
            except OSError:
                pid = 0
                control.send(bytes(_PID_BYTES))
                continue
            if pid == 0:
                control.close()
                _carry_and_exit(carry, connection)
        with contextlib.suppress(OSError):
            control.send(pid.to_bytes(_PID_BYTES, "little"))


def _carry_and_exit(carry: Callable[[socket.socket], None], connection: socket.socket) -> None:
    """In the new process: it must never come back into the nursery's loop."""
    code = 1
    try:
        carry(connection)
        code = 0
    except Exception:  # noqa: BLE001 - logged, and told by the exit code
        _log.exception("carrier.died")
    finally:
        sys.stderr.flush()
        os._exit(code)
