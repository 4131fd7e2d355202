"""The objects of a bucket in byte order of their names, over all mountpaths, page by page.

Directories are walked in the order of full names (a directory sorts as its name with a slash), so nothing but one
directory's names is held per level. Walks are kept between pages: a page that continues where the last one of the same
`uuid` ended reads on, every other one is found again from its first name. Either way an object that is there all the
time is listed exactly once. Merging the targets' pages is left to the proxy.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from common.names import Bucket
from target.storage import layout, metadata
from target.storage.directories import BucketDirectory
from target.storage.kernel import DIRECTORY, try_open_beneath
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Mountpath

MAX_KEPT_WALKS = 16
_Place = tuple[bytes, int, bytes]
"""Name, number of the mountpath, path below the bucket's directory; compares by name."""


class ListEntry(NamedTuple):
    """One object of a listing, in the order of the wire between target and proxy; the last two only if asked for."""

    name: str
    size: int
    checksum: str
    stored_ns: int
    version: int
    mountpath: str
    custom: dict[str, str] | None
    grade: str
    source: str
    etag: str


def list_entry(name: str, found: ObjectMetadata, mountpath: str) -> ListEntry:
    """An object as a listing shows it."""
    custom = dict(found.custom) if found.custom else None
    return ListEntry(
        *(name, found.size, found.checksum, found.stored_ns, found.version, mountpath, custom, found.grade),
        found.source,
        found.etag,
    )


class _Walk(NamedTuple):
    """A listing that can go on: what was asked, over which directories, the places to come, the last name given."""

    asked: tuple[Bucket, str]
    directories: tuple[BucketDirectory | None, ...]
    places: Iterator[_Place]
    last: str


class Listings:
    """Pages of listings, with the walks that may be continued."""

    def __init__(self) -> None:
        self._walks: OrderedDict[str, _Walk] = OrderedDict()
        self._lock = threading.Lock()
        self._calm = threading.Condition()
        self._pages = 0

    def __repr__(self) -> str:
        return f"<Listings {len(self._walks)} walks kept>"

    def page(
        self, mountpaths: Sequence[Mountpath], bucket: Bucket, uuid: str, prefix: str, after: str, limit: int
    ) -> list[ListEntry]:
        """At most `limit` objects whose names begin with `prefix` and are greater than `after`; OSError.

        Fewer than `limit` mean that there are no more.
        """
        with self._reading():
            return self._page(mountpaths, bucket, uuid, prefix, after, limit)

    def _page(
        self, mountpaths: Sequence[Mountpath], bucket: Bucket, uuid: str, prefix: str, after: str, limit: int
    ) -> list[ListEntry]:
        directories = tuple(mountpath.bucket(bucket) for mountpath in mountpaths)
        walk = self._take(uuid)
        if walk is None or (walk.asked, walk.directories, walk.last) != ((bucket, prefix), directories, after):
            places = merged_places(mountpaths, directories, prefix.encode(), after.encode())
            walk = _Walk((bucket, prefix), directories, places, after)
        roots = [f"{mountpath.path}/".encode() + layout.bucket_path(bucket) + b"/" for mountpath in mountpaths]
        entries: list[ListEntry] = []
        while len(entries) < limit:
            places_of_page = list(islice(walk.places, limit - len(entries)))
            if not places_of_page:
                return entries
            entries += _entries(places_of_page, roots, mountpaths, entries[-1].name if entries else after)
        if uuid and entries:
            self._keep(uuid, walk._replace(last=entries[-1].name))
        return entries

    def forget(self, bucket: Bucket | None = None) -> None:
        """Let go of the walks of a bucket that is no more, or of all: they hold its directories open."""
        with self._lock:
            for uuid in [uuid for uuid, walk in self._walks.items() if bucket in (None, walk.asked[0])]:
                del self._walks[uuid]

    @contextlib.contextmanager
    def changing_places(self) -> Iterator[None]:
        """Objects leave places for others: no page is made meanwhile, and no walk from before goes on afterwards.

        One that has looked at the new place too early and at the old one too late would miss them.
        """
        with self._calm:
            self._calm.wait_for(lambda: self._pages == 0)
            self.forget()
            yield

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._calm:
            self._pages += 1
        try:
            yield
        finally:
            with self._calm:
                self._pages -= 1
                self._calm.notify_all()

    def _take(self, uuid: str) -> _Walk | None:
        with self._lock:
            return self._walks.pop(uuid, None)

    def _keep(self, uuid: str, walk: _Walk) -> None:
        with self._lock:
            self._walks[uuid] = walk
            while len(self._walks) > MAX_KEPT_WALKS:
                self._walks.popitem(last=False)


