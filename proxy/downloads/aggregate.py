"""Many targets' figures become one job's status, in the dialect's JSON; pure.

Asking the targets, and remembering what they said last, is left to `proxy.downloads.service`. Semantics and field
order: wire.md §1.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.shares import DEFAULT_PRIORITY, ShareStatus, TaskProgress
from common.units import EPOCH, format_time
from proxy.downloads.records import Figures, JobRecord

_JOB, _XACTION = "dnl-", "x"


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of a job's shares: `shares` by (share id, target id), `stale` those whose figures are not of now.

    A share is stale when its target did not answer or does not know it; it may then be missing from `shares`.
    """

    shares: Mapping[tuple[str, str], ShareStatus]
    stale: Sequence[tuple[str, str]] = ()

    @property
    def stale_targets(self) -> list[str]:
        """The targets of what is stale."""
        return sorted({target for _, target in self.stale})


def merge(record: JobRecord, answers: Answers) -> Figures:
    """The job's figures over all its shares.

    A job has finished when all its shares have. A stale share that had not finished is unfinished, except in an aborted
    job: its target will hear of the abort before it does anything else.
    """
    if record.summary is not None:
        return record.summary
    expected = record.shares
    shares = [answers.shares[key] for key in expected if key in answers.shares]
    ended = {key for key, share in answers.shares.items() if share.finished_ns}
    lost = set(answers.stale) - ended
    unfinished = not ended.union(lost if record.aborted_ns else ()).issuperset(expected)
    is_listing = record.is_listing and not record.aborted_ns
    listing_errors = record.listing.error_count if record.listing is not None else 0
    starts = [share.started_ns for share in shares if share.started_ns]
    ends = [share.finished_ns for share in shares]
    return Figures(
        scheduled=sum(share.scheduled for share in shares) + listing_errors,
        finished=sum(share.finished for share in shares),
        skipped=sum(share.skipped for share in shares),
        errors=sum(share.errors for share in shares) + listing_errors,
        bytes=sum(share.bytes for share in shares),
        all_dispatched=not record.is_listing
        and len(shares) == len(expected)
        and all(share.all_dispatched for share in shares),
        aborted=bool(record.aborted_ns) or any(share.aborted for share in shares),
        started_ns=min(starts, default=record.created_ns),
        finished_ns=0 if unfinished or is_listing else max(*ends, record.created_ns, record.aborted_ns if lost else 0),
        removed=sum(share.removed for share in shares),
    )


def job_json(
    record: JobRecord, figures: Figures, stale: Iterable[str] = (), *, with_bytes: bool = False
) -> dict[str, Any]:
    """One job as lists show it.

    Extensions: `removed_cnt`, `stale_targets`, `paused`, `priority` and `source`, left out when there is nothing to
    say, and `downloaded_bytes` of finished objects, where asked for.
    """
    fields: dict[str, Any] = {
        "id": record.id,
        "xaction_id": xaction_id_of(record.id),
        "description": record.description,
        "started_time": format_time(figures.started_ns or record.created_ns),
        "finished_time": format_time(figures.finished_ns),
        "finished_cnt": figures.finished,
        "scheduled_cnt": figures.scheduled,
        "skipped_cnt": figures.skipped,
        "error_cnt": figures.errors,
        "total": record.total,
        "all_dispatched": figures.all_dispatched,
        "aborted": figures.aborted or bool(record.aborted_ns),
    }
    if figures.removed:
        fields["removed_cnt"] = figures.removed
    if with_bytes:
        fields["downloaded_bytes"] = figures.bytes
    if record.paused:
        fields["paused"] = True
    if record.priority != DEFAULT_PRIORITY:
        fields["priority"] = record.priority
    if record.source:
        fields["source"] = record.source
    if late := sorted(stale):
        fields["stale_targets"] = late
    return fields


def tasks_json(
    shares: Iterable[ShareStatus],
    limit: int,
    after: int | None,
    *,
    only_active: bool,
    listing_errors: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """The task lists of a status, each left out when empty, sorted by name.

    At most `limit` finished tasks and as many errors are shown, those of the lowest positions beyond `after`. When
    there are more, `tasks_next` is the position to go on from; a page asked for by `after` ends there in both lists.
    """
    shares = list(shares)
    clock = _TimeTexts()
    fields: dict[str, Any] = {}
    current = sorted((task for share in shares for task in share.current_tasks), key=_by_name)
    if current:
        fields["current_tasks"] = [_task_json(task, clock) for task in current]
    if only_active:
        return fields
    errors, errors_end = _page((task for share in shares for task in share.error_tasks), limit)
    finished, finished_end = _page(
        (task for share in shares for tasks in (share.finished_tasks, share.error_tasks) for task in tasks), limit
    )
    ends = [end for end in (errors_end, finished_end) if end is not None]
    if ends and after is not None:
        finished = [task for task in finished if task.position <= min(ends)]
        errors = [task for task in errors if task.position <= min(ends)]
    if finished:
        fields["finished_tasks"] = [_task_json(task, clock) for task in sorted(finished, key=_by_name)]
    texts = [(task.name, task.error) for task in errors] + (list(listing_errors) if after is None else [])
    if texts:
        fields["download_errors"] = [{"name": name, "error": error} for name, error in sorted(texts)]
    if ends:
        fields["tasks_next"] = min(ends)
    return fields


def _by_name(task: TaskProgress) -> str:
    return task.name


def _page(tasks: Iterable[TaskProgress], limit: int) -> tuple[list[TaskProgress], int | None]:
    """The `limit` tasks of lowest position, and the last position when the page is full."""
    unique = {task.position: task for task in tasks}
    positions = sorted(unique)
    page = [unique[position] for position in positions[:limit]]
    return page, page[-1].position if len(positions) >= limit else None


def _task_json(task: TaskProgress, clock: _TimeTexts) -> dict[str, str]:
    fields = {"name": task.name, "downloaded": str(task.downloaded)}
    if task.total:
        fields["total"] = str(task.total)
    fields["start_time"] = clock.text(task.start_ns)
    fields["end_time"] = clock.text(task.end_ns) if task.end_ns else EPOCH
    return fields


class _TimeTexts:
    """`common.units.format_time` for many times of few seconds: only the fraction is written anew."""

    def __init__(self) -> None:
        self._seconds: dict[int, str] = {}

    def text(self, unix_ns: int) -> str:
        seconds, fraction = divmod(unix_ns, 1_000_000_000)
        begin = self._seconds.get(seconds)
        if begin is None:
            begin = self._seconds[seconds] = format_time(seconds * 1_000_000_000)[:-1]
        return f"{begin}.{fraction:09d}".rstrip("0") + "Z" if fraction else f"{begin}Z"


def xaction_id_of(job_id: str) -> str:
    """AIStore has a name for what carries out a job besides the job's own."""
    return _XACTION + job_id.removeprefix(_JOB)


def job_id_of(job_or_xaction_id: str) -> str:
    """The job that is meant by either of its names."""
    given = job_or_xaction_id
    return _JOB + given.removeprefix(_XACTION) if given.startswith(_XACTION) else given
