"""One page of a bucket's objects, merged from all targets in byte order; how it is written is left to `proxy.api`.

Every target is asked for its fair share of the page and a little more, not for the whole page, and again only when its
names run out before the page is full. A target that does not answer fails the page: a listing is never silently
shorter than the bucket. While objects move, their new owner may be asked before one comes and the old one after it has
gone: so an old copy stays for longer than a page may take (`rebalance_keep_seconds`), and what targets remember of a
listing between its pages is not used.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from common import clock
from common.buckets import BucketRecord
from common.clustermap import Node, NoTargets
from common.errors import HaulError, Unavailable
from proxy.membership import Membership
from proxy.peers import Peers

_DEADLINE_SECONDS = 5.0
_ARCHIVES_DEADLINE_SECONDS = 90.0
"""A target may have to read a compressed archive as a whole to find what is in it; asked again, it knows."""
_PAGE_SECONDS = 8.0
"""While objects move; less than old copies are kept by default."""
_ATTEMPTS = 5
_BEHIND_DIRECTORY = "\U0010ffff"
_NAME = itemgetter(0)
_STORED_NS = 3
_DIRECTORY_PAGE = 256
_ARCHIVES_PAGE_SECONDS = 5.0
"""A page with archives that has taken longer ends with what it has."""
Entry = list[Any]
"""Name, size, checksum, stored_ns, version, mountpath label, custom metadata or None, grade; with sources the link that
it has come from, with ETags that of the origin or of S3, empty without one, with properties the target id."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page: names beyond `after` that begin with `prefix`, at most `limit`; in archives, too, if wanted."""

    prefix: str = ""
    after: str = ""
    limit: int = 10_000
    uuid: str = ""
    with_properties: bool = False
    recursive: bool = True
    with_sources: bool = False
    with_archives: bool = False
    with_etags: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Objects in byte order, directories if not recursive, and where to go on (empty: the end).

    `absent` are the names of those that are outside, and not in the cluster; `flags` what is said of archives and of
    what is in them.
    """

    entries: list[Entry]
    directories: list[str]
    next_after: str
    absent: frozenset[str] = frozenset()
    flags: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Source:
    """What one target has sent and has not been taken yet; `complete` when it has no more names."""

    node: Node
    entries: list[Entry]
    after: str
    complete: bool = False


class _OlderMap(Exception):
    """A target has a newer cluster map than this proxy: objects may be where it does not look."""


class Listing:
    """Lists buckets over all targets of the cluster map."""

    def __init__(self, membership: Membership, peers: Peers) -> None:
        self._membership = membership
        self._peers = peers

    async def page(self, record: BucketRecord, query: PageQuery) -> Page:
        """One page; raises NoTargets, Unavailable naming a target that does not answer."""
        for _ in range(_ATTEMPTS):
            cluster_map = self._membership.map
            # A walk that goes on from an earlier page would not see what has come to a target since.
            uuid = f"{query.uuid}.{cluster_map.placement_version}" if cluster_map.is_settled else ""
            try:
                async with asyncio.timeout(None if cluster_map.is_settled else _PAGE_SECONDS):
                    return await self._page(record, replace(query, uuid=uuid))
            except TimeoutError:
                raise Unavailable("objects are moving, and the listing took too long to be sure; try again") from None
            except _OlderMap:
                await self._membership.refresh_map()
        raise Unavailable("the cluster map is changing too fast for a listing; try again")

    async def _page(self, record: BucketRecord, query: PageQuery) -> Page:
        if not query.recursive:
            return await self._level(record, query)
        flags: dict[str, int] = {}
        entries, more = await self._names(record, query, query.after, query.limit, flags)
        return Page(entries, [], entries[-1][0] if more and entries else "", flags=flags)

    async def _level(self, record: BucketRecord, query: PageQuery) -> Page:
        """One level of a hierarchy: what lies deeper is shown as its directory, and skipped."""
        entries: list[Entry] = []
        directories: list[str] = []
        flags: dict[str, int] = {}
        shown = query.after if _is_directory(query, query.after) else ""  # the page before this one ended with it
        after = query.after + _BEHIND_DIRECTORY if shown else query.after
        last, more = "", True
        while more and len(entries) + len(directories) < query.limit:
            wanted = min(_DIRECTORY_PAGE, query.limit)
            found, more = await self._names(record, query, after, wanted, flags)
            for entry in found:
                if len(entries) + len(directories) >= query.limit:
                    more = True
                    break
                name = entry[0]
                if shown and name.startswith(shown):
                    continue  # names can be behind _BEHIND_DIRECTORY, too
                slash = name.find("/", len(query.prefix))
                if slash < 0:
                    entries.append(entry)
                    last = name
                else:
                    last = shown = name[: slash + 1]
                    directories.append(last)
            after = last + _BEHIND_DIRECTORY if _is_directory(query, last) else last
            if found:
                after = max(after, found[-1][0])
        return Page(entries, directories, last if more else "", flags=flags)

    async def _names(
        self, record: BucketRecord, query: PageQuery, after: str, limit: int, flags: dict[str, int]
    ) -> tuple[list[Entry], bool]:
        """Up to `limit` entries beyond `after` from all targets, and whether there may be more; adds to `flags`."""
        targets = self._membership.map.targets
        if not targets:
            raise NoTargets
        sources = [_Source(node, [], after) for node in targets]
        share = limit / len(targets)
        wanted = min(limit, math.ceil(share + 4 * math.sqrt(share)) + 8)
        taken: list[Entry] = []
        ends_at = clock.monotonic() + _ARCHIVES_PAGE_SECONDS if query.with_archives else math.inf
        while len(taken) < limit and not (taken and clock.monotonic() > ends_at):
            empty = [source for source in sources if not source.entries and not source.complete]
            await self._fill(record, query, empty, wanted, flags)
            taken += _take(sources, limit - len(taken))
            wanted = min(wanted, max(64, limit - len(taken)))
            if all(source.complete and not source.entries for source in sources):
                return taken, False
        return taken, any(source.entries or not source.complete for source in sources)

    async def _fill(
        self, record: BucketRecord, query: PageQuery, sources: list[_Source], limit: int, flags: dict[str, int]
    ) -> None:
        calls = {
            source.node: {
                "bucket": record.bucket.uname,
                "bucket_id": record.id,
                "uuid": query.uuid,
                "prefix": query.prefix,
                "after": source.after,
                "limit": limit,
                "props": query.with_properties,
                "sources": query.with_sources,
                "archives": query.with_archives,
                "etags": query.with_etags,
            }
            for source in sources
        }
        seconds = _ARCHIVES_DEADLINE_SECONDS if query.with_archives else _DEADLINE_SECONDS
        answers, errors = await self._peers.call_each(calls, "/intra/v1/objects/list", seconds)
        for target, error in errors.items():
            raise _incomplete(target, error)
        known = self._membership.map.placement_version
        if any(answer.get("placement_version", 0) > known for answer in answers.values()):
            raise _OlderMap
        for source in sources:
            answer = answers[source.node.id]
            source.entries = answer["entries"]
            source.complete = not answer.get("has_more", len(source.entries) == limit)
            flags.update(answer.get("flags", {}))
            for entry in source.entries if query.with_properties else ():
                entry.append(source.node.id)
            if source.entries:
                source.after = source.entries[-1][0]


def _is_directory(query: PageQuery, name: str) -> bool:
    """Whether a name of this level stands for all behind its slash; the one that is the prefix is an object."""
    return name.endswith("/") and name != query.prefix


def _take(sources: list[_Source], limit: int) -> list[Entry]:
    """Remove from the sources up to `limit` of the lowest entries, as far as all of them have been heard.

    A source that may have more bounds what is known by its last name. A name that two targets hold (objects are moving)
    is shown once, as the newer one is.
    """
    bound = min((source.after for source in sources if not source.complete), default=None)
    merged: list[Entry] = []
    for source in sources:
        merged += source.entries
    merged.sort(key=_NAME)
    page: list[Entry] = []
    previous = None
    for entry in merged:
        name = entry[0]
        if (len(page) == limit and name != previous) or (bound is not None and name > bound):
            break
        if name != previous:
            page.append(entry)
            previous = name
        elif entry[_STORED_NS] > page[-1][_STORED_NS]:
            page[-1] = entry
    for source in sources:
        if previous is not None and source.entries:
            source.entries = _beyond(source.entries, previous)
    return page


def _beyond(entries: list[Entry], name: str) -> list[Entry]:
    """The entries after a name, found by bisection."""
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        if entries[middle][0] <= name:
            low = middle + 1
        else:
            high = middle
    return entries[low:]


def _incomplete(target: str, error: HaulError) -> HaulError:
    if isinstance(error, Unavailable):
        return Unavailable(
            f'target "{target}" does not answer, and the listing would be incomplete without it; '
            "start the target again, or try again later"
        )
    return error
