"""Reads by the S3 API, which a proxy passes on, beside nginx that passes on to itself and the target without a hop."""

from __future__ import annotations

from bench.contest import Bench
from bench.reading import HOW_LARGE_IS_READ, read_in_turn, served, workload
from bench.results import RowResult, ratio


def measure(bench: Bench) -> RowResult:
    """Compare what the hop costs; design.md sets no bar."""
    with served(bench) as at:
        places = {"Haul, S3": at.s3, "nginx, passed on": at.passed, "Haul, target": at.target}
        found = read_in_turn(bench, places)
    our_small, their_small, _ = found.small
    our_large, their_large, _ = found.large
    return RowResult(
        "s3",
        f"reads through a proxy by the S3 API, without keys: {workload(bench)}",
        (*found.small, *found.large),
        (ratio(our_small, their_small), ratio(our_large, their_large)),
        (HOW_LARGE_IS_READ, "nginx serves the files that it passes on by the same worker"),
        found.problems,
    )
