"""`haul prefetch` and `haul evict`: objects of buckets elsewhere, brought into the cluster and put out of it again.

What such a bucket has, and what of it is in the cluster, is shown by `haul ls`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import clusterjobs, formats, output, uris
from cli.client import Client
from cli.downloads.watch import Watching
from cli.endpoints import find_endpoints
from cli.errors import UsageError
from cli.formats import Units
from cli.options import EndpointOption, JsonOption, ProgressOption, UnitsOption, WaitOption, WaitTimeoutOption
from cli.selection import ListOption, PrefixOption, TemplateOption, selected
from cli.uris import Location

_Bucket = Annotated[
    str,
    typer.Argument(
        metavar="s3://BUCKET[/NAME]",
        show_default=False,
        help="All of a bucket elsewhere, one object, a template such as obj-{0..9}, or with a name that ends with / or "
        "* all objects that begin so.",
    ),
]
_DONE = "evt-"
"""How an id begins of what was done when it was answered; other clusters answer with ids of jobs."""


def prefetch(  # noqa: PLR0913 - a command's options are its parameters
    *,
    bucket: _Bucket,
    prefix: PrefixOption = "",
    template: TemplateOption = "",
    list_: ListOption = "",
    latest: Annotated[bool, typer.Option("--latest", help="Also fetch again what has changed there.")] = False,
    wait: WaitOption = False,
    progress: ProgressOption = False,
    timeout: WaitTimeoutOption = "",
    units: UnitsOption = Units.IEC,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Bring objects of a bucket elsewhere into the cluster, so that they are read from its disks."""
    where = uris.parse(bucket)
    value = selected(where, prefix, template, list_) or {"template": ""}
    watching = Watching.typed(progress=progress, timeout=timeout, units=units, as_json=as_json)
    with Client(find_endpoints(endpoint)) as client:
        job_id = _job(client, where, "POST", "prefetch-listrange", value | {"latest-ver": latest})
        clusterjobs.started(client, job_id, watching, "", waits=wait or watching.is_asked_for)


def evict(
    bucket: _Bucket,
    prefix: PrefixOption = "",
    template: TemplateOption = "",
    list_: ListOption = "",
    keep_metadata: Annotated[
        bool, typer.Option("--keep-md", help="Keep the bucket's properties when all of it goes.")
    ] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Put objects of a bucket elsewhere out of the cluster; where they come from they stay."""
    where = uris.parse(bucket)
    value = selected(where, prefix, template, list_)
    if value:
        if keep_metadata:
            raise UsageError("--keep-md is for whole buckets; those of objects stay by themselves")
        with Client(find_endpoints(endpoint)) as client:
            job_id = _job(client, where, "DELETE", "evict-listrange", value)
            if job_id.startswith(_DONE):
                _tell_evicted(where, _shown(where, value), as_json=as_json)
            else:
                clusterjobs.started(client, job_id, Watching(as_json=as_json), "", waits=False)
        return
    query = where.query | ({"keep_bck_md": "true"} if keep_metadata else {})
    with Client(find_endpoints(endpoint)) as client:
        client.call("DELETE", where.bucket_path, query=query, body={"action": "evict-remote-bck"})
    _tell_evicted(where, where.bucket.cname, as_json=as_json)


def _shown(where: Location, value: dict[str, Any]) -> str:
    """What was selected, in words."""
    if len(names := value.get("objnames", ())) > 1:
        return f"{formats.count(len(names), 'object')} of {where.bucket.cname}"
    return formats.name(f"{where.bucket.cname}/{names[0] if names else value['template']}")


def _job(client: Client, where: Location, method: str, action: str, value: dict[str, Any]) -> str:
    """Start it, and return the job's id."""
    return client.text(method, where.bucket_path, query=where.query, body={"action": action, "value": value}).strip()


def _tell_evicted(where: Location, what: str, *, as_json: bool) -> None:
    if as_json:
        output.show_json({"uri": where.uri})
    else:
        output.say(f"Evicted {what}")
