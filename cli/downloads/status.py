"""A job's status as the API answers it (wire.md §1.5), read into frozen values; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from cli import formats

_NOT_YET = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """One object that is being fetched; `total_bytes` is 0 when the origin did not say."""

    name: str
    downloaded_bytes: int
    total_bytes: int
    started: float


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that could not be fetched, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The whole job at one moment; times in unix seconds, `finished` 0 while it runs.

    `finished_count` includes what was skipped and removed. `stored_bytes` is None when the cluster does not say how
    many bytes it has fetched. `silent_targets` do not answer at the moment; their last known figures are in the sums.
    `source` is what was listed, with its version, where that is told. `wire` is the answer itself.
    """

    id: str
    description: str
    started: float
    finished: float
    finished_count: int
    scheduled_count: int
    skipped_count: int
    removed_count: int
    error_count: int
    total: int
    all_dispatched: bool
    aborted: bool
    stored_bytes: int | None
    current: tuple[Task, ...]
    failures: tuple[Failure, ...]
    silent_targets: tuple[str, ...]
    source: str
    wire: Mapping[str, Any]

    @property
    def is_over(self) -> bool:
        return self.finished > _NOT_YET

    @property
    def object_count(self) -> int:
        """How many objects the job has, as far as known."""
        return self.total if self.total > 0 else self.scheduled_count

    @property
    def done_count(self) -> int:
        return self.finished_count + self.error_count

    @property
    def succeeded(self) -> bool:
        return self.is_over and not self.aborted and not self.error_count

    @property
    def state(self) -> str:
        """One word: `running`, `paused`, `aborted`, `failed` (some object did not arrive), `finished`."""
        if not self.is_over:
            resting = "paused" if self.wire.get("paused") else "running"
            return "stopping" if self.aborted else resting
        if self.aborted:
            return "aborted"
        return "failed" if self.error_count else "finished"

    @property
    def duration_seconds(self) -> float:
        """From start to end; 0 while it runs."""
        return max(0.0, self.finished - self.started) if self.is_over else 0.0

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """Read an answer; fields that are missing count as zero."""
        finished_tasks = fields.get("finished_tasks") or ()
        stored = fields.get("downloaded_bytes")
        # AIStore does not count bytes, but lists all finished objects; a list with a `tasks_next` is only a part.
        if stored is None and finished_tasks and "tasks_next" not in fields:
            stored = sum(int(task.get("downloaded", 0)) for task in finished_tasks)
        return cls(
            id=str(fields.get("id", "")),
            description=str(fields.get("description", "")),
            started=unix_seconds(fields.get("started_time")),
            finished=unix_seconds(fields.get("finished_time")),
            finished_count=int(fields.get("finished_cnt", 0)),
            scheduled_count=int(fields.get("scheduled_cnt", 0)),
            skipped_count=int(fields.get("skipped_cnt", 0)),
            removed_count=int(fields.get("removed_cnt", 0)),
            error_count=int(fields.get("error_cnt", 0)),
            total=int(fields.get("total", 0)),
            all_dispatched=bool(fields.get("all_dispatched")),
            aborted=bool(fields.get("aborted")),
            stored_bytes=None if stored is None else int(stored),
            current=tuple(_task(task) for task in fields.get("current_tasks") or ()),
            failures=tuple(
                Failure(str(entry.get("name", "")), str(entry.get("error", "")))
                for entry in fields.get("download_errors") or ()
            ),
            silent_targets=tuple(str(target) for target in fields.get("stale_targets") or ()),
            source=str(fields.get("source", "")),
            wire=fields,
        )


def _task(fields: Mapping[str, Any]) -> Task:
    return Task(
        name=str(fields.get("name", "")),
        downloaded_bytes=int(fields.get("downloaded") or 0),
        total_bytes=int(fields.get("total") or 0),
        started=unix_seconds(fields.get("start_time")),
    )


def unix_seconds(text: object) -> float:
    """Unix seconds from RFC 3339 with any number of digits; 0 for "not yet" in either of its spellings."""
    if not isinstance(text, str) or not text:
        return _NOT_YET
    whole, dot, rest = text.rstrip("Z").partition(".")
    fraction = "".join(digit for digit in rest[:9] if digit.isdigit())
    try:
        moment = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return _NOT_YET
    return max(_NOT_YET, moment + (float(f"0.{fraction}") if dot and fraction else 0.0))


def when(unix: float) -> str:
    """A moment in local time for people."""
    return f"{datetime.fromtimestamp(unix).astimezone():%Y-%m-%d %H:%M:%S}" if unix else "-"


def summary(status: JobStatus, units: formats.Units) -> str:
    """The job in one line: objects, bytes, time, rate, what failed and where to read about it."""
    if status.is_over and not status.done_count and not status.aborted:
        return "nothing to do: the source has no such objects"
    objects = formats.count(status.finished_count - status.removed_count, "object")
    parts = [f"{objects} stored"]
    if status.skipped_count:
        parts[0] += f" ({formats.count(status.skipped_count)} of them unchanged, not fetched again)"
    if status.stored_bytes is not None:
        parts.append(formats.size(status.stored_bytes, units))
    if status.is_over:
        parts.append(f"in {formats.duration(status.duration_seconds)}")
        if status.stored_bytes and status.duration_seconds:
            parts.append(f"({formats.rate(status.stored_bytes / status.duration_seconds, units)})")
    text = ", ".join(parts[:2]) + ("" if len(parts) < 3 else " " + " ".join(parts[2:]))
    if status.removed_count:
        text += f", {formats.count(status.removed_count)} removed"
    if status.aborted:
        left = max(0, status.object_count - status.done_count)
        text = f"stopped before its end: {text}, {formats.count(left)} not fetched"
    if status.error_count:
        text += f", {formats.count(status.error_count)} FAILED"
    return text
