"""Until when the Hub wants to be left alone, by token: what this proxy was told itself, and by other proxies.

Telling the others is left to who makes this. Tokens are known by their digests only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from common.clock import monotonic
from common.ratelimits import WAIT_CAP_SECONDS

_WORTH_SECONDS = 1.0
"""Shorter waits are over before all others know of them."""


class HubHolds:
    """Belongs to the event loop; `tell(body)` brings to the other proxies what they `take`."""

    def __init__(self, tell: Callable[[dict[str, Any]], None] = lambda body: None) -> None:
        self._tell = tell
        self._until: dict[str, float] = {}

    def seconds(self, token: str) -> float:
        """How long still nothing is to be asked with this token."""
        now = monotonic()
        self._until = {key: until for key, until in self._until.items() if until > now}
        return self._until.get(_key(token), now) - now

    def told(self, token: str, seconds: float) -> None:
        """The Hub asks for so much time."""
        body = {"key": _key(token), "seconds": seconds}
        if self.take(body) and seconds > _WORTH_SECONDS:
            self._tell(body)

    def take(self, body: dict[str, Any]) -> bool:
        """It asked another proxy, or this one; whether it is longer than what was known, if only by a second."""
        key, until = str(body["key"]), monotonic() + min(float(body["seconds"]), WAIT_CAP_SECONDS)
        is_news = until > self._until.get(key, 0.0) + _WORTH_SECONDS
        self._until[key] = max(until, self._until.get(key, 0.0))
        return is_news


def _key(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
