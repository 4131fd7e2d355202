"""Planning a job: request and cluster map become one share per target, cut into batches; pure.

Sending them is left to `proxy.downloads.service`. A list is sharded here, in one vectorised pass, and no target sees
another's part. A range is not expanded here: every target gets the template and keeps the names that are its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.clustermap import ClusterMap, Node, NoTargets
from common.placement import digests, owners
from common.shares import JobSpec, TaskSpec
from proxy.downloads.requests import DownloadRequest
from proxy.downloads.tasks import RangeTasks, TaskList

BATCH_TASKS = 5_000
Batch = list[TaskSpec]


@dataclass(frozen=True, slots=True)
class Share:
    """One target's part of a job; without `positions` the target expands the template itself."""

    target: Node
    tasks: TaskList | None = None
    positions: NDArray[np.intp] | None = None

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
        for begin in range(0, len(self.positions), BATCH_TASKS):
            block = self.positions[begin : begin + BATCH_TASKS].tolist()
            yield [
                TaskSpec(position, names[position], links[position], expected.get(names[position]))
                for position in block
            ]


@dataclass(frozen=True, slots=True)
class Plan:
    """A job ready to be sent: what its shares have in common, and the shares that are not empty."""

    spec: JobSpec
    shares: tuple[Share, ...]


def plan(job_id: str, request: DownloadRequest, bucket_id: int, cluster_map: ClusterMap) -> Plan:
    """Shard a job over the targets of the map; raises NoTargets when there are none."""
    targets = cluster_map.candidates
    if not targets:
        raise NoTargets
    tasks = request.tasks
    if isinstance(tasks, RangeTasks):
        shares = tuple(Share(target) for target in targets)
    else:
        shares = tuple(_shares(tasks, request.bucket.uname, targets))
    spec = JobSpec(
        id=job_id,
        kind=request.kind,
        description=request.description,
        bucket=request.bucket,
        bucket_id=bucket_id,
        total=len(tasks),
        targets=tuple((target.id, target.digest) for target in targets),
        share_count=max(1, len(shares)),
        timeout_seconds=request.timeout_seconds,
        connections=request.connections,
        bytes_per_hour=request.bytes_per_hour,
        headers=request.headers,
        template=tasks.template.text if isinstance(tasks, RangeTasks) else "",
        subdir=tasks.subdir if isinstance(tasks, RangeTasks) else "",
        priority=request.priority,
    )
    return Plan(spec, shares)


def _shares(tasks: TaskList, uname: str, targets: tuple[Node, ...]) -> Iterator[Share]:
    owner_of = owners(digests(uname, tasks.names), [target.digest for target in targets])
    for index, target in enumerate(targets):
        positions = np.flatnonzero(owner_of == index)
        if len(positions):
            yield Share(target, tasks, positions)
