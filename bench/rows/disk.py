"""The small row on the machine's disk: what durability costs where there is something to make durable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.contest import Bench, Contender, alternate, flat, haul_range, warm_link
from bench.machine import file_system_of
from bench.origins import nginx
from bench.peers import Sample, curl, sync_seconds
from bench.results import RowResult, ratio
from bench.workspace import write_objects

HAUL, HAUL_PROCESS = "Haul", "Haul, durability=process"
CURL, CURL_SYNC = "curl -Z --parallel-max 32", "curl -Z --parallel-max 32, then sync"


def measure(bench: Bench) -> RowResult:
    """Compare with curl, alone and followed by a sync of the file system; no bar."""
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
                    Contender(CURL_SYNC, flat(_curl_then_sync, links, 32)),
                    Contender(CURL, flat(curl, links, 32)),
                    Contender(HAUL_PROCESS, haul_range(template, scale.small_objects, warm, "process")),
                ],
                on_disk=True,
            )
    series = outcome.rates("objects/s", scale.small_objects)
    file_system = file_system_of(bench.workspace.fresh("probe", on_disk=True))
    return RowResult(
        "disk",
        f"{scale.small_objects:,} x {scale.small_bytes >> 10} KiB, the same on this machine's disk ({file_system})",
        tuple(series.values()),
        (ratio(series[HAUL], series[CURL_SYNC]), ratio(series[HAUL], series[CURL])),
        ("no bar is set; Haul makes every object durable before it is reported, curl nothing at all",),
        outcome.problems,
    )


def _curl_then_sync(links: Sequence[str], directory: Path, parallel: int) -> Sample:
    sample = curl(links, directory, parallel)
    return Sample(sample.seconds + sync_seconds(directory), sample.problems)
