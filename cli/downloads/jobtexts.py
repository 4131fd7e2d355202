"""One download job in words: as a row of a list, and in detail; pure."""

from __future__ import annotations

from cli import formats
from cli.downloads.status import object_count, summary, when
from cli.formats import Units
from haul.states import JobStatus

HEADER = ("JOB", "STATE", "DONE", "ERRORS", "STARTED", "TOOK", "DESCRIPTION")
_SHOWN_ERRORS = 50


def row(job: JobStatus) -> tuple[str, ...]:
    """The cells below `HEADER`."""
    return (
        formats.name(job.id),
        job.state,
        f"{formats.count(job.done_count)}/{formats.count(object_count(job))}",
        formats.count(job.error_count),
        when(job.started),
        formats.duration(job.duration_seconds) if job.is_over else "-",
        formats.name(job.description),
    )


def describe(job: JobStatus, units: Units, *, verbose: bool) -> list[str]:
    """One job in a few lines; with `verbose` its errors and the objects on their way."""
    result = [
        f"{formats.name(job.id)}  {formats.name(job.description)}",
        f"  state:    {job.state}",
        *([f"  source:   {formats.name(job.source)}"] if job.source else []),
        f"  started:  {when(job.started)}",
    ]
    if job.is_over:
        result += [f"  ended:    {when(job.ended)}", f"  result:   {summary(job, units)}"]
    else:
        at_least = "" if job.total_count is not None else "at least "
        done = f"{formats.count(job.done_count)} of {at_least}{formats.count(object_count(job), 'object')}"
        result += [f"  done:     {done}, {formats.count(job.error_count)} failed, {len(job.current)} on their way"]
    if job.silent_targets:
        result.append(f"  silent:   {formats.name(', '.join(job.silent_targets))} (last known figures are shown)")
    if not verbose:
        hint = "-v lists the errors" if job.error_count else ""
        return result if not hint else [*result, f"  errors:   {formats.count(job.error_count)} ({hint})"]
    if job.current:
        result.append("  on their way:")
        for task in job.current:
            total = f" of {formats.size(task.total_bytes, units)}" if task.total_bytes else ""
            result.append(f"    {formats.name(task.name)}  {formats.size(task.downloaded_bytes, units)}{total}")
    if job.failures:
        result.append("  errors:")
        result += [f"    {formats.name(f.name)}: {formats.name(f.reason)}" for f in job.failures[:_SHOWN_ERRORS]]
        if (hidden := job.error_count - min(len(job.failures), _SHOWN_ERRORS)) > 0:
            result.append(f"    … and {formats.count(hidden)} more (--json has all that the cluster tells)")
    return result
