"""What the headers `RateLimit` and `RateLimit-Policy` say of requests that are left; pure.

As draft-ietf-httpapi-ratelimit-headers has them from its version 8 on, and as HuggingFace's Hub sends them with each
answer: `RateLimit: "resolvers";r=2997;t=258`, `RateLimit-Policy: "fixed window";"resolvers";q=3000;w=300`. What cannot
be read says nothing. Waiting is left to callers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

WAIT_CAP_SECONDS = 300.0
"""Nobody is waited for longer at once; the Hub's windows are as long."""
_MAX_CHARACTERS = 2048
_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')
_REMAINING, _RESET, _WINDOW = (re.compile(rf";\s*{key}\s*=\s*(\d{{1,9}})(?![\d.])", re.ASCII) for key in "rtw")


class Limit(NamedTuple):
    """One policy's state: requests that are left, and seconds until there are more, None where that is not told."""

    remaining: int
    reset_seconds: float | None


def parse_limits(limit: str) -> list[Limit]:
    """The members of a `RateLimit` that say how much is left."""
    found = []
    for member in _MEMBER.findall(limit[:_MAX_CHARACTERS]):
        remaining, reset = _REMAINING.search(member), _RESET.search(member)
        if remaining is not None:
            found.append(Limit(int(remaining[1]), float(reset[1]) if reset is not None else None))
    return found


def exhausted_seconds(limit: str, policy: str = "") -> float | None:
    """How long nothing may be asked by these headers, capped; None while something is left, or nothing is said.

    Where it is not told when there is more, it is after the policy's window.
    """
    used_up = [one for one in parse_limits(limit) if one.remaining == 0]
    if not used_up:
        return None
    windows = [float(seconds) for seconds in _WINDOW.findall(policy[:_MAX_CHARACTERS])]
    resets = [max(windows, default=0.0) if one.reset_seconds is None else one.reset_seconds for one in used_up]
    return min(max(resets), WAIT_CAP_SECONDS) or None
