"""The log of a node: one JSON line per event on standard error, and no trouble when nobody can take it.

Who reads it, keeps it and rotates it is left to whatever runs the node; the last lines are kept in memory, too, for
those who ask the node itself.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import select
import signal
import sys
import threading
from collections import deque
from typing import Any

import structlog

_LEVEL = logging.INFO
_PATIENCE_MS = 50
"""How long a line may hold up the node when whoever reads the log is behind."""

_KEPT_BYTES = 1 << 20
SEVERITIES = ("info", "warning", "error")
_RANKS = {"warning": 1, "error": 2, "critical": 2, "exception": 2}


class RecentLines:
    """The last lines of a node's log, up to a number of bytes. Any thread."""

    def __init__(self, kept_bytes: int = _KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._lines: deque[tuple[int, bytes]] = deque()
        self._size_bytes = 0
        self._forgotten_bytes = [0] * len(SEVERITIES)
        """How much of the log as each severity shows it is not kept any more."""

    def keep(self, line: str, level: str) -> None:
        """Add a line without its end; older ones are forgotten for it."""
        entry = line.encode(errors="backslashreplace") + b"\n"
        with self._lock:
            self._lines.append((_RANKS.get(level, 0), entry))
            self._size_bytes += len(entry)
            while self._size_bytes > self._kept_bytes:
                rank, old = self._lines.popleft()
                self._size_bytes -= len(old)
                for severity in range(rank + 1):
                    self._forgotten_bytes[severity] += len(old)

    def text(self, severity: str = SEVERITIES[0], offset_bytes: int = 0) -> bytes:
        """Lines of at least this severity; those before an offset into all that it has shown since the start are left
        out, so that a reader can go on where it has stopped. Raises ValueError for a severity that is none."""
        wanted = SEVERITIES.index(severity)
        with self._lock:
            found = b"".join(line for rank, line in self._lines if rank >= wanted)
            return found[max(offset_bytes - self._forgotten_bytes[wanted], 0) :]


class Lines:
    """Writes lines to a descriptor; those that it does not take are dropped, and counted in the next one that it does.

    A log on a full disk, or whose reader has gone, must not stop what it tells about. Any thread.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._dropped = 0
        self._is_torn = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def msg(self, line: str) -> None:
        """Write one line; never raises OSError."""
        with self._lock:
            if self._dropped:
                event = {"event": "log.dropped", "lines": self._dropped, "level": "warning"}
                line = f"{json.dumps(event)}\n{line}"
            end_of_torn = "\n" if self._is_torn else ""
            left = whole = f"{end_of_torn}{line}\n".encode(errors="backslashreplace")
            try:
                while left:
                    self._wait_for_room()
                    left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]
            except OSError:
                self._dropped += 1
                self._is_torn |= left is not whole
            else:
                self._dropped, self._is_torn = 0, False

    def _wait_for_room(self) -> None:
        """Raise BlockingIOError unless a pipe takes PIPE_BUF bytes soon; at once where the last line was not taken."""
        if not self._poll.poll(0 if self._dropped else _PATIENCE_MS):
            raise BlockingIOError

    debug = info = warning = error = critical = exception = fatal = msg


def configure_logging() -> RecentLines:
    """Events become lines from here on, control characters escaped by the JSON; SIGUSR1 adds all threads' stacks."""
    faulthandler.register(signal.SIGUSR1)
    lines, recent = Lines(sys.stderr.fileno()), RecentLines()
    to_json = structlog.processors.JSONRenderer()

    def render(logger: Any, name: str, event: structlog.types.EventDict) -> str:
        level = str(event.get("level", ""))
        line = str(to_json(logger, name, event))
        recent.keep(line, level)
        return line

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVEL),
        logger_factory=lambda *_: lines,
    )
    return recent
