"""A few large objects from nginx on loopback to a memory file system: the cost of a byte."""

from __future__ import annotations

from bench.contest import Bench, Contender, alternate, flat, haul_range, warm_link
from bench.origins import nginx
from bench.peers import aria2, curl
from bench.results import RowResult, ratio
from bench.workspace import write_objects

HAUL, CURL, ARIA2 = "Haul", "curl -Z --parallel-max 32", "aria2c -j32 -x1"


def measure(bench: Bench) -> RowResult:
    """Compare with curl and aria2c; bar 0.9 x curl."""
    scale = bench.scale
    count = scale.large_objects
    with bench.workspace.temporary("origin") as state:
        root = state / "root"
        (root / "o").mkdir(parents=True)
        write_objects(root / "o", "l-{}.bin", count, scale.large_bytes)
        write_objects(root, "same.bin", 1, 1024)
        with nginx(root, state) as origin:
            links = [f"{origin.url}/o/l-{number}.bin" for number in range(count)]
            template = f"{origin.url}/o/l-{{0..{count - 1}}}.bin"
            outcome = alternate(
                bench,
                [
                    Contender(HAUL, haul_range(template, count, warm_link(origin.url))),
                    Contender(CURL, flat(curl, links, 32)),
                    Contender(ARIA2, flat(aria2, links, 32)),
                ],
            )
    series = outcome.rates("MB/s", count * scale.large_bytes / 1e6)
    return RowResult(
        "large",
        f"{count} x {scale.large_bytes >> 20} MiB, nginx on loopback, 1 target, 4 mountpaths, tmpfs",
        tuple(series.values()),
        (ratio(series[HAUL], series[CURL], 0.9, 1.2), ratio(series[HAUL], series[ARIA2])),
        (),
        outcome.problems,
    )
