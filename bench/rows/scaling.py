"""More targets against an origin that limits each connection: whether twice the targets bring twice the objects."""

from __future__ import annotations

from bench.client import HaulClient, range_job
from bench.cluster import running_cluster
from bench.contest import Bench, job_sample
from bench.origins import delayed
from bench.results import Figure, RowResult, Series

_TARGETS = (1, 2, 4, 8)
_CONNECTIONS = 16
_DELAY_SECONDS = 0.1
_OBJECT_BYTES = 4096
_JOB_SECONDS = 300
_POLL_SECONDS = 0.25


def measure(bench: Bench) -> RowResult:
    """Objects a second for each number of targets, with as many objects for each target; bar 0.9 of linear."""
    series: list[Series] = []
    problems: list[str] = []
    with (
        bench.workspace.temporary("origin") as state,
        delayed(_OBJECT_BYTES, _DELAY_SECONDS, state) as origin,
    ):
        for targets in _TARGETS:
            count = bench.scale.scaling_objects * targets
            job = range_job("bench", f"{origin.url}/o/{{000000..{count - 1:06d}}}")
            job["limits"] = {"connections": _CONNECTIONS}
            rates = []
            for number in range(min(3, bench.scale.runs)):
                with (
                    bench.workspace.temporary("run") as directory,
                    running_cluster(
                        directory, targets=targets, mountpaths=1, warm_link=f"{origin.url}/warm"
                    ) as cluster,
                    HaulClient(cluster.endpoint) as client,
                ):
                    run = client.run_job(job, timeout_seconds=_JOB_SECONDS, poll_seconds=_POLL_SECONDS)
                sample = job_sample(run, count)
                problems += sample.problems
                rates.append(count / sample.seconds)
                bench.say(f"  run {number + 1}, {targets} targets: {sample.seconds:.3f} s")
            series.append(Series(f"{targets} targets" if targets > 1 else "1 target", "objects/s", tuple(rates)))
    one = series[0].median
    return RowResult(
        "scaling",
        f"{bench.scale.scaling_objects:,} x 4 KiB for each target, {_CONNECTIONS} connections each, origin gives each "
        f"connection {1 / _DELAY_SECONDS:.0f} objects a second, tmpfs",
        tuple(series),
        tuple(
            Figure(f"{targets} targets, of linear", found.median / (targets * one), "x", "higher", 0.9, 1.0)
            for targets, found in zip(_TARGETS[1:], series[1:], strict=True)
        ),
        (),
        tuple(dict.fromkeys(problems)),
    )
