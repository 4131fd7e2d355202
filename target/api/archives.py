"""Members of archives in HTTP: one with its length, or a range of it, or all that match as a tar made on the way.

Opening archives and reading members wait for disks and processors, so they have threads of their own here; archives
that were never looked into, which can take half a minute, wait for their turn without one. Finding the object is left
to `objects`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, cast

from common import web
from common.patience import while_taken
from target.api.object_headers import parse_range
from target.archives.formats import Format
from target.archives.index import BUILDS, Indexes, Member
from target.archives.opening import Archive, open_archive, opens_at_once
from target.archives.packing import MEDIA_TYPES, packer
from target.archives.selection import Selection
from target.storage.mountpath import Mountpath
from target.storage.reader import OpenObject

T = TypeVar("T")
_THREADS = 8
_BYTES: web.Header = (b"content-type", b"application/octet-stream")
_PRESENT: web.Header = (b"ais-present", b"true")


@dataclass(frozen=True, slots=True)
class Opened:
    """An open object, where it lies, its name, and how errors show it."""

    found: OpenObject
    mountpath: Mountpath
    name: str
    shown: str


class ArchiveReads:
    """Answers requests for members of archives."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="archives")
        self._builders = ThreadPoolExecutor(BUILDS, thread_name_prefix="archives-built")

    async def answer(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, opened: Opened, selection: Selection
    ) -> None:
        """Answer a GET or HEAD of members; closes the object. Raises NotAnArchive, NotInArchive, DiskError."""
        send = while_taken(send)
        work = _Work(self._threads, opened.found.close)
        try:
            is_known = await work.do(lambda: self._is_known(opened, selection))
            threads = self._threads if is_known else self._builders
            archive, chosen = await work.do(lambda: self._open(opened, selection), threads)
            if selection.matches is None:
                status, headers, start, end = _one(scope, chosen[0])
                pieces = archive.pieces(chosen[0], start, end)
            else:
                status, headers = 200, [_PRESENT, (b"content-type", MEDIA_TYPES[Format.TAR])]
                pieces = _as_tar(archive, chosen)
            await _send(receive, send, status, headers, pieces if scope["method"] == "GET" else iter(()), work)
        except OSError as error:
            raise opened.mountpath.error(error) from None
        finally:
            work.end()

    def _is_known(self, opened: Opened, selection: Selection) -> bool:
        return opens_at_once(opened.found, opened.name, self._indexes, selection.format)

    def _open(self, opened: Opened, selection: Selection) -> tuple[Archive, list[Member]]:
        archive = open_archive(opened.found, opened.name, opened.shown, self._indexes, selection.format)
        return archive, archive.select(selection)


class _Work:
    """What one request does in threads, one step at a time; `close` is called when the last step is over.

    A request can be given up while a thread is at work on the object that it has open.
    """

    def __init__(self, threads: ThreadPoolExecutor, close: Callable[[], None]) -> None:
        self._threads = threads
        self._close = close
        self._last: Future[object] | None = None

    async def do(self, step: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> T:
        future = (threads or self._threads).submit(step)
        self._last = cast("Future[object]", future)
        return await asyncio.wrap_future(future)

    def end(self) -> None:
        if self._last is None:
            self._close()
        else:
            self._last.add_done_callback(lambda _: self._close())


def _one(scope: web.Scope, member: Member) -> tuple[int, list[web.Header], int, int]:
    """Status, headers, and the bytes to send of one member; raises RangeNotSatisfiable."""
    asked = next((value for key, value in scope["headers"] if key == b"range"), b"")
    part = parse_range(asked.decode("latin-1"), member.size) if asked else None
    start, end = part or (0, member.size)
    headers: list[web.Header] = [_PRESENT, _BYTES, (b"content-length", b"%d" % (end - start))]
    if part is None:
        return 200, headers, start, end
    headers.append((b"accept-ranges", b"bytes"))
    headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, member.size)))
    return 206, headers, start, end


async def _send(
    receive: web.Receive,
    send: web.Send,
    status: int,
    headers: list[web.Header],
    pieces: Iterator[bytes],
    work: _Work,
) -> None:
    """An error in the first piece is still an answer, one in a later piece breaks the connection off."""

    async def send_rest(piece: bytes) -> None:
        while piece:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await work.do(lambda: next(pieces, b""))
        await send({"type": "http.response.body"})

    first = await work.do(lambda: next(pieces, b""))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await web.unless_gone(receive, send_rest(first))


def _as_tar(archive: Archive, chosen: Sequence[Member]) -> Iterator[bytes]:
    tar = packer(Format.TAR)
    for member in chosen:
        yield tar.begin(member.name, member.size)
        for piece in archive.pieces(member):
            yield tar.add(piece)
        if padding := tar.end():
            yield padding
    yield tar.finish()
