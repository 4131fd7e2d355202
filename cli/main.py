"""`haul`: the tree of commands, and the one place where errors become a line on standard error and an exit code.

What the commands do is left to the modules that are put together here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from cli import bucketprops, buckets, members, objects, output, rebalance, remote, show, storage
from cli.cluster import commands as cluster
from cli.downloads import commands as downloads
from cli.downloads import jobs
from cli.errors import CommandError
from common.names import printable

_NOT_OURS = {"help_option_names": ["-h", "--help"]}
_DEBUG_VARIABLE = "HAUL_DEBUG"


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_NOT_OURS,
    )


def build() -> typer.Typer:
    """The tree of commands."""
    app = _group("Fill a storage cluster from the internet.\n\nExit codes: 0 done, 1 failed, 2 wrong usage.")
    app.callback()(_root)
    app.add_typer(_cluster(), name="cluster")
    app.command("download")(downloads.download)
    app.add_typer(_show(), name="show")
    app.command("wait")(jobs.wait_job)
    app.command("stop")(jobs.stop_job)
    app.command("pause")(jobs.pause_job)
    app.command("resume")(jobs.resume_job)
    app.add_typer(_job(), name="job")
    app.add_typer(_start(), name="start")
    app.add_typer(_storage(), name="storage")
    app.command("create")(buckets.create)
    app.command("ls")(buckets.list_)
    app.command("rmb")(buckets.remove_bucket)
    app.command("put")(objects.put)
    app.command("get")(objects.get)
    app.command("rmo")(objects.remove_objects)
    app.command("prefetch")(remote.prefetch)
    app.command("evict")(remote.evict)
    app.add_typer(_bucket(), name="bucket")
    return app


def _cluster() -> typer.Typer:
    group = _group("Run a cluster on this machine, or change who belongs to one.")
    group.command("up")(cluster.up)
    group.command("status")(cluster.status)
    group.command("down")(cluster.down)
    group.add_typer(_members(), name="add-remove-nodes")
    return group


def _members() -> typer.Typer:
    group = _group("Let a target rest, come back, or leave for good; on any cluster.")
    group.command("start-maintenance")(members.start_maintenance)
    group.command("stop-maintenance")(members.stop_maintenance)
    group.command("decommission")(members.decommission)
    return group


def _show() -> typer.Typer:
    group = _group("Show jobs, objects, or the cluster.")
    group.command("job")(jobs.show_job)
    group.command("object")(objects.show_object)
    group.command("cluster")(show.show_cluster)
    return group


def _job() -> typer.Typer:
    group = _group("Everything about jobs: show, wait, stop, rm.")
    group.command("show")(jobs.show_job)
    group.command("wait")(jobs.wait_job)
    group.command("stop")(jobs.stop_job)
    group.command("rm")(jobs.remove_job)
    return group


def _storage() -> typer.Typer:
    group = _group("The disks of running targets.")
    mountpaths = _group("Show, attach, detach, enable and disable mountpaths.")
    for name, command in storage.COMMANDS.items():
        mountpaths.command(name)(command)
    group.add_typer(mountpaths, name="mountpath")
    return group


def _bucket() -> typer.Typer:
    group = _group("What is configured for a bucket.")
    properties = _group("Show or change properties.")
    properties.command("show")(bucketprops.show_properties)
    properties.command("set")(bucketprops.set_properties)
    group.add_typer(properties, name="props")
    return group


def _start() -> typer.Typer:
    group = _group("Start a job: a download (the same as `haul download`), or a rebalance.")
    group.command("download")(downloads.download)
    group.command("rebalance")(rebalance.start_rebalance)
    return group


def _show_version(wanted: bool) -> None:
    if wanted:
        output.say(f"haul {_version()}")
        raise typer.Exit


def _root(
    version_wanted: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of `haul` itself; the help text is that of `build`."""


def _version() -> str:
    try:
        return version("haul")
    except PackageNotFoundError:
        return "(not installed)"


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code; errors have been written to standard error."""
    # The command is called past `Typer.__call__`, which would put its own excepthook in the place of ours.
    command = typer.main.get_command(build())
    try:
        try:
            command(args=None if arguments is None else list(arguments), prog_name="haul")
        finally:
            # Here, because the interpreter's own flush at its end would complain in its own way.
            sys.stdout.flush()
    except CommandError as error:
        _say_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        output.abandon()
        return 1
    except OSError as error:
        if error.filename is None:
            output.abandon()
        _say_error(f"{_what_failed(error)}: {error.strerror or error}")
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _say_error(text: str) -> None:
    with contextlib.suppress(OSError):  # the exit code tells it, too
        output.note(f"Error: {text}", style="red" if sys.stderr.isatty() else "")


def _what_failed(error: OSError) -> str:
    """Commands turn the errors of files and sockets into their own; what is left over is mostly their output."""
    return "cannot write to standard output" if error.filename is None else printable(str(error.filename))


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A bug of ours: said in one line, with the way to learn more."""
    if os.environ.get(_DEBUG_VARIABLE):
        sys.__excepthook__(kind, error, trace)
    else:
        text = f"Error: this should not have happened: {kind.__name__}: {error} ({_DEBUG_VARIABLE}=1 shows more)"
        sys.stderr.write(text + "\n")


def main() -> None:
    """The entry point."""
    sys.excepthook = _unexpected
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        # None when it was closed by whoever started us, who then wants none of it.
        sys.stdout = sys.stdout or nowhere
        sys.exit(run())


if __name__ == "__main__":
    main()
