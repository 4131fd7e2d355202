"""The workloads of design.md §10, and reads by the S3 API; one module each: `measure(bench)` gives its RowResult."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.contest import Bench
from bench.results import RowResult
from bench.rows import (
    capped,
    disk,
    large,
    latency,
    listing,
    memory,
    million,
    reads,
    rerun,
    s3,
    scaling,
    sharding,
    single,
    small,
)

ROWS: Mapping[str, Callable[[Bench], RowResult]] = {
    "small": small.measure,
    "disk": disk.measure,
    "large": large.measure,
    "latency": latency.measure,
    "capped": capped.measure,
    "single": single.measure,
    "rerun": rerun.measure,
    "reads": reads.measure,
    "s3": s3.measure,
    "listing": listing.measure,
    "sharding": sharding.measure,
    "memory": memory.measure,
    "million": million.measure,
    "scaling": scaling.measure,
}
