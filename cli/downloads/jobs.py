"""`haul show job`, `haul wait`, `haul stop` and `haul job rm`: what there is to do with jobs that exist.

The word `download` and the id may both be given or left out, as people are used to from `ais`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from cli import clusterjobs, formats, output, storage
from cli.client import Client
from cli.downloads import api, jobtexts, reports, watch
from cli.downloads.joboptions import seconds_of
from cli.downloads.watch import Watching
from cli.endpoints import find_endpoints
from cli.errors import CommandError, ServerError, UsageError
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, UnitsOption, WaitTimeoutOption
from cli.rebalance import KIND as KIND_REBALANCE
from cli.rebalance import show_rebalance
from haul.states import JobStatus

_KIND = "download"
_RESILVER = "resilver"
JobArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", show_default=False, help="The job; the word download may stand before it."),
]
JobsArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", show_default=False, help="The jobs; the word download may stand before them."),
]
RegexOption = Annotated[
    str, typer.Option("--regex", metavar="REGEX", help="Jobs whose description matches this POSIX expression.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.")]


def show_job(  # noqa: PLR0913 - a command's options are its parameters
    *,
    arguments: JobArguments = None,
    regex: RegexOption = "",
    show_all: Annotated[bool, typer.Option("--all", help="Include jobs that have ended.")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Watch one job until it ends.")] = False,
    refresh: Annotated[
        str, typer.Option("--refresh", metavar="TIME", help="Show again every so often, e.g. 5s, until Ctrl-C.")
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show errors and objects on their way.")] = False,
    story: Annotated[bool, typer.Option("--story", help="Show what was decided about its hosts, and why.")] = False,
    ledger: Annotated[
        str,
        typer.Option("--ledger", metavar="FILE", help="Write what has become of each object to FILE (- for stdout)."),
    ] = "",
    only_failed: Annotated[bool, typer.Option("--only-failed", help="With --ledger: only what failed.")] = False,
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Show the jobs that are running, or one in detail; `rebalance` moves objects to other targets, `resilver` not."""
    interval_seconds = seconds_of(refresh, "--refresh") if refresh else 0.0
    plain = Watching(interval_seconds=interval_seconds, units=units, as_json=as_json)
    if _show_others(arguments or (), plain, endpoint, show_all=show_all):
        return
    ids = _ids(arguments, at_most=1)
    if (story or ledger or only_failed) and not ids:
        raise UsageError("--story and --ledger need the id of a job:  haul show job ID --story")
    if only_failed and not ledger:
        raise UsageError("--only-failed goes with --ledger:  haul show job ID --ledger failed.jsonl --only-failed")
    _check_chosen(ids, regex, progress=progress)
    with Client(find_endpoints(endpoint)) as client:
        if ledger:
            reports.write_ledger(client, ids[0], ledger, only_failed=only_failed)
            return
        if story:
            reports.show_story(client, ids[0], as_json=as_json)
            return
        if progress:
            _wait(client, ids[0], replace(plain, shows_progress=True))
            return

        def show() -> bool:
            if ids:
                return _show_one(client, ids[0], plain, verbose=verbose)
            _show_list(client, regex, show_all=show_all, as_json=as_json)
            if not (arguments or regex or as_json):
                output.lines(f"Also running: {kind} {job_id}" for kind, job_id in clusterjobs.running(client))
            return True  # a list can always change

        _repeat(show, interval_seconds)


def _show_others(words: Sequence[str], watching: Watching, endpoint: str | None, *, show_all: bool) -> bool:
    """Show jobs that are no downloads, if a kind of them is named; returns whether one is."""
    if words == [_RESILVER]:
        storage.show_resilver(as_json=watching.as_json, endpoint=endpoint)
        return True
    kind = clusterjobs.kind_of(words[0]) if words else ""
    if not kind and words != [KIND_REBALANCE]:
        return False
    _check_one(words[1:])
    with Client(find_endpoints(endpoint)) as client:

        def show() -> bool:
            if not kind:
                return show_rebalance(client, units=watching.units, as_json=watching.as_json)
            if words[1:]:
                return clusterjobs.show(clusterjobs.status(client, words[1]), watching)
            return clusterjobs.show_kind(client, kind, only_running=not show_all, watching=watching)

        _repeat(show, watching.interval_seconds)
    return True


def _check_chosen(ids: Sequence[str], regex: str, *, progress: bool) -> None:
    if progress and not ids:
        raise UsageError("--progress needs the id of a job:  haul show job ID --progress")
    if regex and ids:
        raise UsageError("--regex and an id cannot be used together")


