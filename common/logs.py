"""The log of a node: one JSON line per event on standard error, and no trouble when nobody can take it.

Who reads it, keeps it and rotates it is left to whatever runs the node.
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

import structlog

_LEVEL = logging.INFO
_PATIENCE_MS = 50
"""How long a line may hold up the node when whoever reads the log is behind."""


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


def configure_logging() -> None:
    """Events become lines from here on, control characters escaped by the JSON; SIGUSR1 adds all threads' stacks."""
    faulthandler.register(signal.SIGUSR1)
    lines = Lines(sys.stderr.fileno())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVEL),
        logger_factory=lambda *_: lines,
    )
