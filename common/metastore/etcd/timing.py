"""How long the parts of the etcd store wait, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """`call_seconds` bounds every call of the store as its users see it."""

    call_seconds: float = 1.5
    start_seconds: float = 10.0
    """Etcd and the proxies may be started together."""
    attempt_seconds: float = 0.6
    """After that, a member that is only read from is given up for another."""
    head_start_seconds: float = 0.2
    """The member that was used so far is asked alone for so long, before all others are asked as well."""
    trust_seconds: float = 1.0
    """A member that was silent for longer is asked whether it is there, before something is written through it."""
    max_pause_seconds: float = 0.5
    beat_seconds: float = 3.0
    """A watch that hears nothing for so long asks its member whether it is still there."""
    audit_seconds: float = 45.0
    """How often a watch compares what it knows with what there is, on average."""
    settle_seconds: float = 1.0
    """What a comparison of a quiet watch waits for changes that are on their way."""
