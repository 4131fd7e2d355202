"""What the lanes of a target are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from target.downloads.leases import Lease
from target.downloads.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Bounds of one lane, how often it tries, and what its carrier is told."""

    max_transfers: int = 64
    max_staged: int = 512
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    allow_origins: tuple[str, ...] = ()
    ca_file: str = ""
    known_hosts_file: str = ""
    host_leases: Mapping[str, Lease] = field(default_factory=dict)
    """What may be read from each limited host."""
    may_work: Callable[[], bool] = lambda: True
    """Whether anything new may be begun; who changes it wakes the lanes."""
