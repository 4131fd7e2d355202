"""Messages between proxy and target survive msgpack, and those of a newer peer are understood."""

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from common.names import Bucket
from common.shares import JobSpec, Planned, ShareStatus, TaskProgress

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
UINT64 = st.integers(0, 2**64 - 1)
COUNT = st.integers(0, 2**63 - 1)
SPECS = st.builds(
    JobSpec,
    id=TEXT,
    kind=st.sampled_from(["single", "multi", "range"]),
    description=TEXT,
    bucket=st.sampled_from([Bucket("b"), Bucket("b.c", "aws"), Bucket("b", "ais", "uuid", "ns")]),
    bucket_id=UINT64,
    total=COUNT,
    targets=st.lists(st.tuples(TEXT, UINT64), max_size=4).map(tuple),
    share_count=st.integers(1, 100),
    timeout_seconds=st.floats(0, 1e6),
    connections=COUNT,
    bytes_per_hour=COUNT,
    headers=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    template=TEXT,
    subdir=TEXT,
    assignment=TEXT,
    lost=st.lists(TEXT, max_size=3).map(tuple),
    earlier=st.lists(
        st.builds(
            Planned, st.lists(TEXT, max_size=2).map(tuple), st.lists(st.tuples(TEXT, UINT64), max_size=3).map(tuple)
        ),
        max_size=2,
    ).map(tuple),
)
TASKS = st.lists(st.builds(TaskProgress, COUNT, TEXT, COUNT, COUNT, COUNT, COUNT, TEXT), max_size=3).map(tuple)
STATUSES = st.builds(
    ShareStatus,
    share_id=TEXT,
    scheduled=COUNT,
    finished=COUNT,
    skipped=COUNT,
    errors=COUNT,
    bytes=COUNT,
    all_dispatched=st.booleans(),
    aborted=st.booleans(),
    started_ns=COUNT,
    finished_ns=COUNT,
    current_tasks=TASKS,
    finished_tasks=TASKS,
    error_tasks=TASKS,
)


@given(SPECS)
def test_a_job_is_the_same_after_packing(spec: JobSpec) -> None:
    assert JobSpec.unpack(spec.pack()) == spec


@given(SPECS)
def test_fields_of_a_newer_job_are_ignored(spec: JobSpec) -> None:
    plain = msgpack.unpackb(spec.pack()) | {"urgency": 7, "pack": "x", "newer": {"a": [1]}}
    assert JobSpec.unpack(msgpack.packb(plain)) == spec


@given(SPECS)
def test_optional_fields_that_an_older_peer_does_not_send_have_their_defaults(spec: JobSpec) -> None:
    plain = msgpack.unpackb(spec.pack())
    for name in ("share_count", "template", "subdir", "assignment", "lost", "earlier"):
        del plain[name]
    unpacked = JobSpec.unpack(msgpack.packb(plain))
    assert (unpacked.share_count, unpacked.template, unpacked.subdir) == (1, "", "")
    assert (unpacked.assignment, unpacked.lost, unpacked.earlier) == ("", (), ())


def test_headers_do_not_show_in_logs() -> None:
    spec = JobSpec("j", "single", "", Bucket("b"), 1, 1, (), headers=(("Authorization", "S3CRET"),))
    assert "S3CRET" not in repr(spec)


@given(STATUSES)
def test_a_status_is_the_same_after_msgpack(status: ShareStatus) -> None:
    assert ShareStatus.from_wire(msgpack.unpackb(msgpack.packb(status.to_wire()))) == status


@given(STATUSES)
def test_fields_of_a_newer_status_and_of_its_tasks_are_ignored(status: ShareStatus) -> None:
    plain = msgpack.unpackb(msgpack.packb(status.to_wire())) | {"newer": 1}
    for tasks in ("current_tasks", "finished_tasks", "error_tasks"):
        plain[tasks] = [[*task, "newer"] for task in plain[tasks]]
    assert ShareStatus.from_wire(plain) == status


def test_a_status_without_tasks() -> None:
    plain = ShareStatus("j", 1, 1, 0, 0, 5, True, False, 1, 2).to_wire()
    for tasks in ("current_tasks", "finished_tasks", "error_tasks"):
        del plain[tasks]
    assert ShareStatus.from_wire(plain).finished_tasks == ()
