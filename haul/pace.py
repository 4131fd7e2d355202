"""How often a running job is asked for, and how long a silent cluster is borne; the waiting is left to the clients."""

from __future__ import annotations

import time

from haul.errors import HaulError

_FIRST_PAUSE_SECONDS = 0.02
_LAST_PAUSE_SECONDS = 0.5
"""Jobs of a few objects end within milliseconds, those of millions are not worth asking for more often."""
_GROWTH = 1.5


class Pace:
    """One job that is followed; times are seconds, None for ever."""

    def __init__(self, job_id: str, *, timeout_seconds: float | None, patience_seconds: float) -> None:
        self._job_id = job_id
        self._patience_seconds = patience_seconds
        self._heard = time.monotonic()
        self._deadline = None if timeout_seconds is None else self._heard + timeout_seconds
        self._timeout_seconds = timeout_seconds
        self._next_pause_seconds = _FIRST_PAUSE_SECONDS

    def heard(self) -> None:
        """The cluster has answered."""
        self._heard = time.monotonic()

    def silent(self, error: HaulError) -> None:
        """It has not; raises the error when it may not pass, or has not for too long."""
        if not error.may_pass or time.monotonic() - self._heard > self._patience_seconds:
            raise error

    def pause_seconds(self) -> float:
        """How long to wait before asking again; raises TimeoutError when the time is up."""
        pause_seconds = self._next_pause_seconds
        self._next_pause_seconds = min(pause_seconds * _GROWTH, _LAST_PAUSE_SECONDS)
        if self._deadline is None:
            return pause_seconds
        left_seconds = self._deadline - time.monotonic()
        if left_seconds <= 0:
            raise TimeoutError(f"job {self._job_id} is still running after {self._timeout_seconds} s; it goes on")
        return min(pause_seconds, left_seconds)
