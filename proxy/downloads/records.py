"""The record of a job in the meta store, and its life: committed, aborted, summarised, removed; pure.

Nothing per object and no secret is in it: tasks, links and headers are in the targets' journals.

    absent ──commit──> running ──summary──> finished ──remove──> removed ──all targets know──> absent
       │                  └──abort──> aborted ──summary──> finished
       └──a target asks for a decision──> dropped (expires)

A job that runs may be paused and resumed. `dropped` and `removed` are tombstones: the key stays, so that a slow proxy
cannot commit the job afterwards, and a target that was away can still be told. `pending` names the targets that have
not heard of the latest change (pause, resume, abort, removal), whose number is `change`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import msgpack

from common.errors import InvalidRequest, JobNotFound
from common.shares import DEFAULT_PRIORITY, JobSpec


@dataclass(frozen=True, slots=True)
class Figures:
    """The counters of a job over all its targets; `finished_ns` is 0 while anything is still to do."""

    scheduled: int = 0
    finished: int = 0
    skipped: int = 0
    errors: int = 0
    bytes: int = 0
    all_dispatched: bool = True
    aborted: bool = False
    started_ns: int = 0
    finished_ns: int = 0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as all proxies know it; `targets` are the ids that hold a share, `gone` marks a tombstone."""

    id: str
    kind: str = ""
    description: str = ""
    bucket: str = ""
    total: int = 0
    targets: tuple[str, ...] = ()
    created_ns: int = 0
    aborted_ns: int = 0
    summary: Figures | None = None
    pending: tuple[str, ...] = ()
    gone: bool = False
    paused: bool = False
    change: int = 0
    priority: int = DEFAULT_PRIORITY

    @property
    def is_finished(self) -> bool:
        """The figures will not change any more."""
        return self.summary is not None

    @property
    def actions(self) -> tuple[str, ...]:
        """What a target is to be told, that has missed the latest change."""
        if self.gone:
            return ("abort", "remove")
        if self.aborted_ns:
            return ("abort",)
        return ("pause",) if self.paused else ("resume",)

    def aborting(self, now_ns: int) -> JobRecord:
        """Aborted now, and every target is to be told; one that has ended is only marked. Raises JobNotFound."""
        self._check_here()
        pending = () if self.is_finished else self.targets
        return replace(
            self, aborted_ns=self.aborted_ns or now_ns, paused=False, pending=pending, change=self.change + 1
        )

    def pausing(self, *, paused: bool) -> JobRecord:
        """Paused, or resumed; every target is to be told. Raises JobNotFound, InvalidRequest when the job has ended."""
        self._check_here()
        if self.is_finished or self.aborted_ns:
            verb = "paused" if paused else "resumed"
            raise InvalidRequest(f'job "{self.id}" has ended, it cannot be {verb}')
        if self.paused == paused:
            return self
        return replace(self, paused=paused, pending=self.targets, change=self.change + 1)

    def removing(self) -> JobRecord:
        """Removed, and every target is to be told."""
        return replace(self, gone=True, pending=self.targets, change=self.change + 1)

    def _check_here(self) -> None:
        if self.gone:
            raise JobNotFound(self.id)

    def told(self, targets: Iterable[str], change: int) -> JobRecord:
        """These targets know of a change; unless it was the latest, that does not say that they know that one."""
        if change != self.change:
            return self
        known = set(targets)
        return replace(self, pending=tuple(target for target in self.pending if target not in known))

    def pack(self) -> bytes:
        """The msgpack form."""
        packed: bytes = msgpack.packb(asdict(self))
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read the msgpack form; fields of a newer proxy are ignored."""
        plain = _known(msgpack.unpackb(packed), cls.__dataclass_fields__)
        plain["targets"], plain["pending"] = tuple(plain["targets"]), tuple(plain["pending"])
        if plain["summary"] is not None:
            plain["summary"] = Figures(**_known(plain["summary"], Figures.__dataclass_fields__))
        return cls(**plain)


def _known(plain: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key in fields}


def new_record(spec: JobSpec, targets: Iterable[str], now_ns: int) -> JobRecord:
    """The record that commits a planned job; one without tasks has finished at once."""
    shares = tuple(targets)
    summary = None if shares else Figures(started_ns=now_ns, finished_ns=now_ns)
    return JobRecord(
        spec.id,
        spec.kind,
        spec.description,
        spec.bucket.uname,
        spec.total,
        shares,
        now_ns,
        summary=summary,
        priority=spec.priority,
    )


def dropped(job_id: str) -> JobRecord:
    """The tombstone of a job that was never committed."""
    return JobRecord(job_id, gone=True)
