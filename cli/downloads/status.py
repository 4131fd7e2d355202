"""What the command line says of a job's status as a whole, and of times; pure. Reading an answer is `haul.states`."""

from __future__ import annotations

from datetime import datetime

from cli import formats
from haul.states import JobStatus


def object_count(status: JobStatus) -> int:
    """How many objects the job has, as far as known."""
    return status.scheduled_count if status.total_count is None else status.total_count


def stored_bytes(status: JobStatus) -> int | None:
    """What is stored; None when the cluster does not say how many bytes it has fetched, as AIStore does not."""
    if "downloaded_bytes" in status.wire:
        return status.stored_bytes
    # AIStore lists all finished objects; a list with a `tasks_next` is only a part.
    finished = status.wire.get("finished_tasks")
    if finished and "tasks_next" not in status.wire:
        return sum(int(task.get("downloaded", 0)) for task in finished)
    return None


def when(moment: datetime | None) -> str:
    """A moment in local time for people."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else "-"


def summary(status: JobStatus, units: formats.Units) -> str:
    """The job in one line: objects, bytes, time, rate, what failed and where to read about it."""
    if status.is_over and not status.done_count and not status.is_aborted:
        return "nothing to do: the source has no such objects"
    objects = formats.count(status.finished_count - status.removed_count, "object")
    parts = [f"{objects} stored"]
    size_bytes = stored_bytes(status)
    if status.skipped_count:
        parts[0] += f" ({formats.count(status.skipped_count)} of them unchanged, not fetched again)"
    if size_bytes is not None:
        parts.append(formats.size(size_bytes, units))
    if status.is_over:
        parts.append(f"in {formats.duration(status.duration_seconds)}")
        if size_bytes and status.duration_seconds:
            parts.append(f"({formats.rate(size_bytes / status.duration_seconds, units)})")
    text = ", ".join(parts[:2]) + ("" if len(parts) < 3 else " " + " ".join(parts[2:]))
    if status.removed_count:
        text += f", {formats.count(status.removed_count)} removed"
    if status.is_aborted:
        left = max(0, object_count(status) - status.done_count)
        text = f"stopped before its end: {text}, {formats.count(left)} not fetched"
    if status.error_count:
        text += f", {formats.count(status.error_count)} FAILED"
    return text
