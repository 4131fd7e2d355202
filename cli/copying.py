"""`haul cp` and `haul mv`: objects and buckets in the cluster, and files from and to this machine.

What the cluster is asked for is decided here; following its jobs is left to `cli.clusterjobs`, bytes between here and
there to `cli.objects`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli import clusterjobs, formats, objects, output, uris
from cli.client import Client
from cli.downloads.watch import Watching
from cli.endpoints import find_endpoints
from cli.errors import CommandError, ServerError, UsageError
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, ProgressOption, UnitsOption, WaitOption, WaitTimeoutOption
from cli.selection import ListOption, PrefixOption, TemplateOption, selected
from cli.uris import Location

_COPY_SECONDS = 3600.0
"""A single object is copied while its request waits."""
_PRECONDITION_FAILED = 412


@dataclass(frozen=True, slots=True)
class _Flags:
    """How objects are copied, as typed."""

    dry_run: bool
    latest: bool
    sync: bool
    cont_on_err: bool


def copy(  # noqa: PLR0913 - a command's options are its parameters
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="ais://BUCKET[/NAME]|FILE",
            show_default=False,
            help="An object; a template such as ais://b/o-{0..9}; a bucket, or with a name that ends with / or * all "
            "its objects that begin so; or a file or directory of this machine.",
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="ais://BUCKET[/NAME]|FILE",
            show_default=False,
            help="A name for one object; a bucket or a directory in it (with / at its end); or a file or directory of "
            "this machine. A bucket that is missing is made.",
        ),
    ],
    prefix: PrefixOption = "",
    template: TemplateOption = "",
    list_: ListOption = "",
    everything: Annotated[
        bool, typer.Option("--all", help="All of a bucket, which is meant anyway; for AIStore's scripts.")
    ] = False,
    latest: Annotated[bool, typer.Option("--latest", help="Of a bucket elsewhere what is newest there.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Also remove from the copy what the source has no more.")] = (
        False
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be copied.")] = False,
    cont_on_err: Annotated[bool, typer.Option("--cont-on-err", help="Go on when an object fails.")] = False,
    wait: WaitOption = False,
    progress: ProgressOption = False,
    timeout: WaitTimeoutOption = "",
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Copy objects or whole buckets in the cluster, or files to and from it.

    One object, and files, are there when the command ends; for more a job runs in the cluster, and Ctrl-C leaves it
    running.
    """
    chosen = sum(map(bool, (prefix, template, list_)))
    local = [text for text in (source, destination) if not uris.has_scheme(text)]
    if local:
        if len(local) == 2:
            raise UsageError("nothing to do with the cluster: one of the two must be ais://BUCKET[/NAME]")
        if chosen or dry_run or latest or sync:
            raise UsageError("--prefix, --template, --list, --dry-run, --latest and --sync are for buckets")
        if everything or cont_on_err or wait or progress or timeout:
            raise UsageError("--all, --cont-on-err, --wait, --progress and --timeout are for buckets")
        copy_files = objects.get if uris.has_scheme(source) else objects.put
        copy_files(source, destination, units=units, as_json=as_json, endpoint=endpoint)
        return
    flags = _Flags(dry_run, latest, sync, cont_on_err)
    watching = Watching.typed(progress=progress, timeout=timeout, units=units, as_json=as_json)
    origin, target = uris.parse(source), uris.parse(destination)
    value = selected(origin, prefix, template, list_)
    with Client(find_endpoints(endpoint), timeout_seconds=_COPY_SECONDS) as client:
        if "objnames" in value and not list_ and not everything:
            _copy_object(client, origin, _named(target, origin), flags, as_json=as_json)
            return
        job_id = _copy_many(client, origin, target, value, flags)
        what = f"{_shown(origin, value)} -> {formats.name(target.uri)}" + (" (dry run)" if dry_run else "")
        clusterjobs.started(client, job_id, watching, what, waits=wait or watching.is_asked_for)


def _named(target: Location, origin: Location) -> Location:
    """Where one object goes: a bucket lets it keep its name, a directory the last part of it."""
    name = target.name or origin.name
    if name.endswith("/"):
        name += origin.name.rpartition("/")[2]
    return uris.checked(Location(target.bucket, name))


def _copy_object(client: Client, origin: Location, target: Location, flags: _Flags, *, as_json: bool) -> None:
    if flags.dry_run:
        raise UsageError("--dry-run is for more than one object")
    if flags.sync:
        raise UsageError("--sync is for more than one object")
    if origin == target:
        raise UsageError(f"{formats.name(origin.uri)} would be copied onto itself")
    _put_copy(client, origin, target, flags)
    _tell("Copied", origin, target, as_json=as_json)


