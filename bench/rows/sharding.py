"""HRW of very many names over sixteen targets on one core: what planning a huge job costs."""

from __future__ import annotations

import os
import time

from bench.contest import Bench
from bench.results import Figure, RowResult, Series
from common.bulkplacement import digests, owners
from common.names import Bucket
from common.placement import digest

_TARGETS = 16


def measure(bench: Bench) -> RowResult:
    """Digests of all unames and their owners; bar 1 s for 1,000,000."""
    count = bench.scale.sharded_names
    names = [f"images/train/{number:08d}.jpg" for number in range(count)]
    targets = [digest(f"target{number:02d}") for number in range(_TARGETS)]
    prefix = Bucket("bench").uname
    hashing: list[float] = []
    total: list[float] = []
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        for run in range(bench.scale.runs):
            start = time.perf_counter()
            hashed = digests(prefix, names)
            hashing.append(time.perf_counter() - start)
            owners(hashed, targets)
            total.append(time.perf_counter() - start)
            bench.say(f"  run {run + 1}: {total[-1]:.3f} s, of which digests {hashing[-1]:.3f} s")
    finally:
        os.sched_setaffinity(0, allowed)
    ours = Series("digests and owners", "s", tuple(total))
    return RowResult(
        "sharding",
        f"HRW of {count:,} names over {_TARGETS} targets on one core",
        (ours, Series("of which digests", "s", tuple(hashing))),
        (Figure(f"{count:,} names", ours.median, "s", "lower", 1.0, 0.3),),
    )
