"""Whether a failed attempt is made again and when; pure.

Which errors there are, and which of them may pass, is decided in `target.transfer` and `target.storage`.
"""

from __future__ import annotations

from dataclasses import dataclass

from target.carriers.messages import DISK, Failure


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: before attempt n+1 wait up to `base * 2**(n-1)`, at most `cap`."""

    attempts: int = 5
    base_seconds: float = 0.25
    cap_seconds: float = 30.0
    disk_seconds: float = 1.5
    """After a failure of a disk: until all attempts are made it is known whether the disk is to be used any more."""

    def delay(self, attempt: int, failure: Failure, random_unit: float) -> float | None:
        """Seconds to wait before the next attempt, or None when `attempt` (from 1) was the last one.

        `random_unit` is a random number in [0, 1). An origin's Retry-After is waited for in full, and then spread a
        little, so that the tasks that it stopped do not come back all at once.
        """
        if attempt >= self.attempts or not failure.may_pass:
            return None
        jitter = random_unit * min(self.cap_seconds, self.base_seconds * 2.0 ** (attempt - 1))
        if failure.fault == DISK:
            return self.disk_seconds + jitter
        return jitter + (failure.retry_after_seconds or 0.0)