def wait_job(
    arguments: JobArguments = None,
    progress: Annotated[bool, typer.Option("--progress", help="Show progress meanwhile.")] = False,
    refresh: Annotated[str, typer.Option("--refresh", metavar="TIME", help="How often progress is shown.")] = "",
    timeout: WaitTimeoutOption = "",
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Wait until a job has ended; exit 1 if anything failed."""
    ids = [word for word in _ids(arguments) if not clusterjobs.kind_of(word)]
    _check_one(ids)
    if not ids:
        raise UsageError("the id of the job is missing:  haul wait ID")
    watching = Watching(
        shows_progress=progress,
        interval_seconds=seconds_of(refresh, "--refresh") if refresh else 0.0,
        timeout_seconds=seconds_of(timeout, "--timeout") if timeout else 0.0,
        units=units,
        as_json=as_json,
    )
    with Client(find_endpoints(endpoint)) as client:
        _wait(client, ids[0], watching)


def _wait(client: Client, job_id: str, watching: Watching) -> None:
    if clusterjobs.find(client, job_id):
        clusterjobs.report(clusterjobs.follow(client, job_id, watching), watching)
    else:
        watch.report(client, watch.follow(client, job_id, watching), watching)


def _stop(client: Client, job_id: str) -> None:
    if clusterjobs.find(client, job_id):
        clusterjobs.stop(client, job_id)
    else:
        api.abort(client, job_id)


def _changing(
    act: Callable[[Client, str], None], wants: Callable[[JobStatus], bool], *, done: str, none: str, text: str
) -> Callable[..., None]:
    """A command that does something to jobs: given by id, or all those that it `wants`."""

    def command(
        arguments: JobsArguments = None,
        everything: AllOption = False,
        regex: RegexOption = "",
        as_json: JsonOption = False,
        endpoint: EndpointOption = None,
    ) -> None:
        with Client(find_endpoints(endpoint)) as client:
            chosen = _choose(client, arguments, wants, everything=everything, regex=regex)
            _each(chosen, lambda job_id: act(client, job_id), done=done, none=none, as_json=as_json)

    command.__doc__ = text
    return command


stop_job = _changing(
    _stop,
    lambda job: not job.is_over,
    done="Stopped",
    none="No job is running.",
    text="Stop jobs; what has arrived already stays.",
)
pause_job = _changing(
    api.pause,
    lambda job: job.state == "running",
    done="Paused",
    none="No job is running.",
    text="Let jobs rest; what is half-fetched stays, and other jobs go on.",
)
resume_job = _changing(
    api.resume,
    lambda job: job.state == "paused",
    done="Resumed",
    none="No job is paused.",
    text="Let paused jobs go on where they were.",
)
remove_job = _changing(
    api.remove,
    lambda job: job.is_over,
    done="Removed",
    none="No job has ended.",
    text="Forget jobs that have ended; their objects stay.",
)


def _ids(arguments: Sequence[str] | None, *, at_most: int | None = None) -> list[str]:
    """The ids among the arguments: the kind of job in front of them is optional."""
    ids = list(arguments or ())
    if ids and ids[0] == _KIND:
        ids = ids[1:]
    if at_most is not None and len(ids) > at_most:
        _check_one(ids)
    return ids


def _check_one(ids: Sequence[str]) -> None:
    if len(ids) > 1:
        raise UsageError(f"one job at a time, but there are several: {', '.join(formats.name(i) for i in ids)}")


def _choose(
    client: Client,
    arguments: Sequence[str] | None,
    wants: Callable[[JobStatus], bool],
    *,
    everything: bool,
    regex: str,
) -> list[str]:
    """The ids meant: as given, or looked up."""
    ids = [word for word in _ids(arguments) if not clusterjobs.kind_of(word)]
    if sum((bool(ids), everything, bool(regex))) != 1:
        raise UsageError("say which jobs: ids, --all, or --regex REGEX")
    if ids:
        return ids
    return [job.id for job in api.jobs(client, regex=regex) if wants(job)]


def _each(ids: Sequence[str], act: Callable[[str], None], *, done: str, none: str, as_json: bool) -> None:
    """Do it to every job, whatever happens to the others; exits with 1 if one was refused."""
    succeeded, errors = [], []
    for job_id in ids:
        try:
            act(job_id)
        except ServerError as error:
            errors.append(str(error))
        else:
            succeeded.append(job_id)
            if not as_json:
                output.say(f"{done} job {formats.name(job_id)}")
    if as_json:
        output.show_json({"ids": succeeded, "errors": errors})
    elif not ids:
        output.note(none)
    if errors:
        raise CommandError("\n       ".join(errors))


def _repeat(show: Callable[[], bool], interval_seconds: float) -> None:
    """Show once, or again and again until nothing can change any more or the user has seen enough."""
    try:
        while show() and interval_seconds:
            time.sleep(interval_seconds)
            output.say("")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _show_one(client: Client, job_id: str, watching: Watching, *, verbose: bool) -> bool:
    """Show one job; returns whether it is still running."""
    if other := clusterjobs.find(client, job_id):
        return clusterjobs.show(other, watching)
    job = api.status(client, job_id, only_active=not (verbose or watching.as_json))
    if watching.as_json:
        output.show_json(job.wire)
    else:
        output.lines(jobtexts.describe(job, watching.units, verbose=verbose))
    return not job.is_over


def _show_list(client: Client, regex: str, *, show_all: bool, as_json: bool) -> None:
    """Show the downloads that match."""
    found = api.jobs(client, regex=regex, only_active=not show_all)
    if as_json:
        output.show_json([job.wire for job in found])
    elif found:
        output.show_table(jobtexts.HEADER, [jobtexts.row(job) for job in found], right=(2, 3, 5))
    else:
        output.note("No jobs." if show_all else "No running jobs; --all shows those that have ended, too.")
