"""A lane's hold on its carrier: starts one, speaks with it, notices its death, starts the next, ends the last.

What is said is left to the lane; how often a carrier that dies is started again is decided here.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from typing import Any

import structlog

from common import clock
from common.errors import HaulError
from target.carriers import messages
from target.carriers.channel import Channel
from target.carriers.messages import Greeting
from target.carriers.nursery import Child, Nursery

_UNSENT_SECONDS = 0.01
_FAREWELL_SECONDS = 15.0
_RESTART_SECONDS = (0.05, 5.0)
_log = structlog.get_logger("target.lane")


class Handle:
    """At most one carrier at a time; used by one thread but for `wake`."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._child: Child | None = None
        self._channel: Channel
        self._restart_seconds = _RESTART_SECONDS[0]
        self._restart_at = 0.0
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._wake_fd, select.EPOLLIN)

    @property
    def is_alive(self) -> bool:
        """Whether there is a carrier that has not been found dead."""
        return self._child is not None

    def start(self, greeting: Greeting) -> bool:
        """Start a carrier if there is none and it is time; True when a new one was started."""
        if self._child is not None or clock.monotonic() < self._restart_at:
            return False
        self._restart_at = clock.monotonic() + self._restart_seconds
        self._restart_seconds = min(2 * self._restart_seconds, _RESTART_SECONDS[1])
        try:
            self._child = self._nursery.fork()
        except HaulError as error:
            _log.error("lane.no_carrier", mountpath=greeting.mountpath_id, error=error.message)
            return False
        self._channel = Channel(self._child.connection)
        self._poll.register(self._channel.fileno(), select.EPOLLIN)
        self._channel.send(messages.GREETING, greeting)
        return True

    def send(self, *message: object) -> None:
        """Queue a message; nothing happens without a carrier."""
        if self._child is not None:
            self._channel.send(*message)

    def flush(self) -> None:
        """Send what is queued."""
        if self._child is not None:
            self._channel.flush()

    def wake(self) -> None:
        """End the current or the next `wait`; any thread."""
        with contextlib.suppress(OSError, ValueError):
            os.eventfd_write(self._wake_fd, 1)

    def wait(self, seconds: float) -> None:
        """Wait for a message, a `wake`, or until a carrier may be started."""
        if self._child is None:
            seconds = min(seconds, max(0.0, self._restart_at - clock.monotonic()))
        elif self._channel.has_unsent:
            seconds = min(seconds, _UNSENT_SECONDS)
        for fd, _ in self._poll.poll(seconds):
            if fd == self._wake_fd:
                os.eventfd_read(fd)

    def receive(self) -> Iterator[tuple[Any, ...]]:
        """The messages that are there; when the carrier has ended, `is_alive` is False after the last one."""
        if self._child is None:
            return
        for message in self._channel.receive():
            if message[0] == messages.READY:
                self._restart_seconds = _RESTART_SECONDS[0]
            yield message
        if self._channel.ended:
            self._forget()

    def farewell(self) -> Iterator[tuple[Any, ...]]:
        """Tell the carrier to end, and yield its last messages; one that does not end by itself is killed."""
        deadline = clock.monotonic() + _FAREWELL_SECONDS
        if self._child is not None:
            self._channel.end()
        while self._child is not None:
            if clock.monotonic() >= deadline:
                _log.error("lane.carrier_killed", pid=self._child.pid)
                self.kill()
                return
            self.wait(max(0.0, deadline - clock.monotonic()))
            yield from self.receive()

    def kill(self) -> None:
        """End a carrier that does not do what it is told."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGKILL)
            self._forget()

    def close(self) -> None:
        """Let go of everything; only `wake` may be called afterwards, and does nothing."""
        if self._child is not None:
            self._forget()
        self._poll.close()
        fd, self._wake_fd = self._wake_fd, -1
        os.close(fd)

    def _forget(self) -> None:
        self._poll.unregister(self._channel.fileno())
        self._channel.close()
        self._child = None
