"""Jobs of the cluster that are no downloads (copies, renames, evictions, …): asked for, waited for, shown and stopped.

Which command does what with them is left to `cli.downloads.jobs` and to the commands that start them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import typer

from cli import formats, output
from cli.client import Client
from cli.downloads import watch
from cli.downloads.status import when
from cli.downloads.watch import Watching, may_pass, say_how_to_go_on
from cli.errors import CommandError, NoAnswer, ServerError
from common.clock import monotonic
from haul.states import moment

DOWNLOAD_PREFIX = "dnl-"
_KINDS = {
    "copy-bucket": "copy-bck", "copy-bck": "copy-bck", "rename-bucket": "move-bck", "move-bck": "move-bck",
    "copy-objects": "copy-listrange", "copy-listrange": "copy-listrange", "evict": "evict-listrange",
    "evict-objects": "evict-listrange", "evict-listrange": "evict-listrange", "rm": "delete-listrange",
    "delete-objects": "delete-listrange", "delete-listrange": "delete-listrange", "summary": "summary-bck",
}  # fmt: skip
"""What a kind of job is called on the command line, and on the wire."""
_PATIENCE_SECONDS = 60.0
_FIRST_POLL_SECONDS = 0.02
_LAST_POLL_SECONDS = 0.5
_PROGRESS_SECONDS = 1.0
_INTERRUPTED = 130
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """How a job stands: `ended_ns` is 0 while it runs; the figures are sums over the targets."""

    id: str
    kind: str
    ended_ns: int
    is_aborted: bool
    error: str
    objects: int
    size_bytes: int
    wire: Mapping[str, Any]

    @property
    def state(self) -> str:
        if not self.ended_ns:
            return "running"
        return "stopped" if self.is_aborted else "failed" if self.error else "finished"


def kind_of(text: str) -> str:
    """The kind of job that is called so; empty for anything else."""
    return _KINDS.get(text, "")


def find(client: Client, job_id: str) -> ClusterJob | None:
    """The job with this id; None when there is none that is no download. Raises ServerError, NoAnswer."""
    if job_id.startswith(DOWNLOAD_PREFIX):
        return None
    try:
        return status(client, job_id)
    except ServerError as error:
        if error.status != _NOT_FOUND:
            raise
        return None


def status(client: Client, job_id: str) -> ClusterJob:
    """How the job stands; raises ServerError, NoAnswer."""
    query = {"id": job_id, "show_active": None}
    told = client.call("GET", "/v1/cluster", query={"what": "status"}, body=query) or {}
    try:
        snaps = client.call("GET", "/v1/cluster", query={"what": "qryxstats"}, body={"id": job_id}) or {}
    except ServerError as error:
        if error.status != _NOT_FOUND:
            raise
        snaps = {}
    return _job(job_id, told, snaps)


def _job(job_id: str, told: Mapping[str, Any], snaps: Mapping[str, Any]) -> ClusterJob:
    found = [snap for of_target in snaps.values() for snap in of_target or () if snap.get("id") == job_id]
    errors = [str(snap[key]) for snap in found for key in ("err", "abort-err") if snap.get(key)]
    stats = [snap.get("stats") or {} for snap in found]
    return ClusterJob(
        id=job_id,
        kind=str(told.get("kind") or (found[0].get("kind", "") if found else "")),
        ended_ns=int(told.get("end_time") or 0),
        is_aborted=bool(told.get("aborted")),
        error=str(told.get("err") or "") or (errors[0] if errors else ""),
        objects=sum(int(figures.get("loc-objs") or 0) for figures in stats),
        size_bytes=sum(int(figures.get("loc-bytes") or 0) for figures in stats),
        wire={**told, "targets": snaps},
    )


def started(client: Client, job_id: str, watching: Watching, what: str, *, waits: bool) -> None:
    """Say that a job was started, also a download, and follow it if that is wanted; exits with 1 if it fails."""
    if not job_id:
        raise CommandError("the cluster accepted the job but did not tell its id")
    said = f"Started job {formats.name(job_id)}" + (f": {what}" if what else "")
    if waits:
        output.note(said)
        if job_id.startswith(DOWNLOAD_PREFIX):
            watch.report(client, watch.follow(client, job_id, watching), watching)
        else:
            report(follow(client, job_id, watching), watching)
    elif watching.as_json:
        output.show_json({"id": job_id})
    else:
        output.say(said)
        output.note(f"  wait for it:  haul wait {job_id}")


def told_done(client: Client, job_id: str, done: str, *, as_json: bool) -> None:
    """Wait for a job that is short as a rule, and say what it has done; exits with 1 if it fails."""
    watching = Watching(as_json=as_json)
    job = follow(client, job_id, watching)
    if as_json or job.state != "finished":
        report(job, watching)
    else:
        output.say(done)


def follow(
    client: Client, job_id: str, watching: Watching, *, sleep: Callable[[float], None] = time.sleep
) -> ClusterJob:
    """Watch until the job has ended; Ctrl-C leaves it running, says how to stop it, and exits with 130.

    Raises CommandError when `timeout_seconds` pass before.
    """
    try:
        return _follow(client, job_id, watching, sleep)
    except KeyboardInterrupt:
        say_how_to_go_on(job_id)
        raise typer.Exit(_INTERRUPTED) from None


def _follow(client: Client, job_id: str, watching: Watching, sleep: Callable[[float], None]) -> ClusterJob:
    began = heard = monotonic()
    shown, pause = float("-inf"), _FIRST_POLL_SECONDS
    while True:
        now = monotonic()
        try:
            job = status(client, job_id)
        except (NoAnswer, ServerError) as error:
            if not may_pass(error) or now - heard > _PATIENCE_SECONDS:
                raise
        else:
            heard = now
            if job.ended_ns:
                return job
            if watching.shows_progress and now - shown >= (watching.interval_seconds or _PROGRESS_SECONDS):
                shown = now
                output.note(f"{job_id}: {_figures(job, watching)} so far")
        if watching.timeout_seconds and monotonic() - began >= watching.timeout_seconds:
            raise CommandError(
                f"job {job_id} is still running after {formats.duration(watching.timeout_seconds)}; it goes on. "
                f"Wait for it:  haul wait {job_id}"
            )
        sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL_SECONDS)


def report(job: ClusterJob, watching: Watching) -> None:
    """Say how a job has ended; exits with 1 if it has failed or was stopped."""
    if watching.as_json:
        output.show_json(job.wire)
    else:
        style = "green" if job.state == "finished" else "bold red"
        output.say(f"{formats.name(job.id)}: {job.state}, {_figures(job, watching)}", style=style)
        if job.error:
            output.note(f"  {formats.name(job.error)}", style="red" if sys.stderr.isatty() else "")
    if job.state != "finished":
        raise typer.Exit(1)


def show(job: ClusterJob, watching: Watching) -> bool:
    """Show one job; returns whether it is running."""
    if watching.as_json:
        output.show_json(job.wire)
        return not job.ended_ns
    rows = [
        ("kind", job.kind),
        ("state", job.state),
        ("done", _figures(job, watching)),
        ("ended", when(datetime.fromtimestamp(job.ended_ns / 1e9, UTC)) if job.ended_ns else ""),
        ("error", job.error),
    ]
    output.say(formats.name(job.id))
    output.lines(f"  {name + ':':8} {formats.name(value)}" for name, value in rows if value)
    return not job.ended_ns


def show_kind(client: Client, kind: str, *, only_running: bool, watching: Watching) -> bool:
    """Show all jobs of a kind; a list can always change."""
    body = {"kind": kind, "show_active": True if only_running else None}
    try:
        snaps = client.call("GET", "/v1/cluster", query={"what": "qryxstats"}, body=body) or {}
    except ServerError as error:
        if error.status != _NOT_FOUND:
            raise
        snaps = {}
    if watching.as_json:
        output.show_json(snaps)
        return True
    by_id: dict[str, dict[str, list[Any]]] = {}
    for target, found in snaps.items():
        for snap in found or ():
            by_id.setdefault(snap["id"], {}).setdefault(target, []).append(snap)
    rows = [_row(job_id, of_targets, watching) for job_id, of_targets in by_id.items()]
    if rows:
        output.show_table(("JOB", "STATE", "OBJECTS", "SIZE", "STARTED", "BUCKET"), rows, right=(2, 3))
    else:
        running = "running " if only_running else ""
        output.note(f"No {running}jobs of the kind {kind}.")
    return True


def running(client: Client) -> list[tuple[str, str]]:
    """Kind and id of all jobs that run and are no downloads; raises ServerError, NoAnswer."""
    names = client.call("GET", "/v1/cluster", query={"what": "running_all"}, body={}) or []
    found = (name.rstrip("]").partition("[") for name in names)
    return [(kind, job_id) for kind, _, job_id in found if kind != "download"]


def _row(job_id: str, of_targets: Mapping[str, list[Any]], watching: Watching) -> tuple[str, ...]:
    snaps = [snap for found in of_targets.values() for snap in found]
    first = snaps[0]
    is_running = any(str(snap.get("end-time", "0001")).startswith("0001") for snap in snaps)
    told = {"aborted": any(snap.get("aborted") for snap in snaps), "end_time": 0 if is_running else 1}
    job = _job(job_id, told, of_targets)
    buckets = [str((first.get(key) or {}).get("name") or "") for key in ("src-bck", "dst-bck", "bck")]
    shown = f"{buckets[0]} -> {buckets[1]}" if buckets[0] and buckets[1] else buckets[2]
    size = formats.size(job.size_bytes, watching.units)
    begun = when(moment(first.get("start-time")))
    return formats.name(job_id), job.state, formats.count(job.objects), size, begun, formats.name(shown)


def _figures(job: ClusterJob, watching: Watching) -> str:
    return f"{formats.count(job.objects, 'object')}, {formats.size(job.size_bytes, watching.units)}"


def stop(client: Client, job_id: str) -> None:
    """Stop a job; harmless when it has ended."""
    client.text("PUT", "/v1/cluster", body={"action": "stop", "value": {"id": job_id}})
