"""One tiny object from POST to finished: what a job costs that hardly moves any bytes."""

from __future__ import annotations

from bench.client import HaulClient, single_job
from bench.cluster import running_cluster
from bench.contest import Bench, job_sample, warm_link
from bench.origins import nginx
from bench.peers import curl_one
from bench.results import Figure, RowResult, Series
from bench.workspace import write_objects

_POLL_SECONDS = 0.002
_JOB_SECONDS = 30


def measure(bench: Bench) -> RowResult:
    """Median of many jobs, one after the other, in turn with a curl process each; bar 100 ms."""
    recorded: list[float] = []
    observed: list[float] = []
    accepted: list[float] = []
    processes: list[float] = []
    problems: list[str] = []
    with bench.workspace.temporary("origin") as state, bench.workspace.temporary("run") as directory:
        write_objects(state, "same.bin", 1, 1024)
        with (
            nginx(state, state) as origin,
            running_cluster(directory, warm_link=warm_link(origin.url)) as cluster,
            HaulClient(cluster.endpoint) as client,
        ):
            for number in range(bench.scale.single_repeats):
                job = single_job("bench", f"one-{number}", f"{origin.url}/same/{number}")
                run = client.run_job(job, timeout_seconds=_JOB_SECONDS, poll_seconds=_POLL_SECONDS)
                sample = job_sample(run, 1)
                recorded.append(sample.seconds * 1000)
                observed.append(run.observed_seconds * 1000)
                accepted.append(run.accepted_seconds * 1000)
                peer = curl_one(f"{origin.url}/same/{number}", directory / f"curl-{number}")
                processes.append(peer.seconds * 1000)
                problems += (*sample.problems, *peer.problems)
    seen = Series("Haul, as its client sees it", "ms", tuple(observed))
    return RowResult(
        "single",
        "one 1 KiB object, POST to finished, 1 target, 4 mountpaths, tmpfs",
        (
            seen,
            Series("Haul, finished_time", "ms", tuple(recorded)),
            Series("Haul, POST answered", "ms", tuple(accepted)),
            Series("one curl process", "ms", tuple(processes)),
        ),
        (Figure("POST to finished", seen.median, "ms", "lower", 100, 30),),
        (f"status polled every {_POLL_SECONDS * 1000:.0f} ms; {bench.scale.single_repeats} jobs, one after the other",),
        tuple(dict.fromkeys(problems)),
    )
