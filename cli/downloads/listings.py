"""Lists what the cluster does not list by itself: another cluster by its address, and pages with links.

What is posted for it is left to `cli.downloads.requests`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from cli import formats, output
from cli.downloads import sources
from cli.downloads.sources import InBucket, Selection, Source
from cli.errors import CommandError, UsageError
from common.backends.base import Backend, SourceObject
from common.backends.cluster import ClusterBackend
from common.backends.settings import ClusterSettings
from common.backends.web import WebBackend
from common.errors import HaulError
from common.expectation import HEX_LENGTHS

Entry = tuple[str, Mapping[str, object]]
"""An object's name, and its link with what is known of it."""


def found(
    source: Source, selection: Selection, credentials: Mapping[str, str], headers: Mapping[str, Sequence[str]]
) -> list[Entry]:
    """All wanted objects of a source that `is_listed_here`; raises CommandError, also where there is none.

    `credentials` are for clusters, `headers` for the web.
    """
    if selection.sync or selection.max_delete is not None:
        raise UsageError("--sync is for buckets that the cluster lists itself: s3://, gs://, az:// and ais://@CLUSTER/")
    try:
        if isinstance(source, InBucket):
            settings = ClusterSettings(url=source.url)
            with closing(ClusterBackend(source.bucket, settings, credentials)) as cluster:
                prefix = sources.prefix_of(source, selection)
                entries = [_entry(one, source.link(one.name)) for one in _wanted(cluster, prefix, selection)]
        else:
            if "{" in source.link:
                raise UsageError("with --recursive the source is the address of one page, not a template")
            with closing(WebBackend(source.link, headers)) as web:
                listed = _wanted(web, selection.prefix, selection)
                entries = [_entry(one, web.request(one.name).url) for one in listed]
                _tell_left_out(web.left_out)
    except HaulError as error:
        raise CommandError(str(error)) from None
    if not entries:
        raise CommandError("the source lists no object that is wanted")
    output.note(f"Found {formats.count(len(entries), 'object')}")
    return entries


def _wanted(backend: Backend, prefix: str, selection: Selection) -> Iterator[SourceObject]:
    token = ""
    while True:
        page = backend.page(prefix, token)
        yield from (one for one in page.objects if one.name.endswith(selection.suffix))
        token = page.token
        if not token:
            return


def _tell_left_out(links: Sequence[str]) -> None:
    if links:
        count = formats.count(len(set(links)), "link")
        output.note(f"Left out {count} to what cannot be an object, such as {formats.name(links[0])}")


def _entry(one: SourceObject, link: str) -> Entry:
    fields: dict[str, object] = {"link": link}
    if one.size_bytes is not None:
        fields["size"] = one.size_bytes
    return one.name, fields | {name: digest for name, digest in one.digests.items() if name in HEX_LENGTHS}
