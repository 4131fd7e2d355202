"""The most memory that every process of a cluster has resident during a range job of many objects."""

from __future__ import annotations

from bench.contest import Bench
from bench.results import Figure, RowResult, Series
from bench.rows.filled import OBJECT_BYTES, filled_cluster

_BAR_MIB = 250


def measure(bench: Bench) -> RowResult:
    """The kernel's own high-water mark of every process; bar 250 MiB. Also the job's speed and its status's."""
    count = bench.scale.listed_objects
    with filled_cluster(bench, count) as filled:
        peaks = {node.id: (node.role, node.peak_rss_bytes() / (1 << 20)) for node in filled.cluster.nodes}
        whole = max(node.own_bytes() / (1 << 20) for node in filled.cluster.nodes if node.role == "target")
    proxies = Series("proxy", "MiB", tuple(mib for role, mib in peaks.values() if role == "proxy"))
    targets = Series("target", "MiB", tuple(mib for role, mib in peaks.values() if role == "target"))
    run = filled.run
    polls = sorted(run.status_seconds)
    return RowResult(
        "memory",
        f"a range job of {count:,} x {OBJECT_BYTES >> 10} KiB objects over 3 targets (4 mountpaths each), tmpfs",
        (targets, proxies),
        (Figure("largest process", max(mib for _, mib in peaks.values()), "MiB", "lower", _BAR_MIB, None),),
        (
            f"the job took {run.seconds:.2f} s ({count / run.seconds:,.0f} objects/s), accepted in "
            f"{run.accepted_seconds * 1000:.0f} ms",
            f"a whole target (its process, nursery and carriers, shared memory once): {whole:.0f} MiB",
            f"status while it ran: median {polls[len(polls) // 2] * 1000:.1f} ms, "
            f"p99 {polls[int(len(polls) * 0.99)] * 1000:.1f} ms, {len(polls)} polls",
        ),
        tuple(run.problems(count)),
    )
