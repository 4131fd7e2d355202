"""Sharding a job: every task lands at its owner exactly once, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.clustermap import FLAG_MAINTENANCE, PROXY, TARGET, ClusterMap, Node, NoTargets
from common.names import Bucket
from common.shares import JobSpec
from common.template import parse_template
from proxy.downloads.planning import BATCH_TASKS, plan
from proxy.downloads.requests import DownloadRequest
from proxy.downloads.tasks import RangeTasks, TaskList

BUCKET = Bucket("demo")


def cluster_map(targets: int) -> ClusterMap:
    nodes = [Node(f"t{number}", TARGET, f"http://t{number}") for number in range(targets)]
    return ClusterMap(1, 1, (Node("p1", PROXY, "http://p1"), *nodes))


def request(names: list[str]) -> DownloadRequest:
    return DownloadRequest("multi", BUCKET, "d", TaskList(names, [f"http://h/{name}" for name in names]), 5.0, 2, 3)


@given(st.sets(st.text(min_size=1, max_size=8), max_size=50), st.integers(1, 5))
def test_every_task_goes_to_its_owner_once(names: set[str], targets: int) -> None:
    ordered = sorted(names)
    members = cluster_map(targets)
    planned = plan("dnl-x", request(ordered), 7, members)
    seen = {}
    for share in planned.shares:
        for batch in share.batches():
            for position, name, link, *_ in batch:
                assert members.owner(BUCKET, name).id == share.target.id
                assert (ordered[position], link) == (name, f"http://h/{name}")
                seen[position] = name
    assert seen == dict(enumerate(ordered))
    assert all(len(list(share.batches())) == share.batch_count > 0 for share in planned.shares)


def test_batches_are_bounded_and_in_order() -> None:
    names = [f"{number:06d}" for number in range(BATCH_TASKS * 2 + 1)]
    (share,) = plan("dnl-x", request(names), 7, cluster_map(1)).shares
    batches = list(share.batches())
    assert [len(batch) for batch in batches] == [BATCH_TASKS, BATCH_TASKS, 1]
    assert [task[0] for batch in batches for task in batch] == list(range(len(names)))


def test_a_range_sends_the_template_to_every_target() -> None:
    template = parse_template("http://h/{0..9}")
    planned = plan("dnl-x", DownloadRequest("range", BUCKET, "d", RangeTasks(template, "sub")), 7, cluster_map(3))
    assert [list(share.batches()) for share in planned.shares] == [[[]], [[]], [[]]]
    assert (planned.spec.template, planned.spec.subdir, planned.spec.total) == ("http://h/{0..9}", "sub", 10)


def test_the_spec_travels_and_carries_the_limits() -> None:
    planned = plan("dnl-x", request(["a"]), 7, cluster_map(2))
    spec = JobSpec.unpack(planned.spec.pack())
    assert spec == planned.spec
    assert (spec.id, spec.bucket_id, spec.timeout_seconds, spec.connections, spec.bytes_per_hour) == (
        "dnl-x",
        7,
        5.0,
        2,
        3,
    )
    assert [target for target, _ in spec.targets] == ["t0", "t1"]


def test_targets_that_leave_get_nothing() -> None:
    leaving = Node("t0", TARGET, "http://t0", flags=FLAG_MAINTENANCE)
    planned = plan("dnl-x", request([str(number) for number in range(50)]), 7, cluster_map(2).with_node(leaving))
    assert [share.target.id for share in planned.shares] == ["t1"]


def test_without_targets_nothing_can_be_planned() -> None:
    with pytest.raises(NoTargets, match="no storage targets in the cluster"):
        plan("dnl-x", request(["a"]), 7, cluster_map(0))
