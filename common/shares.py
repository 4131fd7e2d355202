"""What proxy and target tell each other about a job: the share that is assigned and the figures that come back.

Frozen messages and their msgpack form; nothing here sends or stores them. A share is one target's part of a job. It
arrives in numbered batches and stays inert until the job has been recorded in the meta store (`start`); a batch that
arrives twice is harmless. A job is assigned once when it starts, and again, in part, whenever targets are lost: each
assignment gives its own shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Self

import msgpack

from common.expectation import Expectation
from common.links import without_secrets
from common.names import Bucket
from common.versions import known_of, unknown_fields, unknown_of, with_unknown

DEFAULT_PRIORITY = 3
PRIORITIES = range(1, 6)
"""Each gets twice the turns of the one below it."""


class TaskSpec(NamedTuple):
    """One object of a job: its position in the whole job, its name, the link it comes from, what is known of it.

    With `removes_ns` it is to be removed, if it still is what came from the link and was stored at that time.
    """

    position: int
    name: str
    link: str
    expected: Expectation | None = None
    removes_ns: int = 0

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> Self:
        """Read msgpack's form; what a newer peer has appended is ignored."""
        return cls(*plain[: len(cls._fields)])


class Planned(NamedTuple):
    """One assignment of a job: over which (id, digest) pairs, and of which targets' tasks (of all, if empty)."""

    lost: tuple[str, ...]
    targets: tuple[tuple[str, int], ...]


def share_id(job_id: str, assignment: str) -> str:
    """What a share is called: by its job's id, and but for the first assignment by the assignment's token."""
    return f"{job_id}.{assignment}" if assignment else job_id


def split_share_id(name: str) -> tuple[str, str]:
    """Job id and assignment's token of a share; a job id has no dot."""
    job_id, _, assignment = name.partition(".")
    return job_id, assignment


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What all shares of one assignment of a job have in common.

    `targets` are the (id, digest) pairs that the assignment was planned over, `lost` the targets whose tasks it takes
    over (empty: it is the job's first), `earlier` the assignments before it, which the targets of a range job need to
    know whose task was whose. `connections` is per target and `bytes_per_hour` per cluster, 0 for unlimited; the latter
    is divided by `share_count`, the number of targets that have a part of the job. `total` counts the objects of the
    whole job. `template` is empty unless the target itself expands a range and keeps its own names; `is_cut` when it
    has lost what its links need to be fetched. `headers` are secrets; where the job carries credentials, these are
    `sealed` with them. `source` (what was listed, with its version) is shown.
    """

    id: str
    kind: str
    description: str
    bucket: Bucket
    bucket_id: int
    total: int
    targets: tuple[tuple[str, int], ...]
    share_count: int = 1
    timeout_seconds: float = 0.0
    connections: int = 0
    bytes_per_hour: int = 0
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    sealed: bytes = field(default=b"", repr=False)
    template: str = ""
    subdir: str = ""
    priority: int = DEFAULT_PRIORITY
    is_cut: bool = False
    assignment: str = ""
    lost: tuple[str, ...] = ()
    earlier: tuple[Planned, ...] = ()
    source: str = ""
    unknown: Mapping[str, Any] = unknown_fields()

    @property
    def share_id(self) -> str:
        """What the shares of this assignment are called."""
        return share_id(self.id, self.assignment)

    @property
    def plans(self) -> tuple[Planned, ...]:
        """All assignments up to this one, the first one first."""
        return (*self.earlier, Planned(self.lost, self.targets))

    def pack(self) -> bytes:
        """The msgpack form."""
        plain = with_unknown(asdict(self))
        plain["bucket"] = self.bucket.uname
        packed: bytes = msgpack.packb(plain)
        return packed

    def without_secrets(self) -> Self:
        """What a share that has ended still needs: the names, but neither headers nor what a link may hide.

        What is not known may be a secret, too.
        """
        template = without_secrets(self.template)
        is_cut = self.is_cut or template != self.template
        if template and "{" not in template:
            template += "#{0..0}"  # the range stood in what is gone; it had one value, or its names would have collided
        return replace(self, headers=(), sealed=b"", template=template, is_cut=is_cut, unknown={})

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read the msgpack form; fields of a newer peer are only kept."""
        unpacked = msgpack.unpackb(packed)
        plain = known_of(cls.__dataclass_fields__, unpacked)
        plain["unknown"] = unknown_of(cls.__dataclass_fields__, unpacked)
        plain["bucket"] = Bucket.from_uname(plain["bucket"])
        plain["targets"] = _pairs(plain["targets"])
        plain["lost"] = tuple(plain.get("lost", ()))
        plain["earlier"] = tuple(Planned(tuple(lost), _pairs(pairs)) for lost, pairs in plain.get("earlier", ()))
        plain["headers"] = tuple((name, value) for name, value in plain["headers"])
        return cls(**plain)


def _pairs(plain: Sequence[Sequence[Any]]) -> tuple[tuple[str, int], ...]:
    return tuple((node, digest) for node, digest in plain)


class TaskProgress(NamedTuple):
    """One task as status shows it: times in unix nanoseconds, `end_ns` 0 while it runs, `total` 0 when unknown."""

    position: int
    name: str
    downloaded: int
    total: int
    start_ns: int
    end_ns: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class ShareStatus:
    """One target's figures of one share; all counts are of tasks.

    `finished` includes `skipped` and `removed`; at the end `finished + errors == scheduled`. `all_dispatched` when
    nothing is left to expand. `finished_ns` is 0 while anything is still to do.
    """

    share_id: str
    scheduled: int
    finished: int
    skipped: int
    errors: int
    bytes: int
    all_dispatched: bool
    aborted: bool
    started_ns: int
    finished_ns: int
    current_tasks: Sequence[TaskProgress] = ()
    finished_tasks: Sequence[TaskProgress] = ()
    error_tasks: Sequence[TaskProgress] = ()
    removed: int = 0

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_wire(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_wire`'s form; fields of a newer peer are ignored."""
        known = known_of(cls.__dataclass_fields__, plain)
        for tasks in ("current_tasks", "finished_tasks", "error_tasks"):
            known[tasks] = tuple(TaskProgress(*task[: len(TaskProgress._fields)]) for task in known.get(tasks, ()))
        return cls(**known)
