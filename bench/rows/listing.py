"""Listing a bucket of many objects over three targets, page by page to its end."""

from __future__ import annotations

import time

from bench.client import HaulClient
from bench.contest import Bench
from bench.results import Figure, RowResult, Series
from bench.rows.filled import filled_cluster

_PAGE = 10_000
_REPEATS = 3


def measure(bench: Bench) -> RowResult:
    """All pages of names and sizes, several times; bar 2 s for 100,000."""
    expected = bench.scale.listed_objects
    problems: list[str] = []
    samples: list[float] = []
    with filled_cluster(bench, expected) as filled, HaulClient(filled.cluster.endpoint) as client:
        problems += filled.run.problems(expected)
        for run in range(bench.scale.runs * _REPEATS):
            start = time.perf_counter()
            count = _list_all(client)
            samples.append(time.perf_counter() - start)
            bench.say(f"  run {run + 1}: {count:,} names in {samples[-1]:.3f} s")
            if count != expected:
                problems.append(f"{count} of {expected} names were listed")
    ours = Series("Haul", "s", tuple(samples))
    return RowResult(
        "listing",
        f"listing {expected:,} names (with sizes) over 3 targets, all pages of {_PAGE:,}, as JSON",
        (ours,),
        (Figure(f"{expected:,} names", ours.median, "s", "lower", 2.0, 1.0),),
        (f"the first listing, with nothing cached: {samples[0]:.3f} s",),
        tuple(dict.fromkeys(problems)),
    )


def _list_all(client: HaulClient) -> int:
    total, token, uuid = 0, "", ""
    while True:
        count, token, uuid = client.list_page("bench", _PAGE, token, uuid)
        total += count
        if not token:
            return total
