"""A cluster of three targets that a range job of many small objects has just filled; used by the rows about many."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from bench.client import HaulClient, JobRun, range_job
from bench.cluster import Cluster, running_cluster
from bench.contest import Bench, warm_link
from bench.origins import SAME_PREFIX, nginx
from bench.workspace import write_objects

_JOB_SECONDS = 300
_POLL_SECONDS = 0.1
OBJECT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Filled:
    """The cluster, still running, and the job that filled its bucket `bench`."""

    cluster: Cluster
    run: JobRun


@contextlib.contextmanager
def filled_cluster(bench: Bench, count: int) -> Iterator[Filled]:
    """Start it and run the job to its end."""
    with bench.workspace.temporary("origin") as state, bench.workspace.temporary("run") as directory:
        write_objects(state, "same.bin", 1, OBJECT_BYTES)
        with (
            nginx(state, state) as origin,
            running_cluster(directory, targets=3, warm_link=warm_link(origin.url)) as cluster,
        ):
            with HaulClient(cluster.endpoint) as client:
                job = range_job("bench", f"{origin.url}/{SAME_PREFIX}/m-{{000000..{count - 1:06d}}}")
                run = client.run_job(job, timeout_seconds=_JOB_SECONDS, poll_seconds=_POLL_SECONDS)
            bench.say(f"  a range job of {count:,} objects took {run.seconds:.2f} s")
            yield Filled(cluster, run)
