"""`haul cluster up`, `status` and `down`: options and texts around `cli.cluster.service`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli import formats, output, state
from cli.cluster import ports, processes, service, shape
from cli.cluster.service import Started
from cli.cluster.shape import DEFAULTS, Wanted
from cli.endpoints import endpoints_from_environment
from cli.errors import CommandError, UsageError
from cli.options import JsonOption

_DEFAULT_DIRECTORY = "~/.haul"
UpDirectory = Annotated[
    str, typer.Option("--dir", metavar="DIR", help=f"Where all of it lies; {_DEFAULT_DIRECTORY} when left out.")
]
Directory = Annotated[
    str,
    typer.Option(
        "--dir", metavar="DIR", help=f"Where it lies; otherwise the one started last, otherwise {_DEFAULT_DIRECTORY}."
    ),
]


def up(  # noqa: PLR0913 - a command's options are its parameters
    *,
    targets: Annotated[
        int | None, typer.Option("--targets", metavar="N", help=f"Storage processes.  [{DEFAULTS.targets}]")
    ] = None,
    mountpaths: Annotated[
        int | None,
        typer.Option("--mountpaths", metavar="M", help=f"Directories (disks) of each target.  [{DEFAULTS.mountpaths}]"),
    ] = None,
    proxies: Annotated[
        int | None, typer.Option("--proxies", metavar="P", help=f"Gateway processes.  [{DEFAULTS.proxies}]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            help=f"Of the first proxy; the others follow, then the targets on free ports.  [{DEFAULTS.port}]",
        ),
    ] = None,
    directory: UpDirectory = "",
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help=f"Where to listen.  [{DEFAULTS.host}]")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            metavar="CIDR",
            help="Private addresses that jobs may fetch from, e.g. 10.0.0.0/8; may be repeated. Otherwise only "
            "public addresses.",
        ),
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(
            "--durability",
            metavar="power-loss|process",
            help=f"What a finished object survives.  [{DEFAULTS.durability}]",
        ),
    ] = None,
    meta_store: Annotated[
        str | None,
        typer.Option(
            "--meta-store",
            metavar="etcd://HOST:PORT,…",
            help="Keep the cluster's state in an etcd; several clusters may share one. Otherwise it is a file in DIR.",
        ),
    ] = None,
    s3_port: Annotated[
        int | None,
        typer.Option(
            "--s3-port",
            metavar="PORT",
            help="Speak S3 at a port of its own, too, as clients need it that know no path; with several proxies, "
            "at the ports that follow.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a cluster on this machine, or whatever of it is not running.

    The shape is recorded in DIR: to start it again, only --dir is needed.
    """
    wanted = Wanted(
        targets=targets,
        mountpaths=mountpaths,
        proxies=proxies,
        port=port,
        host=host,
        durability=durability,
        allow_origins=tuple(allow_origin) if allow_origin else None,
        meta_store=meta_store,
        s3_port=s3_port,
    )
    where = _absolute(directory or _DEFAULT_DIRECTORY)
    started = service.up(where, wanted)
    if as_json:
        output.show_json(
            {"directory": str(where), "endpoints": list(started.shape.endpoints), "started": list(started.started)}
        )
    else:
        _say_up(where, started)


def status(directory: Directory = "", as_json: JsonOption = False) -> None:
    """Show every node of a cluster on this machine, running or not."""
    where = _chosen(directory)
    reports = service.status(where)
    if as_json:
        output.show_json(service.to_plain(reports))
        return
    rows = [
        (
            report.id,
            report.role,
            report.state,
            report.url,
            str(report.pid or "-"),
            formats.count(len(report.mountpaths), "mountpath") if report.mountpaths else "",
        )
        for report in reports
    ]
    output.show_table(("ID", "ROLE", "STATE", "URL", "PID", ""), rows, right=(4,))
    if stopped := [report for report in reports if report.state == "stopped"]:
        which = "The cluster is" if len(stopped) == len(reports) else f"{formats.count(len(stopped), 'node')} of it"
        output.note(f"{which} stopped. Start it:  haul cluster up --dir {where}")
    for report in reports:
        if report.state == "silent":
            output.note(f"{report.id} runs and does not answer. Its log:  {where / report.id / processes.LOG_FILE}")


def down(directory: Directory = "", as_json: JsonOption = False) -> None:
    """Stop a cluster on this machine; its data stays."""
    where = _chosen(directory)
    if not directory:
        output.note(f"Stopping the cluster in {where}")
    stopped, killed = service.down(where)
    if as_json:
        output.show_json({"directory": str(where), "stopped": stopped, "killed_pids": killed})
        return
    if not stopped:
        output.say(f"The cluster in {where} is not running.")
        return
    output.say(f"Stopped {formats.count(len(stopped), 'node')}; the data stays in {where}")
    if killed:
        output.note(f"{formats.count(len(killed), 'node')} did not end in time and had to be killed.")


def _chosen(directory: str) -> Path:
    """The directory that is meant: as given, else that of the cluster which the environment names, else the last one.

    Raises UsageError when that is a cluster whose directory is not known.
    """
    if directory:
        return _absolute(directory)
    default, last = _absolute(_DEFAULT_DIRECTORY), state.load()
    likely = Path(last.directory) if last else default
    variable, urls = endpoints_from_environment()
    if not urls:
        return likely
    for known in (likely, default):
        plan = shape.load(known)
        if plan and not {plan.public_url(node) for node in plan.nodes}.isdisjoint(urls):
            return known
    raise UsageError(
        f"{variable} names {' or '.join(urls)}, which is no node of the cluster in {likely}.\n"
        f"       Say which cluster on this machine is meant:  --dir DIR"
    )


def _absolute(directory: str) -> Path:
    """The one spelling of a directory: nodes are known by the absolute path of their configuration."""
    path = Path(directory).expanduser().resolve()
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        raise CommandError("the directory's name is not UTF-8") from None
    return path


def _say_up(where: Path, started: Started) -> None:
    plan = started.shape
    nodes = f"{formats.count(len(plan.proxies), 'proxy', 'proxies')}, {formats.count(len(plan.targets), 'target')}"
    size = f"{nodes} with {formats.count(plan.mountpaths, 'mountpath')} each"
    if not started.started:
        output.say(f"The cluster is running already: {size}", style="bold green")
    else:
        took = formats.duration(started.seconds)
        some = "" if len(started.started) == len(plan.nodes) else f" (started {', '.join(started.started)})"
        output.say(f"The cluster is ready: {size}, in {took}{some}", style="bold green")
    origins = "public addresses" + "".join(f", {origin}" for origin in plan.allow_origins)
    output.lines(
        [
            *(f"  proxy   {plan.public_url(node)}" for node in plan.proxies),
            *(f"  target  {plan.public_url(node)}" for node in plan.targets),
            *(f"  S3      {url}" for url in plan.s3_endpoints),
            f"  data in {where}" + (f", state in {plan.meta_store}" if plan.meta_store else ""),
            f"  jobs may fetch from {origins}",
        ]
    )
    if not ports.is_local_only(plan.host):
        output.note(f"Everybody who can reach {plan.host} can read and write: there are no accounts.", style="yellow")
    output.lines(
        [
            "",
            "Next, for example:",
            '  haul download "https://HOST/part-{000..099}.bin" ais://data/ --progress',
            "  haul ls ais://data",
            "  haul show cluster",
            f"  haul cluster down --dir {where}",
        ]
    )
