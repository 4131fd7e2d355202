"""Planning a job: request and cluster map become one share per target, cut into batches; pure.

Sending them is left to `proxy.downloads.service`. A list is sharded here, in one vectorised pass, and no target sees
another's part. A range is not expanded here: every target gets the template and keeps the names that are its own. Of
every share another target keeps a copy, so that what is to be downloaded outlives whom it was given to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from common.bulkplacement import digests, owners
from common.clustermap import ClusterMap, Node, NoTargets
from common.placement import choose, digest
from common.shares import JobSpec, TaskSpec
from proxy.downloads.records import Assignment
from proxy.downloads.requests import DownloadRequest
from proxy.downloads.sourcejobs import SourceJob
from proxy.downloads.tasks import RangeTasks, TaskList

BATCH_TASKS = 5_000
Batch = list[TaskSpec]


@dataclass(frozen=True, slots=True)
class Share:
    """One target's part of a job; without `positions` the target expands the template itself.

    `keeper` keeps a copy of what the target gets. In the job the tasks' positions begin with `first_position`.
    """

    target: Node
    keeper: Node | None = None
    tasks: TaskList | None = None
    positions: NDArray[np.intp] | None = None
    first_position: int = 0

    @property
    def batch_count(self) -> int:
        """How many batches there are."""
        return 1 if self.positions is None else -(-len(self.positions) // BATCH_TASKS)

    def batches(self) -> Iterator[Batch]:
        """The tasks in batches of at most BATCH_TASKS, in the order of their positions; one empty batch for a range."""
        if self.tasks is None or self.positions is None:
            yield []
            return
        names, links, expected = self.tasks.names, self.tasks.links, self.tasks.expected
        first, removes_ns = self.first_position, self.tasks.removes_ns
        for begin in range(0, len(self.positions), BATCH_TASKS):
            block = self.positions[begin : begin + BATCH_TASKS].tolist()
            yield [
                TaskSpec(
                    first + index,
                    names[index],
                    links[index],
                    expected.get(names[index]),
                    removes_ns.get(names[index], 0),
                )
                for index in block
            ]


@dataclass(frozen=True, slots=True)
class Plan:
    """A job ready to be sent: what its shares have in common, and the shares that are not empty."""

    spec: JobSpec
    shares: tuple[Share, ...]


def plan(
    job_id: str, request: DownloadRequest, bucket_id: int, cluster_map: ClusterMap, piece: TaskList | None = None
) -> Plan:
    """Shard a job over the targets of the map; raises NoTargets when there are none.

    Of a job whose source is still being listed `piece` are the first tasks; its total is not known, which the dialect
    writes as -1 for each target.
    """
    targets = cluster_map.candidates
    if not targets:
        raise NoTargets
    tasks = request.tasks
    total = -len(targets)
    if isinstance(tasks, SourceJob):
        tasks = piece if piece is not None else TaskList([], [])
    if request.dry_run or not isinstance(request.tasks, SourceJob):
        total = len(tasks)
    if isinstance(tasks, RangeTasks):
        shares = tuple(Share(target, keeper_for(job_id, target.id, targets)) for target in targets)
    else:
        shares = tuple(_shares(job_id, tasks, request.bucket.uname, targets))
    spec = JobSpec(
        id=job_id,
        kind=request.kind,
        description=request.description,
        bucket=request.bucket,
        bucket_id=bucket_id,
        total=total,
        targets=tuple((target.id, target.digest) for target in targets),
        share_count=max(1, len(shares) if total >= 0 else len(targets)),
        timeout_seconds=request.timeout_seconds,
        connections=request.connections,
        bytes_per_hour=request.bytes_per_hour,
        headers=request.headers,
        sealed=request.sealed,
        template=tasks.template.text if isinstance(tasks, RangeTasks) else "",
        subdir=tasks.subdir if isinstance(tasks, RangeTasks) else "",
        priority=request.priority,
        source=request.source,
    )
    return Plan(spec, shares)


def plan_more(spec: JobSpec, tasks: TaskList, first_position: int, cluster_map: ClusterMap, assignment: str) -> Plan:
    """Shard further tasks of a job that has begun as one more assignment of it; raises NoTargets."""
    targets = cluster_map.candidates
    if not targets:
        raise NoTargets
    shares = _shares(spec.id, tasks, spec.bucket.uname, targets, first_position)
    pairs = tuple((target.id, target.digest) for target in targets)
    return Plan(replace(spec, targets=pairs, assignment=assignment, share_count=len(targets)), tuple(shares))


def keeper_for(job_id: str, holder_id: str, targets: Sequence[Node]) -> Node | None:
    """Who keeps a copy of a holder's list of tasks: another target, by placement; None when there is no other."""
    others = [target for target in targets if target.id != holder_id]
    if not others:
        return None
    return others[choose(digest(f"{job_id}/{holder_id}"), [target.digest for target in others])]


def assignment_of(plan: Plan, copies: Sequence[tuple[str, str]]) -> Assignment:
    """How a planned job's record tells who holds what, and (holder, keeper) of whose copies are kept."""
    return Assignment(
        token=plan.spec.assignment,
        holders=tuple(share.target.id for share in plan.shares),
        planned=tuple(target for target, _ in plan.spec.targets),
        copies=tuple(copies),
    )


def _shares(
    job_id: str, tasks: TaskList, uname: str, targets: tuple[Node, ...], first_position: int = 0
) -> Iterator[Share]:
    owner_of = owners(digests(uname, tasks.names), [target.digest for target in targets])
    for index, target in enumerate(targets):
        positions = np.flatnonzero(owner_of == index)
        if len(positions):
            yield Share(target, keeper_for(job_id, target.id, targets), tasks, positions, first_position)
