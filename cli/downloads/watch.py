"""Follows a job to its end: asks, measures, shows, and bears a cluster that is silent for a while.

How progress looks is left to `cli.downloads.display`; what is said at the end to `report`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import typer

from cli import formats, output
from cli.client import Client
from cli.downloads import api
from cli.downloads.display import Bars, Display, Lines, Nothing
from cli.downloads.joboptions import seconds_of
from cli.downloads.progress import Meter
from cli.downloads.status import object_count, stored_bytes, summary
from cli.errors import CommandError, NoAnswer, ServerError
from cli.formats import Units
from common.clock import monotonic
from haul.states import JobStatus

_PATIENCE_SECONDS = 60.0
"""How long a cluster may be silent: a restart of its only proxy takes less."""
_FIRST_POLL_SECONDS = 0.02
_LAST_POLL_SECONDS = 0.5
"""Jobs of a few objects end within milliseconds, those of millions are not worth asking for more often."""
_LINES_INTERVAL_SECONDS = 5.0
_INTERRUPTED = 130
_DETAILS_LIMIT = 20_000
"""Jobs with more objects are not asked for their list of errors unless the user does (`-v`)."""
_SHOWN_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Watching:
    """How to watch: `interval_seconds` 0 chooses by the kind of output, `timeout_seconds` 0 waits for ever."""

    shows_progress: bool = False
    interval_seconds: float = 0.0
    timeout_seconds: float = 0.0
    units: Units = Units.IEC
    as_json: bool = False

    @classmethod
    def typed(cls, *, progress: bool, timeout: str, units: Units, as_json: bool) -> Self:
        """By the options of a command that starts a job; raises UsageError."""
        timeout_seconds = seconds_of(timeout, "--timeout") if timeout else 0.0
        return cls(shows_progress=progress, timeout_seconds=timeout_seconds, units=units, as_json=as_json)

    @property
    def is_asked_for(self) -> bool:
        """Whether something was typed that means nothing unless the job is waited for."""
        return self.shows_progress or self.timeout_seconds > 0


def follow(
    client: Client, job_id: str, watching: Watching, *, sleep: Callable[[float], None] = time.sleep
) -> JobStatus:
    """Watch until the job has ended and return its last status.

    Raises CommandError when `timeout_seconds` pass before; Ctrl-C leaves the job running and exits with 130.
    """
    display, show_every = _display(watching)
    try:
        with display:
            return _follow(client, job_id, watching, display, show_every, sleep)
    except KeyboardInterrupt:
        say_how_to_go_on(job_id)
        raise typer.Exit(_INTERRUPTED) from None


def _display(watching: Watching) -> tuple[Display, float]:
    """Where progress goes and how often: results on standard output are not to be mixed with it."""
    console = output.console(to_stderr=watching.as_json)
    if not watching.shows_progress:
        return Nothing(), 0.0
    if console.is_terminal:
        return Bars(console, watching.units), watching.interval_seconds
    return Lines(console, watching.units), watching.interval_seconds or _LINES_INTERVAL_SECONDS


def _follow(
    client: Client,
    job_id: str,
    watching: Watching,
    display: Display,
    show_every: float,
    sleep: Callable[[float], None],
) -> JobStatus:
    meter, began, heard, shown = Meter(), monotonic(), monotonic(), float("-inf")
    pause = _FIRST_POLL_SECONDS
    while True:
        now = monotonic()
        try:
            status = api.status(client, job_id, only_active=True)
        except (NoAnswer, ServerError) as error:
            if not may_pass(error) or now - heard > _PATIENCE_SECONDS:
                raise
            display.trouble(str(error).splitlines()[0])
        else:
            heard = now
            view = meter.update(status, now)
            if status.is_over or now - shown >= show_every:
                shown = now
                display.show(view)
            if status.is_over:
                return status
        if watching.timeout_seconds and monotonic() - began >= watching.timeout_seconds:
            raise CommandError(
                f"job {job_id} is still running after {formats.duration(watching.timeout_seconds)}; it goes on. "
                f"Watch it:  haul show job {job_id} --progress"
            )
        sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL_SECONDS)


def may_pass(error: NoAnswer | ServerError) -> bool:
    """Whether a cluster that answers so, or not at all, may be asked again."""
    return isinstance(error, NoAnswer) or error.status in {429, 500, 502, 503, 504}


def say_how_to_go_on(job_id: str) -> None:
    """What a user who has pressed Ctrl-C may do next."""
    output.note("")
    output.note(f"The job {job_id} goes on in the cluster.")
    output.note(f"  watch it again:  haul show job {job_id} --progress")
    output.note(f"  stop it:         haul stop {job_id}")


def report(client: Client, ended: JobStatus, watching: Watching) -> None:
    """Say how the job ended; exits with 1 unless everything arrived."""
    status = _with_details(client, ended)
    if watching.as_json:
        output.show_json(status.wire)
    else:
        _report_to_people(status, watching.units)
    if not status.succeeded:
        raise typer.Exit(1)


def _report_to_people(status: JobStatus, units: Units) -> None:
    text = f"{status.id}: {summary(status, units)}"
    if status.succeeded:
        output.say(text, style="green")
        return
    output.say(text, style="bold red" if status.error_count else "yellow")
    for failure in status.failures[:_SHOWN_FAILURES]:
        output.note(f"  {formats.name(failure.name)}: {formats.name(failure.reason)}")
    if status.error_count:
        output.note(f"  all errors:  haul show job {status.id} -v", style="dim" if sys.stderr.isatty() else "")


def _with_details(client: Client, ended: JobStatus) -> JobStatus:
    """The status with its errors (and, where the cluster does not count them, bytes), if the list is a short one."""
    if object_count(ended) > _DETAILS_LIMIT or (not ended.error_count and stored_bytes(ended) is not None):
        return ended
    try:
        return api.status(client, ended.id)
    except (NoAnswer, ServerError):
        return ended
