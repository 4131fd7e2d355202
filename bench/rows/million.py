"""A range job of a million objects: how fast it is accepted, what memory it takes, how quick its status is."""

from __future__ import annotations

from bench.client import HaulClient, range_job
from bench.cluster import running_cluster
from bench.contest import Bench, warm_link
from bench.origins import SAME_PREFIX, nginx
from bench.results import Figure, RowResult, Series
from bench.workspace import write_objects

_TARGETS, _MOUNTPATHS = 3, 2
_JOB_SECONDS = 1_200
_POLL_SECONDS = 0.25


def measure(bench: Bench) -> RowResult:
    """Bars: 1 s, 400 MiB for a whole target, 100 ms at p99."""
    count = bench.scale.million_objects
    with bench.workspace.temporary("million") as directory:
        root = directory / "root"
        root.mkdir()
        write_objects(root, "same.bin", 1, 1024)
        state = directory / "nginx"
        state.mkdir()
        with (
            nginx(root, state) as origin,
            running_cluster(
                directory, targets=_TARGETS, mountpaths=_MOUNTPATHS, warm_link=warm_link(origin.url)
            ) as cluster,
            HaulClient(cluster.endpoint) as client,
        ):
            template = f"{origin.url}/{SAME_PREFIX}/{{{0:0{len(str(count - 1))}d}..{count - 1}}}"
            run = client.run_job(range_job("bench", template), timeout_seconds=_JOB_SECONDS, poll_seconds=_POLL_SECONDS)
            targets = [node for node in cluster.nodes if node.role == "target"]
            whole = Series("whole target", "MiB", tuple(node.own_bytes() / (1 << 20) for node in targets))
            peaks = Series("target process", "MiB", tuple(node.peak_rss_bytes() / (1 << 20) for node in targets))
    polls = sorted(run.status_seconds)
    return RowResult(
        "million",
        f"a range job of {count:,} x 1 KiB objects over {_TARGETS} targets ({_MOUNTPATHS} mountpaths each), tmpfs",
        (whole, peaks),
        (
            Figure("accepted in", run.accepted_seconds, "s", "lower", 1.0, None),
            Figure("largest target", max(whole.samples), "MiB", "lower", 400, None),
            Figure("status, p99", polls[int(len(polls) * 0.99)] * 1000, "ms", "lower", 100, None),
        ),
        (
            f"the job took {run.seconds:.1f} s ({count / run.seconds:,.0f} objects/s)",
            f"status while it ran: median {polls[len(polls) // 2] * 1000:.1f} ms, most {polls[-1] * 1000:.1f} ms, "
            f"{len(polls)} polls",
            "a whole target: its process, nursery and carriers, memory that they share counted once",
        ),
        tuple(run.problems(count)),
    )
