"""`haul download` and `haul start download`: post a job and, if wanted, watch it.

What is posted is decided by `cli.downloads.requests`; watching is left to `cli.downloads.watch`.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
import typer.core

from cli import output, uris
from cli.client import Client
from cli.downloads import api, attached, credentials, manifest, objectlist, reports, requests, sources, watch
from cli.downloads.joboptions import Options, common_fields, header_fields, seconds_of
from cli.downloads.repositories import RepositoryOptions, build_repository, with_token
from cli.downloads.sources import InBucket, Selection
from cli.downloads.watch import Watching
from cli.endpoints import find_endpoints
from cli.errors import UsageError
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, UnitsOption

_LISTING_SECONDS = 150.0
_BARE_SWITCH = "--hf-auth"


class Command(typer.core.TyperCommand):
    """AIStore's help has `--hf-auth` without a token: the one of HF_TOKEN is meant, which is used anyway."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Called by typer with the words behind the command."""
        kept = [word for at, word in enumerate(args) if word != _BARE_SWITCH or not _is_no_value(args[at + 1 :][:1])]
        return super().parse_args(ctx, kept)


def _is_no_value(following: list[str]) -> bool:
    return not following or following[0].startswith("-") or "://" in following[0]


def download(  # noqa: PLR0913 - a command's options are its parameters
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="A link, or a template such as http://host/obj-{000..999}.bin; s3://, gs://, az://BUCKET[/NAME], "
            "ais://@CLUSTER/BUCKET[/NAME], ais://HOST:PORT/BUCKET[/NAME]. A bucket without a name, with one that ends "
            "with / or *, or with --prefix, --suffix, --sync or --recursive means all objects that begin so; any other "
            "name one object, which the job has an error for if it is not there, or a template. With "
            "--object-list: what relative links stand behind, or nothing.",
        ),
    ] = "",
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DESTINATION",
            show_default=False,
            help="ais://BUCKET, ais://BUCKET/NAME, or ais://BUCKET/DIRECTORY/. A bucket that is missing is made. Left "
            "out, a bucket elsewhere is kept in the cluster under its own name.",
        ),
    ] = "",
    object_list: Annotated[
        str,
        typer.Option(
            "--object-list",
            "--from",
            metavar="FILE",
            help="Fetch the links in FILE (- for standard input): one per line, a JSON array, or a JSON object "
            "of name: link.",
        ),
    ] = "",
    manifest_list: Annotated[
        str,
        typer.Option(
            "--manifest",
            metavar="FILE|LINK|OBJECT",
            help="Fetch what a manifest lists, and check sizes and digests: tsv, csv, jsonl, sha256sums or metalink.",
        ),
    ] = "",
    manifest_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="The manifest's format, when its name does not tell it.")
    ] = "",
    hf_model: Annotated[
        str, typer.Option("--hf-model", metavar="MODEL", help="Fetch a model from HuggingFace; SOURCE is left out.")
    ] = "",
    hf_dataset: Annotated[
        str,
        typer.Option(
            "--hf-dataset",
            metavar="DATASET",
            help="Fetch a dataset from HuggingFace: the Parquet files that the Hub has made of it if they are "
            "complete, or its own.",
        ),
    ] = "",
    hf_file: Annotated[
        str, typer.Option("--hf-file", metavar="PATH", help="Only this file of the model or dataset.")
    ] = "",
    hf_revision: Annotated[
        str, typer.Option("--hf-revision", metavar="NAME", help="A branch, tag or commit: its files as they are.")
    ] = "",
    hf_auth: Annotated[
        str,
        typer.Option(
            "--hf-auth",
            metavar="TOKEN",
            envvar="HF_TOKEN",
            show_envvar=True,
            help="Token for gated and private repositories; for links to huggingface.co, too, and for no others.",
        ),
    ] = "",
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="GLOB", help="Only files of the repository that match; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="No files of the repository that match; may be repeated."),
    ] = None,
    blob_threshold: Annotated[
        str,
        typer.Option("--blob-threshold", metavar="SIZE", help="A hint, for AIStore's scripts; large files need none."),
    ] = "",
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Only objects of a bucket whose names begin so.")
    ] = "",
    suffix: Annotated[
        str, typer.Option("--suffix", metavar="TEXT", help="Only objects whose names end so, such as .tar.")
    ] = "",
    sync: Annotated[
        bool, typer.Option("--sync", help="Also remove what an earlier job has fetched and the bucket has no more.")
    ] = False,
    max_delete: Annotated[
        int | None,
        typer.Option(
            "--max-delete",
            metavar="N",
            min=-1,
            help="With --sync: remove N objects at most, -1 for any number; the cluster has a limit of its own.",
        ),
    ] = None,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="All files that a web server's index page lists, and the pages below."),
    ] = False,
    credentials_file: Annotated[
        str,
        typer.Option(
            "--credentials",
            metavar="FILE",
            help="What may read the bucket, for this job only: a JSON object of strings in FILE (- for standard "
            'input), such as {"token": "…"}.',
        ),
    ] = "",
    description: Annotated[
        str, typer.Option("--description", "--desc", metavar="TEXT", help="What the job is for; shown in lists.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return when the job has ended; exit 1 if anything failed.")] = (
        False
    ),
    progress: Annotated[bool, typer.Option("--progress", help="Like --wait, and show progress meanwhile.")] = False,
    progress_interval: Annotated[
        str,
        typer.Option("--progress-interval", metavar="TIME", help="How often progress is shown, e.g. 5s."),
    ] = "",
    timeout: Annotated[
        str,
        typer.Option(
            "--timeout",
            metavar="TIME",
            help="With --wait or --progress: how long to wait for the job, which goes on after that. Otherwise the "
            "same as --download-timeout, as AIStore's documentation has it.",
        ),
    ] = "",
    download_timeout: Annotated[
        str,
        typer.Option("--download-timeout", metavar="TIME", help="How long one object may take, e.g. 10m."),
    ] = "",
    max_connections: Annotated[
        int,
        typer.Option("--max-conns", "--conns", metavar="N", help="At most N connections per target; 0 is no limit."),
    ] = 0,
    bytes_per_hour: Annotated[
        str,
        typer.Option("--limit-bph", metavar="SIZE", help="At most so many bytes an hour, in the whole cluster: 10GiB."),
    ] = "",
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar='"Name: value"', help="Send it to the origin; may be repeated."),
    ] = None,
    priority: Annotated[
        int, typer.Option("--priority", metavar="1-5", help="5 gets twice the turns of 4, and so on; 3 if not given.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be fetched, and what is there already.")
    ] = False,
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Fetch objects from the web, or from buckets elsewhere, into a bucket.

    The job runs in the cluster: this command may end, or be stopped by Ctrl-C, and the job goes on.
    """
    waits = wait or progress
    for_object, for_job = _timeouts(timeout, download_timeout, waits=waits)
    options = Options(
        description,
        for_object,
        progress_interval,
        max_connections,
        bytes_per_hour,
        headers or (),
        priority,
    )
    repository = RepositoryOptions(
        hf_model, hf_dataset, hf_file, hf_revision, hf_auth, include or (), exclude or (), blob_threshold
    )
    selection = Selection(prefix, suffix, sync, max_delete, recursive)
    has_list = bool(object_list or manifest_list or repository.is_given)
    source, destination = _source_and_destination(source, destination, selection, has_list=has_list)
    if has_list and selection.is_given:
        raise UsageError("--prefix, --suffix, --sync and --recursive are for sources that are listed, not for lists")
    if repository.is_given:
        if source or object_list or manifest_list:
            raise UsageError("--hf-model and --hf-dataset are the source: give only a destination with them")
        body = build_repository(uris.parse(destination), repository, options)
    elif hf_file or hf_revision or include or exclude or blob_threshold:
        raise UsageError("--hf-file and the like are parts of a repository: name it by --hf-model or --hf-dataset")
    elif manifest_list:
        if object_list:
            raise UsageError("--manifest and --object-list cannot be used together")
        body = requests.build_listed(source, uris.parse(destination), manifest_format, options)
        body |= {"credentials": credentials.read(credentials_file)} if credentials_file else {}
    else:
        source = attached.widened(source, destination, selection, endpoint) if not has_list else source
        body = _from_source(source, uris.parse(destination), object_list, options, selection, credentials_file)
        body = _with_token(body, hf_auth)
    if dry_run:
        body |= {"dry_run": True}
    watching = Watching(
        shows_progress=progress,
        interval_seconds=seconds_of(progress_interval, "--progress-interval") if progress_interval else 0.0,
        timeout_seconds=for_job,
        units=units,
        as_json=as_json,
    )
    # A proxy lists a repository before it answers, and waits for a Hub that asks for a little time.
    with Client(find_endpoints(endpoint), timeout_seconds=_LISTING_SECONDS if repository.is_given else 60.0) as client:
        if manifest_list:
            with manifest.placed(client, manifest_list) as location:
                answer = api.start(client, body | {"manifest": location})
        else:
            answer = api.start(client, body)
        if dry_run:
            reports.show_dry_run(answer, units, as_json=as_json)
        else:
            _started(client, str(answer["id"]), watching, waits=waits)


def _timeouts(timeout: str, download_timeout: str, *, waits: bool) -> tuple[str, float]:
    """How long one object may take, as typed, and how many seconds are waited for the job."""
    if not timeout:
        return download_timeout, 0.0
    seconds = seconds_of(timeout, "--timeout")
    return (download_timeout, seconds) if waits else (download_timeout or timeout, 0.0)


def _with_token(body: dict[str, Any], token: str) -> dict[str, Any]:
    """Links to HuggingFace are asked for with its token, if there is one."""
    if not token:
        return body
    body, is_mixed = with_token(body, token, os.environ.get("HF_ENDPOINT", ""))
    if is_mixed:
        output.note("Not all links lead to HuggingFace: its token is not sent with any of them.")
    return body


def _started(client: Client, job_id: str, watching: Watching, *, waits: bool) -> None:
    if not waits:
        _say_started(job_id, as_json=watching.as_json)
        return
    output.note(f"Started job {job_id}")
    watch.report(client, watch.follow(client, job_id, watching), watching)


def _say_started(job_id: str, *, as_json: bool) -> None:
    if as_json:
        output.show_json({"id": job_id})
        return
    output.say(f"Started job {job_id}")
    output.note(f"  watch it:  haul show job {job_id} --progress")


def _source_and_destination(source: str, destination: str, selection: Selection, *, has_list: bool) -> tuple[str, str]:
    """The source may be left out when a list says it all, the destination when a bucket is filled from itself."""
    if has_list and source and not destination:
        return "", source
    destination = destination or requests.itself(source, selection)
    if not source or not destination:
        raise UsageError("expected a source and a destination:  haul download SOURCE ais://BUCKET[/NAME]")
    return source, destination


def _from_source(
    source: str, destination: uris.Location, object_list: str, options: Options, selection: Selection, secrets: str
) -> dict[str, Any]:
    """The body for what is neither a repository nor a manifest; what the cluster cannot list is listed here."""
    found = sources.parse(source) if source else None
    own = credentials.read(secrets, found) if secrets else {}
    if found is not None and not object_list and sources.is_listed_here(found, selection):
        from cli.downloads import listings  # noqa: PLC0415 - takes long to load

        entries = listings.found(found, selection, own, header_fields(options.headers))
        return requests.build_found(entries, destination, credentials.as_header(own, options))
    objects = objectlist.read(object_list) if object_list else None
    body = requests.build(source, destination, objects, options, selection)
    if isinstance(found, InBucket) and found.url:
        return body | common_fields(destination, credentials.as_header(own, options))
    return body | ({"credentials": own} if own else {})
