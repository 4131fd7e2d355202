"""The same job again, nothing changed: what it costs to find that out."""

from __future__ import annotations

from pathlib import Path

from bench.client import HaulClient, range_job
from bench.cluster import running_cluster
from bench.contest import Bench, Contender, alternate, job_sample, warm_link
from bench.origins import nginx
from bench.peers import Sample, curl_heads
from bench.results import RowResult, ratio
from bench.workspace import write_objects

HAUL, CURL = "Haul, again", "curl -Z -I --parallel-max 32"


def measure(bench: Bench) -> RowResult:
    """Compare with curl that asks for the heads; bar 0.7 x."""
    scale = bench.scale
    count = scale.small_objects
    with bench.workspace.temporary("origin") as state:
        root = state / "root"
        (root / "o").mkdir(parents=True)
        write_objects(root / "o", "s-{:05d}.bin", count, scale.small_bytes)
        write_objects(root, "same.bin", 1, 1024)
        with nginx(root, state) as origin:
            links = [f"{origin.url}/o/s-{number:05d}.bin" for number in range(count)]
            job = range_job("bench", f"{origin.url}/o/s-{{00000..{count - 1:05d}}}.bin")

            def again(directory: Path) -> Sample:
                with (
                    running_cluster(directory, warm_link=warm_link(origin.url)) as cluster,
                    HaulClient(cluster.endpoint) as client,
                ):
                    client.run_job(job, timeout_seconds=600, poll_seconds=0.05)
                    run = client.run_job(job, timeout_seconds=600, poll_seconds=0.05)
                return job_sample(run, count)

            def heads(directory: Path) -> Sample:
                return curl_heads(links, directory, 32)

            outcome = alternate(bench, [Contender(HAUL, again), Contender(CURL, heads)])
    series = outcome.rates("objects/s", count)
    return RowResult(
        "rerun",
        f"again: {count:,} x {scale.small_bytes >> 10} KiB, unchanged, nginx on loopback, 1 target, tmpfs",
        tuple(series.values()),
        (ratio(series[HAUL], series[CURL], 0.7),),
        ("every object is asked for with If-None-Match and counted as skipped",),
        outcome.problems,
    )
