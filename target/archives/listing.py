"""A target's part of a listing that looks into archives: objects and members in one byte order, pages begin anywhere.

A member is listed as `ARCHIVE/MEMBER`. Names like `ARCHIVE-2` come between an archive and its members, so members wait
in a heap until it is their turn. A page that begins behind an archive finds it again: its name is part of the name
behind which the page begins.
"""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from common import clock
from common.errors import ObjectNotFound, Unsupported
from common.names import Bucket
from target.archives.formats import NotAnArchive, is_listed
from target.archives.index import Indexes
from target.archives.opening import open_archive
from target.storage.listing import ListEntry
from target.storage.store import Store

IS_ARCHIVE, IS_MEMBER = 512, 128
"""The dialect's flags of entries (wire.md §3.5)."""
_FIRST_OBJECTS, _MOST_OBJECTS = 32, 1024
_PAGE_SECONDS = 4.0
"""A page that has taken longer ends with what it has; each archive has to be opened, some to be read as a whole."""
_ENDS_OF_ARCHIVES = re.compile(r"\.(?:tar\.gz|tar|tgz|zip)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ArchivePage:
    """Entries, the flags of those that have some by name, and whether there may be more."""

    entries: list[ListEntry]
    flags: dict[str, int]
    has_more: bool


class ArchiveListing:
    """Lists buckets with what is in their archives."""

    def __init__(self, store: Store, indexes: Indexes) -> None:
        self._store = store
        self._indexes = indexes

    def page(self, bucket: Bucket, bucket_id: int, uuid: str, prefix: str, after: str, limit: int) -> ArchivePage:
        """At most `limit` entries with names greater than `after` that begin with `prefix`; raises DiskError."""
        run = _Run(self._store, self._indexes, bucket, bucket_id, prefix, after)
        deadline = clock.monotonic() + _PAGE_SECONDS
        entries: list[ListEntry] = []
        flags: dict[str, int] = {}
        for entry, flag in run.entries(f"{uuid}.archives" if uuid else ""):
            if entries and entries[-1].name == entry.name:
                continue
            entries.append(entry)
            if flag:
                flags[entry.name] = flag
            if len(entries) == limit or clock.monotonic() > deadline:
                return ArchivePage(entries, flags, has_more=True)
        return ArchivePage(entries, flags, has_more=False)


class _Run:
    """One page being made."""

    def __init__(self, store: Store, indexes: Indexes, bucket: Bucket, bucket_id: int, prefix: str, after: str) -> None:
        self._store = store
        self._indexes = indexes
        self._bucket, self._bucket_id = bucket, bucket_id
        self._prefix, self._after = prefix, after
        self._waiting: list[tuple[str, int, ListEntry, Iterator[ListEntry]]] = []
        self._order = count()

    def entries(self, uuid: str) -> Iterator[tuple[ListEntry, int]]:
        """Entries in byte order with their flags; of an object and a member with one name the object first."""
        for name in _archives_before(self._after, self._prefix):
            self._look_into(name)
        for entry in self._objects(uuid):
            yield from self._members_before(entry.name)
            is_archive = is_listed(entry.name) and self._look_into(entry.name)
            yield entry, IS_ARCHIVE if is_archive else 0
        yield from self._members_before(None)

    def _objects(self, uuid: str) -> Iterator[ListEntry]:
        after, wanted = self._after, _FIRST_OBJECTS
        while True:
            found = self._store.list_objects(
                self._bucket, self._bucket_id, uuid=uuid, prefix=self._prefix, after=after, limit=wanted
            )
            yield from found
            if len(found) < wanted:
                return
            after, wanted = found[-1].name, min(2 * wanted, _MOST_OBJECTS)

    def _members_before(self, name: str | None) -> Iterator[tuple[ListEntry, int]]:
        while self._waiting and (name is None or self._waiting[0][0] < name):
            _, _, entry, rest = heapq.heappop(self._waiting)
            yield entry, IS_MEMBER
            self._wait(rest)

    def _wait(self, members: Iterator[ListEntry]) -> None:
        entry = next(members, None)
        if entry is not None:
            heapq.heappush(self._waiting, (entry.name, next(self._order), entry, members))

    def _look_into(self, name: str) -> bool:
        """Have the members of an object listed; False when it is no archive that can be read, or is not here."""
        with contextlib.suppress(ObjectNotFound, NotAnArchive, Unsupported):
            found, mountpath = self._store.open(self._bucket, name, self._bucket_id)
            with found:
                try:
                    index = open_archive(found, name, name, self._indexes).index
                except OSError as error:
                    raise mountpath.error(error) from None
            base = f"{name}/"
            inside = self._prefix[len(base) :] if self._prefix.startswith(base) else ""
            beyond = self._after[len(base) :] if self._after.startswith(base) else ""
            stored_ns = found.metadata.stored_ns
            members = (
                ListEntry(base + member.name, member.size, "", stored_ns, 0, mountpath.id, None, "", "", "")
                for member in index.beyond(beyond, inside)
            )
            if base > self._after or beyond:
                self._wait(members)
            return True
        return False


def _archives_before(after: str, prefix: str) -> set[str]:
    """Names of archives that are not beyond `after`, or not below `prefix`, while their members may be."""
    names = set()
    for end in (match.end() for match in _ENDS_OF_ARCHIVES.finditer(after)):
        if after[end : end + 1] <= "/" and _may_have(after[:end], prefix):
            names.add(after[:end])
    for end in (match.end() for match in _ENDS_OF_ARCHIVES.finditer(prefix)):
        if prefix[end : end + 1] == "/":
            names.add(prefix[:end])
    return names


def _may_have(name: str, prefix: str) -> bool:
    return f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/")
