"""Opening what a batch asks for: here if it is this target's, else at its owner, over the same HTTP that clients use.

So objects that are moving, and those that a backend still has, are found as any read finds them. In which order things
are opened and read is left to `assembling`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote, urlencode

from common.access import Permission
from common.clustermap import Node
from common.errors import BucketNotFound, HaulError, ObjectNotFound, RangeNotSatisfiable, Unavailable
from common.names import Bucket, printable
from common.nodeclient import RemoteError
from common.nodestream import Answer, NodeStreams
from target.archives.index import BUILDS, Indexes
from target.archives.opening import NotInArchive, open_archive, opens_at_once
from target.batches.relays import Relay
from target.batches.requests import TO_THE_END, Entry
from target.membership import Membership
from target.storage.reader import OpenObject
from target.storage.store import Store

T = TypeVar("T")
_THREADS = 8
_PIECE_BYTES = 1 << 20
_MAX_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Something open: how many bytes will come, and the bytes in pieces, exactly so many."""

    size: int
    pieces: AsyncIterator[bytes]


class _NotIndexed(Exception):
    """It is not known yet what is in an archive."""


class Sources:
    """Opens entries."""

    def __init__(self, store: Store, membership: Membership, streams: NodeStreams, indexes: Indexes) -> None:
        self._store = store
        self._membership = membership
        self._streams = streams
        self._indexes = indexes
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="batches")
        self._builders = ThreadPoolExecutor(BUILDS, thread_name_prefix="batches-archives")
        """For archives that were never looked into, which can take half a minute: others are not to wait for them."""

    @contextlib.asynccontextmanager
    async def opened(self, entry: Entry) -> AsyncIterator[Source]:
        """An entry, open; raises RequestErrors, DiskError, Unavailable, RemoteError, also while pieces are read."""
        owner = self.owner(entry)
        local = await self._opened_here(entry) if owner is None else None
        if local is not None:
            try:
                yield Source(local.size, self._pieces(local.pieces))
            finally:
                self._threads.submit(local.close)
            return
        url, target = (owner or self._membership.node).url, self._target(entry)
        async with self._streams.exchange("GET", url, target, _headers(entry)) as answer:
            yield Source(await _size_of(answer, entry), answer.chunks())

    async def check_buckets(self, entries: Iterable[Entry]) -> None:
        """Raise BucketNotFound when one of their buckets is not there, AccessDenied when clients may not read it."""
        buckets = {entry.bucket for entry in entries}
        if any(map(self._is_missing, buckets)):
            await self._membership.refresh()  # it may have been made a moment ago
        for bucket in buckets:
            if self._is_missing(bucket):
                raise BucketNotFound(bucket.cname)
            self._membership.check_access(bucket, Permission.GET)

    def _is_missing(self, bucket: Bucket) -> bool:
        """Whether it would be in the cluster, and is not, as far as this target knows."""
        return self._membership.bucket_id(bucket) is None and self._membership.backend_of(bucket) is None

    def owner(self, entry: Entry) -> Node | None:
        """Another target that an entry is to be asked from, None for this one's; raises NoTargets."""
        owner = self._membership.cluster_map.owner(entry.bucket, entry.name)
        return owner if owner.id != self._membership.node.id else None

    def relay(self, owner: Node, entries: Sequence[Entry]) -> Relay:
        """A way to read many entries from another target."""
        return Relay(self._streams, owner.url, entries)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do something that may wait for a disk or a processor."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _opened_here(self, entry: Entry) -> _Local | None:
        """An object of this target's; None when it is not here, and may be elsewhere."""
        try:
            try:
                return await self._in(self._threads, partial(self._open, entry))
            except _NotIndexed:
                return await self._in(self._builders, partial(self._open, entry, builds=True))
        except NotInArchive:
            raise
        except ObjectNotFound:
            if self._membership.cluster_map.is_settled and self._membership.backend_of(entry.bucket) is None:
                raise
            return None

    async def _in(self, threads: ThreadPoolExecutor, open_it: Callable[[], _Local]) -> _Local:
        opening = threads.submit(open_it)
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close)
            raise

    def _open(self, entry: Entry, *, builds: bool = False) -> _Local:
        """Raises _NotIndexed unless it `builds` what is not known of an archive."""
        found, mountpath = self._store.open(entry.bucket, entry.name, self._membership.bucket_id(entry.bucket))
        try:
            size, read = self._content(found, entry, builds)
            start, end = _range(entry, size)
            return _Local(end - start, _failing(read(start, end), mountpath.error), found.close)
        except OSError as error:
            found.close()
            raise mountpath.error(error) from None
        except BaseException:
            found.close()
            raise

    def _content(
        self, found: OpenObject, entry: Entry, builds: bool
    ) -> tuple[int, Callable[[int, int], Iterator[bytes]]]:
        """How long the object is, or the member, and what reads a range of it."""
        if not entry.archpath:
            return found.size, partial(_plain, found)
        shown = f"{entry.bucket.cname}/{printable(entry.name)}"
        if not builds and not opens_at_once(found, entry.name, self._indexes):
            raise _NotIndexed
        archive = open_archive(found, entry.name, shown, self._indexes)
        member = archive.index.find(entry.archpath)
        if member is None:
            raise NotInArchive(f'{shown} does not contain the archived file "{printable(entry.archpath)}"')
        return member.size, partial(archive.pieces, member)

    async def _pieces(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        while piece := await self.in_thread(lambda: next(pieces, b"")):
            yield piece

    def _target(self, entry: Entry) -> str:
        """What its owner is asked for; this target itself knows where its objects may be besides."""
        bucket = entry.bucket
        query = {"provider": bucket.provider, "namespace": bucket.namespace, "archpath": entry.archpath}
        bucket_id = self._membership.bucket_id(bucket)
        if bucket_id is not None:
            query["bid"] = str(bucket_id)
        asked = urlencode({key: value for key, value in query.items() if value})
        return f"/v1/objects/{bucket.name}/{quote(entry.name)}?{asked}"


@dataclass(frozen=True, slots=True)
class _Local:
    size: int
    pieces: Iterator[bytes]
    close: Callable[[], None]


def _close(opening: Future[_Local]) -> None:
    """What nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _range(entry: Entry, size: int) -> tuple[int, int]:
    """The bytes of the whole that are asked for; raises RangeNotSatisfiable when there are fewer."""
    if not entry.range_header:
        return 0, size
    end = size if entry.length == TO_THE_END else entry.start + entry.length
    if entry.start >= size or end > size:
        raise RangeNotSatisfiable(f"{entry.shown}: {entry.range_header}", size)
    return entry.start, end


def _plain(found: OpenObject, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        piece = found.read(start, min(end - start, _PIECE_BYTES))
        start += len(piece)
        yield piece


def _failing(pieces: Iterator[bytes], told: Callable[[OSError], HaulError]) -> Iterator[bytes]:
    try:
        yield from pieces
    except OSError as error:
        raise told(error) from None


def _headers(entry: Entry) -> list[tuple[bytes, bytes]]:
    return [(b"range", entry.range_header.encode())] if entry.range_header else []


async def _size_of(answer: Answer, entry: Entry) -> int:
    """The size that an answer announces; raises what it says if it is an error."""
    if answer.status not in (200, 206):
        raise _error(answer.status, await answer.read(_MAX_ERROR_BYTES), entry)
    size = int(answer.header(b"content-length") or -1)
    if size < 0:
        raise Unavailable(f"{entry.shown}: its owner does not tell its size")
    if entry.length > 0 and size != entry.length:
        raise RangeNotSatisfiable(f"{entry.shown}: {entry.range_header}", entry.start + size)
    return size


def _error(status: int, body: bytes, entry: Entry) -> HaulError:
    try:
        fields = json.loads(body)
        return RemoteError(str(fields["message"]), status=status, code=str(fields.get("tcode", "")))
    except (ValueError, KeyError, TypeError):
        return RemoteError(f"{entry.shown}: its owner answers {status}", status=status, code="")
