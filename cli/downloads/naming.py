"""Under which name an object of a job is stored, and which link a line of a list means; pure.

Names are spelled so that the cluster reads exactly what was typed (wire.md §1.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from cli.downloads import sources
from cli.downloads.sources import InBucket, Source, scheme_of
from cli.errors import UsageError
from common.errors import RequestError
from common.names import basename_of_link, normalize_object_name, printable

_URL_CHARACTERS = "%/?:@!$&'()*+,;=~#"
"""Lists have names as people write them; what no URL may have in it is percent-encoded, what is encoded stays."""

ObjectList = Sequence[str] | Mapping[str, str]


def named_links(base: Source | None, prefix: str, objects: ObjectList) -> dict[str, str] | list[str]:
    """Every link made absolute, every name put behind the prefix; a bare list of links is left to the cluster."""
    if isinstance(objects, Mapping):
        return {literal(joined(prefix, name)): _absolute(base, link) for name, link in objects.items()}
    if not prefix and all(scheme_of(entry) for entry in objects):
        return [sources.link_of(entry) for entry in objects]
    named: dict[str, str] = {}
    for entry in objects:
        link = _absolute(base, entry)
        name = literal(joined(prefix, name_of(link) if scheme_of(entry) else _relative_name(base, entry)))
        if named.setdefault(name, link) != link:
            raise UsageError(
                f'two links would land on the same object "{printable(name)}": '
                f'"{printable(named[name])}" and "{printable(link)}"'
            )
    return named


def object_name(link: str, name: str) -> dict[str, str]:
    """The name as typed; a trailing slash means: into that directory, under the link's own name."""
    if not name:
        return {}
    if name.endswith("/"):
        name += name_of(link)
    return {"object_name": literal(name)}


def subdirectory(prefix: str) -> dict[str, str]:
    """The directory that objects keep their names in, if one is given."""
    return {"subdir": prefix.rstrip("/")} if prefix.rstrip("/") else {}


def joined(prefix: str, name: str) -> str:
    """A name behind a directory, which may be none."""
    return f"{prefix.rstrip('/')}/{name}" if prefix.rstrip("/") else name


def name_of(link: str) -> str:
    """The object name that a link gives: the last component of its path, decoded; raises UsageError."""
    path = _path_of(link)
    name = basename_of_link(path)
    try:
        if scheme_of(path) and "/" not in path.split("://", 1)[1].rstrip("/"):
            raise UsageError(f'the link "{printable(path)}" gives no object name; add one to the destination')
        return normalize_object_name(name)
    except RequestError as error:
        raise UsageError(f'the link "{printable(path)}" gives no object name: {error}') from None


def literal(name: str) -> str:
    """The name so spelled that the cluster reads exactly `name`: it takes a job's names for parts of URLs."""
    return quote(name, safe="/") if any(mark in name for mark in "%?#:") else name


def _absolute(base: Source | None, link: str) -> str:
    if scheme_of(link):
        return sources.link_of(link)
    if base is None:
        raise UsageError(
            f'"{printable(link)}" is a relative link, and no source is given that it stands behind: '
            "haul download SOURCE DESTINATION --object-list FILE"
        )
    if isinstance(base, InBucket):
        return base.link(joined(base.name, link))
    return f"{base.link.rstrip('/')}/{quote(link.lstrip('/'), safe=_URL_CHARACTERS)}"


def _path_of(link: str) -> str:
    return re.split(r"[?#]", link, maxsplit=1)[0]


def _relative_name(base: Source | None, entry: str) -> str:
    """A relative link is the object's name, directories and all; what is encoded in it is decoded, but for buckets."""
    if isinstance(base, InBucket):
        return entry
    try:
        return normalize_object_name(_path_of(entry).lstrip("/"))
    except RequestError as error:
        raise UsageError(str(error)) from None
