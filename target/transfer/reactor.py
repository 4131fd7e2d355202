"""libcurl's multi interface driven by epoll: which sockets are ready, which timer is due.

It knows nothing of transfers: easy handles go in with `add`, and come out of `finished` when they are done.
`multi.perform` + `select` was measured to be up to a third faster while every handle is busy, and five times slower
beside 200 handles that merely wait; it cannot see descriptors above 1023 either.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator

import pycurl

from common.clock import monotonic

_MAX_EVENTS = 256
_READABLE = pycurl.CSELECT_IN
_WRITABLE = pycurl.CSELECT_OUT


class Reactor:
    """Owned by one thread; only `wake` may be called from others."""

    def __init__(self, max_connections_kept: int) -> None:
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._watched_fd = -1
        self._heard = False
        self._idle_fds: set[int] = set()
        self._ready: list[tuple[int, int]] = []
        self._timer_due_at: float | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections_kept)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    def add(self, curl: pycurl.Curl) -> None:
        self._multi.add_handle(curl)

    def remove(self, curl: pycurl.Curl) -> None:
        self._multi.remove_handle(curl)

    def flush(self) -> None:
        """Let added handles send their requests now."""
        self._run_timer()

    def wait(self, timeout_seconds: float) -> None:
        """Wait until `turn` has something to do, at most this long."""
        if self._timer_due_at is not None:
            timeout_seconds = min(timeout_seconds, max(0.0, self._timer_due_at - monotonic()))
        self._ready = self._epoll.poll(timeout_seconds, _MAX_EVENTS)

    def turn(self) -> None:
        """Do what is due and what the sockets allow."""
        self._run_timer()
        action = self._multi.socket_action
        ready, self._ready = self._ready, []
        for fd, events in ready:
            if fd == self._wake_fd:
                os.eventfd_read(fd)
            elif fd == self._watched_fd:
                self._heard = True
            elif fd in self._idle_fds:
                self._forget_idle(fd)
            else:
                readable = _READABLE if events & ~select.EPOLLOUT else 0
                writable = _WRITABLE if events & select.EPOLLOUT else 0
                action(fd, readable | writable)
        self._run_timer()

    def finished(self) -> Iterator[tuple[pycurl.Curl, int, str]]:
        """Handles that are done, with libcurl's error code (0 is success) and text; the caller removes them."""
        queued = 1
        while queued:
            queued, succeeded, failed = self._multi.info_read(_MAX_EVENTS)
            for curl in succeeded:
                yield curl, pycurl.E_OK, ""
            yield from failed

    def watch(self, fd: int) -> None:
        """Let a foreign descriptor that can be read end `wait`, too."""
        self._epoll.register(fd, select.EPOLLIN)
        self._watched_fd = fd

    def heard(self) -> bool:
        """Whether the watched descriptor could be read since this was asked last."""
        heard, self._heard = self._heard, False
        return heard

    def wake(self) -> None:
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        with self._wake_lock:
            if self._wake_fd < 0:
                return
            self._multi.close()
            self._epoll.close()
            os.close(self._wake_fd)
            self._wake_fd = -1

    def _run_timer(self) -> None:
        if self._timer_due_at is not None and self._timer_due_at <= monotonic():
            self._timer_due_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _on_timer(self, milliseconds: int) -> None:
        if milliseconds > 0:
            self._timer_due_at = monotonic() + milliseconds / 1000
        else:
            self._timer_due_at = 0.0 if milliseconds == 0 else None

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        # A kept connection is let go and taken up again for every object. Its registration outlives the gap, which
        # saves two system calls; `modify` tells whether the number still stands for the same open file.
        if what == pycurl.POLL_REMOVE:
            self._idle_fds.add(fd)
            return
        mask = (select.EPOLLIN if what & pycurl.POLL_IN else 0) | (select.EPOLLOUT if what & pycurl.POLL_OUT else 0)
        self._idle_fds.discard(fd)
        try:
            self._epoll.modify(fd, mask)
        except FileNotFoundError:
            self._epoll.register(fd, mask)

    def _forget_idle(self, fd: int) -> None:
        """A kept connection has been closed by the other side, which libcurl finds out when it wants to use it."""
        self._idle_fds.discard(fd)
        with contextlib.suppress(OSError):  # closed by us meanwhile, which unregisters it
            self._epoll.unregister(fd)
