"""Objects of an origin that answers late: how many transfers are under way at once."""

from __future__ import annotations

from bench.contest import Bench, Contender, alternate, flat, haul_range
from bench.origins import delayed
from bench.peers import aria2, curl, wrk
from bench.results import RowResult, ratio

_DELAY_SECONDS = 0.050
HAUL, ARIA2, CURL = "Haul", "aria2c -j64 -x1", "curl -Z --parallel-max 64"


def measure(bench: Bench) -> RowResult:
    """Compare with aria2c and curl; bar 1.0 x aria2c."""
    scale = bench.scale
    count = scale.latency_objects
    with bench.workspace.temporary("origin") as state:
        with delayed(1024, 0, state) as origin:
            origin_rate, problems = wrk(origin.url, 64, 2)
        with delayed(scale.latency_bytes, _DELAY_SECONDS, state) as origin:
            links = [f"{origin.url}/o/d-{number:04d}.bin" for number in range(count)]
            template = f"{origin.url}/o/d-{{0000..{count - 1:04d}}}.bin"
            outcome = alternate(
                bench,
                [
                    Contender(HAUL, haul_range(template, count, f"{origin.url}/warm")),
                    Contender(ARIA2, flat(aria2, links, 64)),
                    Contender(CURL, flat(curl, links, 64)),
                ],
            )
    series = outcome.rates("objects/s", count)
    return RowResult(
        "latency",
        f"{count:,} x {scale.latency_bytes >> 10} KiB, origin answers after {_DELAY_SECONDS * 1000:.0f} ms, "
        "1 target, 4 mountpaths, tmpfs",
        tuple(series.values()),
        (ratio(series[HAUL], series[ARIA2], 1.0, 2.0), ratio(series[HAUL], series[CURL])),
        (f"the origin alone, without the delay, answers {origin_rate:,.0f} requests of 1 KiB a second",),
        outcome.problems + problems,
    )
