"""The tree of commands of `haul`, by sections of its help, and the names by which people know them from `ais`.

What the commands do is left to the modules that are put together here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from cli import (
    bucketprops,
    buckets,
    completion,
    copying,
    customprops,
    listing,
    members,
    nodes,
    objects,
    output,
    rebalance,
    remote,
    searching,
    show,
    storage,
    summary,
)
from cli.cluster import commands as cluster
from cli.downloads import commands as downloads
from cli.downloads import jobs
from cli.groups import BUCKETS, CLUSTER, DOWNLOADS, OBJECTS, SHELL, group

_HELP = (
    "Fill a storage cluster from the internet.\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage. Commands and options are called as in AIStore's `ais`: alias ais=haul"
)


def build() -> typer.Typer:
    """The tree of commands."""
    app = group(_HELP)
    app.callback()(_root)
    app.command("download", cls=downloads.Command, rich_help_panel=DOWNLOADS)(downloads.download)
    _add(app, DOWNLOADS, {"wait": jobs.wait_job, "stop": jobs.stop_job})
    _add(app, DOWNLOADS, {"pause": jobs.pause_job, "resume": jobs.resume_job, "prefetch": remote.prefetch})
    app.add_typer(_job(), name="job", rich_help_panel=DOWNLOADS)
    app.add_typer(_start(), name="start", rich_help_panel=DOWNLOADS)
    _add(app, OBJECTS, {"ls": listing.list_, "put": objects.put, "get": objects.get, "cp": copying.copy})
    _add(app, OBJECTS, {"mv": copying.move, "rmo": objects.remove_objects})
    app.add_typer(_object(), name="object", rich_help_panel=OBJECTS)
    _add(app, BUCKETS, {"create": buckets.create, "rmb": buckets.remove_bucket, "evict": remote.evict})
    app.add_typer(_bucket(), name="bucket", rich_help_panel=BUCKETS)
    app.add_typer(_show(), name="show", rich_help_panel=CLUSTER)
    app.add_typer(_cluster(), name="cluster", rich_help_panel=CLUSTER)
    app.add_typer(_storage(), name="storage", rich_help_panel=CLUSTER)
    _add(app, SHELL, {"search": searching.search, "completion": completion.completion, "version": _tell_version})
    app.add_typer(_config(), name="config", hidden=True)
    app.add_typer(_log(), name="log", hidden=True)
    app.command("complete", hidden=True)(completion.complete)
    return app


def _add(to: typer.Typer, section: str, commands: Mapping[str, Callable[..., None]]) -> None:
    for name, command in commands.items():
        to.command(name, rich_help_panel=section)(command)


def _add_plain(to: typer.Typer, commands: Mapping[str, Callable[..., None]]) -> typer.Typer:
    for name, command in commands.items():
        to.command(name)(command)
    return to


def _job() -> typer.Typer:
    found = group("Everything about jobs: show, start, wait, stop, rm.")
    _add_plain(found, {"show": jobs.show_job, "wait": jobs.wait_job, "stop": jobs.stop_job, "rm": jobs.remove_job})
    _add_plain(found, {"pause": jobs.pause_job, "resume": jobs.resume_job})
    found.add_typer(_start(), name="start")
    return found


def _start() -> typer.Typer:
    found = group("Start a job: a download (the same as `haul download`), a copy, a rebalance.")
    found.command("download", cls=downloads.Command)(downloads.download)
    return _add_plain(
        found,
        {
            "rebalance": rebalance.start_rebalance,
            "prefetch": remote.prefetch,
            "evict": remote.evict,
            "copy-bck": copying.copy,
            "cp": copying.copy,
        },
    )


def _object() -> typer.Typer:
    commands: dict[str, Callable[..., None]] = {
        "put": objects.put,
        "get": objects.get,
        "cat": objects.cat,
        "show": objects.show_object,
        "cp": copying.copy,
        "mv": copying.move,
        "rm": objects.remove_objects,
        "set-custom": customprops.set_custom,
        "prefetch": remote.prefetch,
        "evict": remote.evict,
        "ls": listing.list_,
    }
    return _add_plain(group("Everything about objects: put, get, cat, show, cp, mv, rm, set-custom."), commands)


def _bucket() -> typer.Typer:
    found = group("Everything about buckets: create, ls, cp, mv, rm, summary, evict, props.")
    commands: dict[str, Callable[..., None]] = {
        "create": buckets.create,
        "ls": listing.list_,
        "cp": copying.copy,
        "mv": copying.move,
        "rm": buckets.remove_bucket,
        "summary": summary.summarize,
        "evict": remote.evict,
        "show": bucketprops.show_properties,
    }
    _add_plain(found, commands)
    properties = group("Show or change what is configured for a bucket.")
    _add_plain(properties, {"show": bucketprops.show_properties, "set": bucketprops.set_properties})
    _add_plain(properties, {"reset": bucketprops.reset_properties})
    found.add_typer(properties, name="props")
    return found


def _show() -> typer.Typer:
    found = group("Show jobs, objects, buckets, the cluster, its configuration, logs and storage.")
    commands: dict[str, Callable[..., None]] = {
        "job": jobs.show_job,
        "object": objects.show_object,
        "bucket": bucketprops.show_properties,
        "cluster": show.show_cluster,
        "config": nodes.show_config,
        "log": nodes.show_log,
        "rebalance": rebalance.show_latest,
    }
    _add_plain(found, commands)
    found.add_typer(_shown_storage(), name="storage")
    return found


def _shown_storage() -> typer.Typer:
    found = group("Show how full the targets and their mountpaths are; without a word more: all.", runs_alone=True)
    found.callback()(nodes.show_all_storage)
    return _add_plain(found, {"capacity": nodes.show_storage, "mountpath": storage.show, "summary": summary.summarize})


def _cluster() -> typer.Typer:
    found = group("Run a cluster on this machine, or change who belongs to one.")
    _add_plain(found, {"up": cluster.up, "status": cluster.status, "down": cluster.down, "show": show.show_cluster})
    found.add_typer(_members(), name="add-remove-nodes")
    return found


def _members() -> typer.Typer:
    commands: dict[str, Callable[..., None]] = {
        "start-maintenance": members.start_maintenance,
        "stop-maintenance": members.stop_maintenance,
        "decommission": members.decommission,
    }
    return _add_plain(group("Let a target rest, come back, or leave for good; on any cluster."), commands)


def _storage() -> typer.Typer:
    found = group("The disks of running targets.")
    mountpaths = _add_plain(group("Show, attach, detach, enable and disable mountpaths."), storage.COMMANDS)
    found.add_typer(mountpaths, name="mountpath")
    found.add_typer(_shown_storage(), name="show")
    return _add_plain(found, {"summary": summary.summarize})


def _config() -> typer.Typer:
    return _add_plain(group("The same as `haul show config`."), {"show": nodes.show_config})


def _log() -> typer.Typer:
    return _add_plain(group("The same as `haul show log`."), {"show": nodes.show_log, "get": nodes.show_log})


def _show_version(wanted: bool) -> None:
    if wanted:
        _tell_version()
        raise typer.Exit


def _root(
    version_wanted: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of `haul` itself; the help text is that of `build`."""


def _tell_version() -> None:
    """Show the version."""
    output.say(f"haul {_version()}")


def _version() -> str:
    try:
        return version("haul")
    except PackageNotFoundError:
        return "(not installed)"
