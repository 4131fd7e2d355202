"""What the lanes of a target are given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.names import Bucket
from target.carriers.messages import Greeting
from target.downloads.errands import Errands
from target.downloads.leases import Lease
from target.downloads.orders import Orders
from target.downloads.retry import RetryPolicy
from target.storage.mountpath import Mountpath


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Bounds of one lane, how often it tries, and what its carrier is told."""

    errands: Errands
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
    check_open: Callable[[Bucket], None] = lambda bucket: None
    """Raises Unavailable while nothing is to be fetched into a bucket; any thread."""
    disk_failed: Callable[[int], None] = lambda lane: None
    """Is told the lane when something has failed by its disk's fault; any thread."""
    told_to_wait: Callable[[str, float], None] = lambda origin, seconds: None
    """Is told an origin, and for how many seconds it wants to be left alone, and sees to that; any thread."""

    def room(self, orders: Orders) -> int:
        """How many more may be begun beside these."""
        return min(self.max_transfers - len(orders.fetching), self.max_staged - len(orders.committing))

    def greeting(self, disk: Mountpath) -> Greeting:
        """What the carrier of a mountpath is told first."""
        limits = {host: int(lease.bytes_per_second) for host, lease in self.host_leases.items()}
        files = self.ca_file, self.known_hosts_file
        return Greeting(disk.path, disk.id, disk.durability.value, self.allow_origins, *files, os.getpid(), limits)
