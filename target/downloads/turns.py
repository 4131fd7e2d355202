"""Lanes with many small objects take turns instead of fighting for Python's interpreter lock; no lane depends on it.

libcurl's callbacks and every small system call give the interpreter lock away and want it back. One thread does that at
hardly any cost; four at once spend more time on handing the lock around than on the work (docs/decisions/0001). So a
busy lane asks for the floor before it handles what is ready, and gives it back before it waits or syncs a disk. The
floor is handed on in the order of asking. Whoever keeps it too long – a disk that hangs in a write – is passed over,
and the others go on.
"""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A fair lock that is never waited for longer than `patience_seconds` because of one holder."""

    def __init__(self, patience_seconds: float = 0.05) -> None:
        self._patience_seconds = patience_seconds
        self._mutex = threading.Lock()
        self._holder: object | None = None
        self._waiting: deque[_Waiter] = deque()

    def __repr__(self) -> str:
        return f"<Turns {'held' if self._holder else 'free'}, {len(self._waiting)} waiting>"

    def take(self) -> object:
        """Wait for the floor; the result is to be given to `give_back`."""
        waiter = _Waiter()
        with self._mutex:
            if self._holder is None:
                self._holder = waiter
                return waiter
            self._waiting.append(waiter)
            holder = self._holder
        while not waiter.called.acquire(timeout=self._patience_seconds):
            with self._mutex:
                if self._holder is holder:
                    self._call_next()
                holder = self._holder
        return waiter

    def give_back(self, turn: object) -> None:
        """Hand the floor to the next; nothing happens if the turn has been passed over meanwhile."""
        with self._mutex:
            if self._holder is turn:
                self._call_next()

    def _call_next(self) -> None:
        self._holder = None
        if self._waiting:
            waiter = self._waiting.popleft()
            self._holder = waiter
            waiter.called.release()


class _Waiter:
    __slots__ = ("called",)

    def __init__(self) -> None:
        self.called = threading.Lock()
        self.called.acquire()
