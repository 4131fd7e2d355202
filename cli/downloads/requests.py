"""From the arguments of `haul download` to the body that is posted (wire.md §1.1); pure.

What the source means is left to `cli.downloads.sources`, HuggingFace's repositories to `cli.downloads.repositories`,
reading the list of objects from its file to `cli.downloads.objectlist`, posting to `cli.downloads.commands`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cli.downloads import sources
from cli.downloads.joboptions import Options, common_fields
from cli.downloads.naming import ObjectList, joined, literal, named_links, object_name, subdirectory
from cli.downloads.sources import ALL, InBucket, Selection, Source, Web
from cli.errors import UsageError
from cli.uris import Location


def build(
    source: str, destination: Location, objects: ObjectList | None, options: Options, selection: Selection = ALL
) -> dict[str, Any]:
    """The body of `POST /v1/download`.

    `objects` makes a multi job (`source` is what relative links stand behind), a template in `source` a range job, a
    bucket or a prefix of it a backend job, anything else a single one. Raises UsageError for what cannot be meant.
    """
    body = common_fields(destination, options)
    found = sources.parse(source) if source else None
    if objects is not None:
        return body | {"type": "multi", "objects": named_links(found, destination.name, objects)}
    if found is None:
        raise UsageError("the source is missing: haul download SOURCE DESTINATION")
    if isinstance(found, InBucket):
        if sources.is_whole(found, selection):
            return body | _backend(found, destination, selection)
        if found.has_ranges:
            template = found.link(found.name, has_ranges=True)
            return body | {"type": "range", "template": template} | subdirectory(destination.name)
        link = found.link(found.name)
    else:
        if selection.is_given:
            raise UsageError("--prefix, --suffix and --sync are for buckets, and for pages with --recursive")
        link = found.link
        if "{" in link:
            return body | {"type": "range", "template": link} | subdirectory(destination.name)
    return body | {"type": "single", "link": link} | object_name(link, destination.name)


def build_found(
    found: Iterable[tuple[str, Mapping[str, object]]], destination: Location, options: Options
) -> dict[str, Any]:
    """The body for objects that were listed here: their names, and for each its link and what is known of it."""
    objects = {literal(joined(destination.name, name)): fields for name, fields in found}
    return common_fields(destination, options) | {"type": "multi", "objects": objects}


def build_listed(base: str, destination: Location, manifest_format: str, options: Options) -> dict[str, Any]:
    """The body for objects that a manifest lists; `base` is where those of a list of sums are. Raises UsageError."""
    if destination.name:
        raise UsageError("with --manifest the destination is a bucket: the manifest has the names")
    body = common_fields(destination, options) | {"type": "multi"}
    link = sources.link_of(base) if base else ""
    return body | {key: value for key, value in (("format", manifest_format), ("base", link)) if value}


def itself(source: str, selection: Selection) -> str:
    """The destination where none is given: a bucket that the cluster can list is filled from itself.

    Empty where there is no such; raises UsageError for an object of one.
    """
    found: Source = sources.parse(source) if source else Web("")
    if isinstance(found, Web) or found.url:
        return ""
    if not sources.is_whole(found, selection):
        raise UsageError(
            "expected a source and a destination:  haul download SOURCE ais://BUCKET[/NAME]\n"
            f"       To have it under its own name:  haul prefetch {source}"
        )
    return found.bucket.cname


def _backend(found: InBucket, destination: Location, selection: Selection) -> dict[str, Any]:
    if selection.max_delete is not None and not selection.sync:
        raise UsageError("--max-delete is how many objects --sync may remove; it needs --sync")
    body: dict[str, Any] = {"type": "backend", "sync": selection.sync}
    if destination.bucket != found.bucket:
        body |= {"source": found.bucket.to_wire()} | subdirectory(destination.name)
    elif destination.name:
        raise UsageError(f"{found.bucket.cname} is filled from itself: its objects keep their names")
    optional = {"prefix": sources.prefix_of(found, selection), "suffix": selection.suffix}
    body |= {key: value for key, value in optional.items() if value}
    return body if selection.max_delete is None else body | {"max_delete": selection.max_delete}
