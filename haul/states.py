"""What the API tells of jobs, read into frozen values; pure. A field that is missing counts as zero or empty.

Sources: docs/wire.md, and wire.md §1.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

_DIGESTS = ("xxh64", "md5", "sha1", "sha256", "sha512", "crc32c", "gitsha1")
_FIRST_YEAR = 1971
"""Times before it are the wire's spellings of "not yet"."""


@dataclass(frozen=True, slots=True)
class Task:
    """One object of a job; `total_bytes` is 0 when the origin did not say, `ended` None while it is on its way."""

    name: str
    downloaded_bytes: int
    total_bytes: int
    started: datetime | None
    ended: datetime | None

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """An entry of `current_tasks` or `finished_tasks`."""
        return cls(
            str(fields.get("name", "")),
            int(fields.get("downloaded") or 0),
            int(fields.get("total") or 0),
            moment(fields.get("start_time")),
            moment(fields.get("end_time")),
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that could not be fetched, and why."""

    name: str
    reason: str

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """An entry of `download_errors`."""
        return cls(str(fields.get("name", "")), str(fields.get("error", "")))


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A whole job at one moment; `ended` is None while it runs.

    `finished_count` includes what was skipped, because it was here already, and removed. `total_count` is None as long
    as it is not known. `stored_bytes` are those of finished objects. `current` are the longest running transfers.
    `failures` are those that the answer tells, of which `Client.failures` knows all. `silent_targets` do not answer at
    the moment, and their last known figures are in the sums. `source` is what was listed, with its version, where that
    is told. `wire` is the answer itself.
    """

    id: str
    description: str
    started: datetime | None
    ended: datetime | None
    finished_count: int
    scheduled_count: int
    skipped_count: int
    removed_count: int
    error_count: int
    total_count: int | None
    stored_bytes: int
    is_aborted: bool
    is_paused: bool
    current: tuple[Task, ...]
    failures: tuple[Failure, ...]
    silent_targets: tuple[str, ...]
    source: str
    wire: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will happen any more."""
        return self.ended is not None

    @property
    def done_count(self) -> int:
        """How many objects are through, well or not."""
        return self.finished_count + self.error_count

    @property
    def duration_seconds(self) -> float:
        """From start to end; 0 while it runs."""
        if self.started is None or self.ended is None:
            return 0.0
        return max(0.0, (self.ended - self.started).total_seconds())

    @property
    def succeeded(self) -> bool:
        """Whether it is over and every object is here."""
        return self.is_over and not self.is_aborted and not self.error_count

    @property
    def state(self) -> str:
        """`running`, `paused`, `stopping`, `aborted`, `failed` (some object did not arrive) or `finished`."""
        if not self.is_over:
            return "stopping" if self.is_aborted else "paused" if self.is_paused else "running"
        return "aborted" if self.is_aborted else "failed" if self.error_count else "finished"

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """An answer to a query for one job, or an entry of a list."""
        total, scheduled = int(fields.get("total", 0)), int(fields.get("scheduled_cnt", 0))
        return cls(
            id=str(fields.get("id", "")),
            description=str(fields.get("description", "")),
            started=moment(fields.get("started_time")),
            ended=moment(fields.get("finished_time")),
            finished_count=int(fields.get("finished_cnt", 0)),
            scheduled_count=scheduled,
            skipped_count=int(fields.get("skipped_cnt", 0)),
            removed_count=int(fields.get("removed_cnt", 0)),
            error_count=int(fields.get("error_cnt", 0)),
            total_count=total if total > 0 else scheduled if fields.get("all_dispatched") else None,
            stored_bytes=int(fields.get("downloaded_bytes", 0)),
            is_aborted=bool(fields.get("aborted")),
            is_paused=bool(fields.get("paused")),
            current=tuple(Task.from_wire(task) for task in fields.get("current_tasks") or ()),
            failures=tuple(Failure.from_wire(entry) for entry in fields.get("download_errors") or ()),
            silent_targets=tuple(str(target) for target in fields.get("stale_targets") or ()),
            source=str(fields.get("source", "")),
            wire=fields,
        )


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """What has become of one object; `state` is `finished`, `skipped`, `removed` or `failed`, `error` says why.

    `digests` are those that were verified, of a failed object those expected; `grade` is how strongly (`user`,
    `source`, `size`, `none`). `wire` is the line itself, which may be a line of a manifest again.
    """

    name: str
    link: str
    state: str
    size_bytes: int
    digests: Mapping[str, str]
    grade: str
    attempts: int
    node: str
    started: datetime | None
    ended: datetime | None
    error: str
    wire: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """One line, decoded."""
        return cls(
            name=str(fields.get("name", "")),
            link=str(fields.get("link", "")),
            state=str(fields.get("state", "")),
            size_bytes=int(fields.get("size") or 0),
            digests={name: str(fields[name]) for name in _DIGESTS if fields.get(name)},
            grade=str(fields.get("grade", "")),
            attempts=int(fields.get("attempts") or 0),
            node=str(fields.get("node", "")),
            started=moment(fields.get("start_time")),
            ended=moment(fields.get("end_time")),
            error=str(fields.get("error", "")),
            wire=fields,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of a job's story: what was changed, and why; `origin` is empty for what is not about one."""

    time: datetime | None
    target: str
    origin: str
    connections_before: int
    connections: int
    reason: str

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """An entry of `decisions`."""
        return cls(
            moment(fields.get("time")),
            str(fields.get("target", "")),
            str(fields.get("origin", "")),
            int(fields.get("connections_before") or 0),
            int(fields.get("connections") or 0),
            str(fields.get("reason", "")),
        )


@dataclass(frozen=True, slots=True)
class Survey:
    """What a job would do: of `object_count`, how many were looked for here, are here, and would be fetched.

    `estimated_bytes` is what the whole job has, as far as the origins have told; `remove_count` is None without `sync`.
    """

    object_count: int
    checked_count: int
    present_count: int
    fetch_count: int
    error_count: int
    estimated_bytes: int
    remove_count: int | None
    failures: tuple[Failure, ...]
    wire: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """The answer to a dry run."""
        known_bytes = int(fields.get("bytes") or 0)
        return cls(
            int(fields.get("objects") or 0),
            int(fields.get("checked") or 0),
            int(fields.get("present") or 0),
            int(fields.get("to_fetch") or 0),
            int(fields.get("error_cnt") or 0),
            int(fields.get("bytes_estimate") or known_bytes),
            int(fields["to_remove"]) if "to_remove" in fields else None,
            tuple(Failure.from_wire(entry) for entry in fields.get("errors") or ()),
            fields,
        )


def moment(text: object) -> datetime | None:
    """A time of the wire; None for "not yet" in either of its spellings, and for what is no time."""
    if not isinstance(text, str) or not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.year >= _FIRST_YEAR else None
