"""One large object from an origin that gives each connection only so much: what more streams bring."""

from __future__ import annotations

from pathlib import Path

from bench.contest import Bench, Contender, alternate, haul, warm_link
from bench.origins import CAPPED_PREFIX, CAPPED_RATE_BYTES, nginx
from bench.peers import Sample, aria2_split
from bench.results import Figure, RowResult, ratio
from bench.workspace import write_objects

_CONNECTIONS = 16
HAUL, ARIA2 = "Haul", f"aria2c -x{_CONNECTIONS} -s{_CONNECTIONS}"


def measure(bench: Bench) -> RowResult:
    """Compare with aria2c and sixteen connections; bar 1.0 x."""
    size = bench.scale.capped_bytes
    with bench.workspace.temporary("origin") as state:
        root = state / "root"
        (root / CAPPED_PREFIX).mkdir(parents=True)
        write_objects(root / CAPPED_PREFIX, "one-{}.bin", 1, size)
        write_objects(root, "same.bin", 1, 1024)
        with nginx(root, state) as origin:
            link = f"{origin.url}/{CAPPED_PREFIX}/one-0.bin"
            job = {"type": "single", "bucket": {"name": "bench"}, "link": link}

            def split(directory: Path) -> Sample:
                return aria2_split(link, directory, _CONNECTIONS)

            outcome = alternate(bench, [Contender(HAUL, haul(job, 1, warm_link(origin.url))), Contender(ARIA2, split)])
    series = outcome.rates("MB/s", size / 1e6)
    return RowResult(
        "capped",
        f"one {size >> 20} MiB object, origin caps each connection at {CAPPED_RATE_BYTES >> 20} MiB/s, "
        "1 target, 4 mountpaths, tmpfs",
        tuple(series.values()),
        (
            ratio(series[HAUL], series[ARIA2], 1.0),
            Figure("one connection", CAPPED_RATE_BYTES / 1e6, "MB/s", "higher", None, None),
        ),
        (),
        outcome.problems,
    )
