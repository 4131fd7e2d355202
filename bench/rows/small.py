"""Many small objects from nginx on loopback to four mountpaths on a memory file system: the cost of an object."""

from __future__ import annotations

from bench.contest import Bench, Contender, alternate, flat, haul_range, warm_link
from bench.origins import nginx
from bench.peers import aria2, curl
from bench.results import RowResult, ratio
from bench.workspace import write_objects

HAUL, HAUL_PROCESS, CURL, ARIA2 = "Haul", "Haul, durability=process", "curl -Z --parallel-max 32", "aria2c -j32 -x1"


def measure(bench: Bench) -> RowResult:
    """Compare with curl and aria2c; bar 0.7 x curl."""
    scale = bench.scale
    with bench.workspace.temporary("origin") as state:
        root = state / "root"
        (root / "o").mkdir(parents=True)
        write_objects(root / "o", "s-{:05d}.bin", scale.small_objects, scale.small_bytes)
        write_objects(root, "same.bin", 1, 1024)
        with nginx(root, state) as origin:
            links = [f"{origin.url}/o/s-{number:05d}.bin" for number in range(scale.small_objects)]
            template = f"{origin.url}/o/s-{{00000..{scale.small_objects - 1:05d}}}.bin"
            warm = warm_link(origin.url)
            outcome = alternate(
                bench,
                [
                    Contender(HAUL, haul_range(template, scale.small_objects, warm)),
                    Contender(CURL, flat(curl, links, 32)),
                    Contender(ARIA2, flat(aria2, links, 32)),
                    Contender(HAUL_PROCESS, haul_range(template, scale.small_objects, warm, "process")),
                ],
            )
    series = outcome.rates("objects/s", scale.small_objects)
    return RowResult(
        "small",
        f"{scale.small_objects:,} x {scale.small_bytes >> 10} KiB, nginx on loopback, 1 target, 4 mountpaths, tmpfs",
        tuple(series.values()),
        (
            ratio(series[HAUL], series[CURL], 0.7, 1.0),
            ratio(series[HAUL], series[ARIA2]),
            ratio(series[HAUL_PROCESS], series[CURL]),
        ),
        ("Haul: range job, POST to finished_time, every object hashed (xxh64), with metadata, journaled",),
        outcome.problems,
    )