def merged_places(
    mountpaths: Sequence[Mountpath],
    directories: Sequence[BucketDirectory | None],
    prefix: bytes,
    after: bytes,
) -> Iterator[_Place]:
    """Where the objects of a bucket lie, in byte order of their names; a name on two mountpaths comes twice."""
    streams = []
    for number, (mountpath, directory) in enumerate(zip(mountpaths, directories, strict=True)):
        if directory is None:
            continue
        root = f"{mountpath.path}/".encode() + layout.bucket_path(directory.bucket) + b"/"
        streams.append(_natural_places(directory, root, number, prefix, after))
        if directory.has_hashed:
            streams.append(iter(_hashed_places(root, number, prefix, after)))
    return streams[0] if len(streams) == 1 else heapq.merge(*streams)


def _entries(
    places: Sequence[_Place], roots: Sequence[bytes], mountpaths: Sequence[Mountpath], previous: str
) -> list[ListEntry]:
    entries: list[ListEntry] = []
    ids = [mountpath.id for mountpath in mountpaths]
    for raw, number, path in places:
        name = raw.decode()
        if name == previous:
            continue
        found = metadata.read_at(roots[number] + path)
        if found is None:
            continue
        entry = list_entry(name, found, ids[number])
        if not entries or entries[-1].name != name:
            entries.append(entry)
        elif entries[-1].stored_ns < entry.stored_ns:
            entries[-1] = entry
    return entries


def _natural_places(
    directory: BucketDirectory, root: bytes, number: int, prefix: bytes, after: bytes
) -> Iterator[_Place]:
    """Objects at their own names; begins in the deepest directory that the prefix determines."""
    base = prefix[: prefix.rfind(b"/") + 1]
    if not _is_directory(directory, base):
        return
    objects = root + layout.OBJECTS + b"/"
    pending = [iter(_names_in(objects, base, prefix, after))]
    while pending:
        for name in pending[-1]:
            if name.endswith(b"/"):
                pending.append(iter(_names_in(objects, name, prefix, after)))
                break
            yield name, number, b"%ob/" + name
        else:
            pending.pop()


def _is_directory(directory: BucketDirectory, base: bytes) -> bool:
    """Whether objects can lie in `base`, which comes from a client: neither `..` nor a planted link leads out."""
    if b"\0" in base or not {b"", b".", b".."}.isdisjoint(base.split(b"/")[:-1]):
        return False
    fd = try_open_beneath(directory.fd, layout.OBJECTS + b"/" + base, DIRECTORY)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def _names_in(objects: bytes, base: bytes, prefix: bytes, after: bytes) -> list[bytes]:
    """Full names in one directory, sorted, directories with a slash, without what prefix and `after` exclude."""
    names = []
    try:
        with os.scandir(objects + base) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    name = base + entry.name
                    if name > after:
                        names.append(name)
                elif entry.is_dir(follow_symlinks=False):
                    name = base + entry.name + b"/"
                    if name > after or after.startswith(name):
                        names.append(name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    if len(prefix) > len(base):
        names = [name for name in names if name.startswith(prefix)]
    names.sort()
    return names


def _hashed_places(root: bytes, number: int, prefix: bytes, after: bytes) -> list[_Place]:
    """Objects at the hash of their names, which have to be read to be known."""
    places = []
    for group in _plain_names(root + layout.HASHED):
        for leaf in _plain_names(root + layout.HASHED + b"/" + group):
            path = layout.HASHED + b"/" + group + b"/" + leaf
            found = metadata.read_at(root + path)
            if found is not None and found.name:
                name = found.name.encode()
                if name > after and name.startswith(prefix):
                    places.append((name, number, path))
    places.sort()
    return places


def _plain_names(directory: bytes) -> list[bytes]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if not entry.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return []
