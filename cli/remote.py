"""`haul prefetch` and `haul evict`: objects of buckets elsewhere, brought into the cluster and put out of it again.

What such a bucket has, and what of it is in the cluster, is shown by `haul ls`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import formats, output, uris
from cli.client import Client, find_endpoints
from cli.downloads import objectlist
from cli.errors import CommandError, UsageError
from cli.options import EndpointOption, JsonOption
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
_Prefix = Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Only objects whose names begin so.")]
_Template = Annotated[str, typer.Option("--template", metavar="TEXT", help="Only these, such as dir/obj-{000..999}.")]
_DONE = "evt-"
"""How an id begins of what was done when it was answered; other clusters answer with ids of jobs."""
_List = Annotated[
    str, typer.Option("--list", metavar="FILE", help="Only those whose names are in FILE (- for standard input).")
]


def prefetch(
    bucket: _Bucket,
    prefix: _Prefix = "",
    template: _Template = "",
    list_: _List = "",
    latest: Annotated[bool, typer.Option("--latest", help="Also fetch again what has changed there.")] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Bring objects of a bucket elsewhere into the cluster, so that they are read from its disks."""
    where = uris.parse(bucket)
    value = _selected(where, prefix, template, list_) or {"template": ""}
    _start(where, "POST", "prefetch-listrange", value | {"latest-ver": latest}, endpoint, as_json=as_json)


def evict(
    bucket: _Bucket,
    prefix: _Prefix = "",
    template: _Template = "",
    list_: _List = "",
    keep_metadata: Annotated[
        bool, typer.Option("--keep-md", help="Keep the bucket's properties when all of it goes.")
    ] = False,
    as_json: JsonOption = False,
    endpoint: EndpointOption = None,
) -> None:
    """Put objects of a bucket elsewhere out of the cluster; where they come from they stay."""
    where = uris.parse(bucket)
    value = _selected(where, prefix, template, list_)
    if value:
        if keep_metadata:
            raise UsageError("--keep-md is for whole buckets; those of objects stay by themselves")
        _start(where, "DELETE", "evict-listrange", value, endpoint, as_json=as_json)
        return
    query = where.query | ({"keep_bck_md": "true"} if keep_metadata else {})
    with Client(find_endpoints(endpoint)) as client:
        client.call("DELETE", where.bucket_path, query=query, body={"action": "evict-remote-bck"})
    if as_json:
        output.show_json({"uri": where.bucket.cname})
    else:
        output.say(f"Evicted {where.bucket.cname}")


def _selected(where: Location, prefix: str, template: str, list_: str) -> dict[str, Any]:
    """Which objects are meant, as the dialect says it; empty for all. Raises UsageError when it is said twice."""
    given = [text for text in (where.name, prefix, template, list_) if text]
    if len(given) > 1:
        raise UsageError("name the objects once: behind the bucket, or by --prefix, --template or --list")
    if list_:
        names = objectlist.read(list_)
        if not isinstance(names, list):
            raise UsageError("--list: expected names, one per line or a JSON array")
        return {"objnames": names}
    if where.name.endswith(("/", "*")) and "{" not in where.name:
        prefix = where.name.rstrip("*")
    if prefix or template or "{" in where.name:
        return {"template": prefix or template or where.name}
    return {"objnames": [uris.checked(where).name]} if where.name else {}


def _shown(where: Location, value: dict[str, Any]) -> str:
    """What was selected, in words."""
    if len(names := value.get("objnames", ())) > 1:
        return f"{formats.count(len(names), 'object')} of {where.bucket.cname}"
    return formats.name(f"{where.bucket.cname}/{names[0] if names else value['template']}")


def _start(
    where: Location, method: str, action: str, value: dict[str, Any], endpoint: str | None, *, as_json: bool
) -> None:
    with Client(find_endpoints(endpoint)) as client:
        body = {"action": action, "value": value}
        job_id = client.text(method, where.bucket_path, query=where.query, body=body).strip()
    if job_id.startswith(_DONE):
        if as_json:
            output.show_json({"uri": where.uri})
        else:
            output.say(f"Evicted {_shown(where, value)}")
        return
    if not job_id:
        raise CommandError("the cluster accepted the job but did not tell its id")
    if as_json:
        output.show_json({"id": job_id})
        return
    output.say(f"Started job {formats.name(job_id)}")
