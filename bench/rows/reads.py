"""Reads of stored objects straight from their target, beside nginx that serves the same bytes."""

from __future__ import annotations

from bench.contest import Bench
from bench.reading import HOW_LARGE_IS_READ, read_in_turn, served, workload
from bench.results import Figure, RowResult, ratio


def measure(bench: Bench) -> RowResult:
    """Compare with nginx; bars 0.15 x nginx for 16 KiB and 1.0 GB/s for a large one."""
    with served(bench) as at:
        found = read_in_turn(bench, {"Haul": at.target, "nginx": at.nginx})
    ours, theirs = found.small
    our_bytes, their_bytes = found.large
    return RowResult(
        "reads",
        f"reads straight from the target: {workload(bench)}",
        (*found.small, *found.large),
        (
            ratio(ours, theirs, 0.15, 0.4),
            Figure(our_bytes.name, our_bytes.median, "GB/s", "higher", 1.0, 2.5),
            ratio(our_bytes, their_bytes),
        ),
        (HOW_LARGE_IS_READ,),
        found.problems,
    )