def _put_copy(client: Client, origin: Location, target: Location, flags: _Flags | None = None) -> None:
    query = origin.query | {"object_to": target.bucket.uname + target.name}
    if flags is not None:
        query |= {key: "true" for key, wanted in (("latest-ver", flags.latest), ("synchronize", flags.sync)) if wanted}
    client.ask("PUT", origin.object_path, query=query)


def _copy_many(client: Client, origin: Location, target: Location, value: Mapping[str, Any], flags: _Flags) -> str:
    """Start the job and return its id."""
    wanted: dict[str, Any] = {
        "dry_run": flags.dry_run,
        "latest-ver": flags.latest,
        "synchronize": flags.sync,
        "coer": flags.cont_on_err,
    }
    common: dict[str, Any] = {key: True for key, is_wanted in wanted.items() if is_wanted}
    if target.name:
        common |= {"prepend": target.name if target.name.endswith("/") else f"{target.name}/"}
    if origin.bucket == target.bucket and not target.name:
        raise UsageError(f"{origin.bucket.cname} would be copied onto itself")
    is_prefix = "{" not in value.get("template", "")
    if "objnames" in value or not is_prefix:
        body = {"action": "copy-listrange", "value": {**value, **common, "tobck": target.bucket.to_wire()}}
        return client.text("POST", origin.bucket_path, query=origin.query, body=body).strip()
    message = {"prefix": value["template"], **common} if value.get("template") else common
    query = origin.query | {"bck_to": target.bucket.uname}
    return client.text("POST", origin.bucket_path, query=query, body={"action": "copy-bck", "value": message}).strip()


def _shown(origin: Location, value: Mapping[str, Any]) -> str:
    if names := value.get("objnames"):
        return f"{formats.count(len(names), 'object')} of {origin.bucket.cname}"
    template = value.get("template", "")
    return formats.name(f"{origin.bucket.cname}/{template}" if template else origin.bucket.cname)


def move(
    source: Annotated[
        str, typer.Argument(metavar="ais://BUCKET[/NAME]", show_default=False, help="An object, or a whole bucket.")
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="ais://BUCKET[/NAME]", show_default=False, help="Its new name, a directory for it, or a bucket."
        ),
    ],
    wait: WaitOption = False,
    progress: ProgressOption = False,
    timeout: WaitTimeoutOption = "",
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Rename an object or a bucket; an object may also move to another bucket."""
    watching = Watching.typed(progress=progress, timeout=timeout, units=units, as_json=as_json)
    origin, target = uris.parse_bucket_or_object(source), uris.parse_bucket_or_object(destination)
    uris.check_own(origin)
    with Client(find_endpoints(endpoint), timeout_seconds=_COPY_SECONDS) as client:
        if origin.name:
            _move_object(client, uris.checked(origin), _named(target, origin), as_json=as_json)
            return
        if target.name:
            raise UsageError(f"a bucket is renamed to a bucket: {target.bucket.cname}")
        if origin.bucket == target.bucket:
            raise UsageError(f"{origin.bucket.cname} has that name already")
        query = origin.query | {"bck_to": target.bucket.uname}
        job_id = client.text("POST", origin.bucket_path, query=query, body={"action": "move-bck"}).strip()
        what = f"{origin.bucket.cname} -> {target.bucket.cname}"
        clusterjobs.started(client, job_id, watching, what, waits=wait or watching.is_asked_for)


def _move_object(client: Client, origin: Location, target: Location, *, as_json: bool) -> None:
    if origin == target:
        raise UsageError(f"{formats.name(origin.uri)} has that name already")
    if origin.bucket == target.bucket:
        body = {"action": "rename-obj", "name": target.name}
        client.ask("POST", origin.object_path, query=origin.query, body=body)
    else:
        etag = client.headers(origin.object_path, query=origin.query | {"props": "etag"}).get("ETag", "")
        _put_copy(client, origin, target)
        try:
            client.delete(origin.object_path, query=origin.query, etag=etag)
        except CommandError as error:
            output.note(f"{formats.name(target.uri)} is there; its source stays:", style="yellow" * sys.stderr.isatty())
            is_changed = isinstance(error, ServerError) and error.status == _PRECONDITION_FAILED
            raise CommandError(f"it was changed while it was copied: {error}" if is_changed else str(error)) from None
    _tell("Moved", origin, target, as_json=as_json)


def _tell(done: str, origin: Location, target: Location, *, as_json: bool) -> None:
    if as_json:
        output.show_json({"from": origin.uri, "uri": target.uri})
    else:
        output.say(f"{done} {formats.name(origin.uri)} -> {formats.name(target.uri)}")
