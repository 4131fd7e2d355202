"""The record of a job in the meta store, and its life: committed, aborted, summarised, removed; pure.

Nothing per object and no secret is in it: tasks, links and headers are in the targets' journals.

    absent ──commit──> running ──summary──> finished ──remove──> removed ──all targets know──> absent
       │                  └──abort──> aborted ──summary──> finished
       └──a target asks for a decision──> dropped (expires)

`dropped` and `removed` are tombstones: the key stays, so that a slow proxy cannot commit the job afterwards, and a
target that was away can still be told. `pending` names the targets that have not heard of the latest abort or removal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import msgpack

from common.shares import JobSpec


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

    @property
    def is_finished(self) -> bool:
        """The figures will not change any more."""
        return self.summary is not None

    def aborting(self, now_ns: int) -> JobRecord:
        """Aborted now, and every target is to be told."""
        return replace(self, aborted_ns=self.aborted_ns or now_ns, pending=self.targets)

    def removing(self) -> JobRecord:
        """Removed, and every target is to be told."""
        return replace(self, gone=True, pending=self.targets)

    def told(self, targets: Iterable[str]) -> JobRecord:
        """These targets know of the latest abort or removal."""
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
        spec.id, spec.kind, spec.description, spec.bucket.uname, spec.total, shares, now_ns, summary=summary
    )


def dropped(job_id: str) -> JobRecord:
    """The tombstone of a job that was never committed."""
    return JobRecord(job_id, gone=True)
