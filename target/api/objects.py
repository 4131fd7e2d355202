"""`/v1/objects/<bucket>/<name>` of a target: GET and HEAD; plain ASGI, because reads are hot.

A small read that the page cache holds is answered on the event loop, without a thread: one open that never waits for a
disk (`RESOLVE_CACHED`), one fstat, one attribute, one read that never waits (`RWF_NOWAIT`), one close. Whatever would
have to wait goes through a thread, so a slow disk holds up only those who read from it. Which target has an object is
left to the proxies, and to `target.rebalance` while objects move; whatever changes something to `changes`. Plain reads
of such objects do without ASGI (`read_small`), for `fast_reads`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from common import web
from common.errors import (
    HaulError,
    InvalidRequest,
    MethodNotAllowed,
    ObjectNotFound,
    Unavailable,
    Unsupported,
)
from common.names import Bucket, printable
from target.api import object_headers
from target.api.appends import Appends
from target.api.archives import ArchiveReads, Opened
from target.api.changes import ObjectChanges
from target.api.multipart import Multipart
from target.api.object_requests import bucket_id_of, parse_path, parse_plain, parse_query, plan
from target.api.open_uploads import OpenUploads
from target.api.uploads import Uploads
from target.archives.index import Indexes
from target.archives.selection import parse_selection
from target.archives.walking import build
from target.gates import Gates
from target.rebalance.copying import Copier
from target.rebalance.neighbours import LOCAL_ONLY, Neighbours
from target.remote.outside import Backends, Outside
from target.storage.inprogress import Pieces
from target.storage.mountpath import Mountpath
from target.storage.reader import OpenObject
from target.storage.store import Store

Body = bytes | bytearray
T = TypeVar("T")
_CACHED_CHUNK_BYTES = 256 * 1024
"""Measured for large objects in the page cache: 0.36 CPU seconds per GiB; 64 KiB take 0.46, 2 MiB 0.43."""
_DISK_CHUNK_BYTES = 1 << 20
"""What one visit to a thread reads."""
_WATCH_BYTES = 8 << 20
"""Sending more than this is watched, to end it when the client goes away."""
_THREADS = 16
_OK = b"HTTP/1.1 200 OK"
_PRESENT_ONLY = frozenset({"2", "3", "4"})
_PRESENT_WITHOUT_PROPERTIES = "3"
"""Values of the query parameter `presence`."""
_NOT_OFFERED = ("etl_name", "etl_pipeline", "etl_args", "etl_fqn")
_CHANGES = ("DELETE", "PATCH", "POST", "PUT")


class ObjectsApi:
    """The ASGI application for objects; `node` is this target as errors name it, `t[id]`."""

    def __init__(
        self,
        store: Store,
        node: str,
        neighbours: Neighbours | None = None,
        backends: Backends | None = None,
        archives: ArchiveReads | None = None,
        copier: Copier | None = None,
        upload_keep_seconds: float = 86_400.0,
        gates: Gates | None = None,
    ) -> None:
        """Without neighbours every object is this target's, without backends every object is here or nowhere.

        Without gates nothing is ever renamed.
        """
        self._archives = archives or ArchiveReads(Indexes(build))
        self._store = store
        self._node = node
        self._neighbours = neighbours
        self._backends = backends
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")
        gates = gates or Gates()
        uploads = Uploads(store, self._threads, gates)
        target_id = node.removeprefix("t[").removesuffix("]")
        pieces = Pieces(store)
        self.open_uploads = OpenUploads(pieces, uploads, upload_keep_seconds)
        self.multipart = Multipart(store, pieces, uploads, self.open_uploads, target_id)
        appends = Appends(store, pieces, uploads, self.open_uploads, target_id)
        self._changes = ObjectChanges(store, uploads, self.multipart, appends, neighbours, backends, copier, gates)
        self.small_read_bytes = 0
        """Of all objects that `read_small` has given."""

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        query = parse_query(scope["query_string"])
        bucket, name = parse_path(scope["raw_path"], query.get("provider", ""), query.get("namespace", ""))
        for key in _NOT_OFFERED:
            if query.get(key):
                raise Unsupported(f"'{key}' is not supported by this cluster")
        method = scope["method"]
        if method in _CHANGES:
            if "pid" not in query and "utm" not in query:
                raise InvalidRequest(f"{self._node}: {method}(obj) is expected to be redirected")
            await self._changes(scope, receive, send, bucket, name, query)
        elif method == "GET" and "uploadId" in query:
            await self._changes.list_parts(scope, receive, send, bucket, name, query)
        elif method in ("GET", "HEAD"):
            await self._answer_read(scope, receive, send, bucket, name, query)
        else:
            raise MethodNotAllowed("GET", "HEAD", *_CHANGES)

    def read_small(self, target: bytes) -> bytes | None:
        """The whole answer to a plain GET of a small object that the page cache holds, as the application gives it.

        None for everything else, errors too: those are for the ASGI application to answer.
        """
        try:
            plain = parse_plain(target)
            if plain is None:
                return None
            if self._neighbours is not None and not self._neighbours.may_answer_first(*plain[:2]):
                return None
            found, _ = self._store.open(*plain, cached=True)
            try:
                if found.size > _CACHED_CHUNK_BYTES:
                    return None
                body = found.read_cached(0, found.size)
            finally:
                found.close()
        except (HaulError, OSError):
            return None
        if body is None or len(body) != found.size:
            return None
        self.small_read_bytes += found.size
        lines = [b": ".join(header) for header in object_headers.whole(found.metadata)]
        return b"\r\n".join((_OK, *lines, b"", body))

    async def _answer_read(
        self,
        scope: web.Scope,
        receive: web.Receive,
        send: web.Send,
        bucket: Bucket,
        name: str,
        query: dict[str, str],
    ) -> None:
        """Answer with what lies here, as another target answers that has the object, or as its backend does."""
        others = None if LOCAL_ONLY in query else self._neighbours
        is_head, bucket_id = scope["method"] == "HEAD", bucket_id_of(query)
        properties = object_headers.check_properties(query.get("props", ""))
        is_local = LOCAL_ONLY in query or query.get("presence") in _PRESENT_ONLY
        outside = None if is_local else self._outside(bucket)
        wants_latest = web.is_true(query.get("latest-ver", ""))
        selection = parse_selection(query)
        if outside is not None and wants_latest and not is_head:
            await self._fetch(outside, bucket, name, bucket_id)
        if others is not None and not others.may_answer_first(bucket, name):
            with contextlib.suppress(Unavailable):
                if await others.relay(scope, receive, send, bucket, name):
                    return
        try:
            found, mountpath = await self._open(bucket, name, bucket_id)
        except ObjectNotFound:
            if others is not None and await others.relay(scope, receive, send, bucket, name):
                return
            if outside is not None and is_head and selection is None:
                await self._head_outside(send, outside, bucket, name, properties)
                return
            found, mountpath = await self._open_or_fetch(outside, bucket, name, bucket_id)
        if selection is not None:
            shown = f"{self._node}: {bucket.cname}/{printable(name)}"
            await self._archives.answer(scope, receive, send, Opened(found, mountpath, name, shown), selection)
            return
        if not is_head:
            await self._get(scope, receive, send, found, mountpath)
            return
        found.close()
        if outside is not None and wants_latest:
            await outside.check_latest(bucket, name, found.metadata)
        await self._head(send, bucket, name, found, mountpath, properties, query.get("presence", ""))

    async def _get(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, found: OpenObject, mountpath: Mountpath
    ) -> None:
        try:
            status, headers, start, end = plan(scope, found)
            first = await self._read(found, start, end) if start < end else b""
            await send({"type": "http.response.start", "status": status, "headers": headers})
            if end - start <= _WATCH_BYTES:
                await self._send(send, found, first, start, end)
            else:
                await web.unless_gone(receive, self._send(send, found, first, start, end))
        except OSError as error:
            raise mountpath.error(error) from None
        finally:
            found.close()

    async def _send(self, send: web.Send, found: OpenObject, chunk: Body, start: int, end: int) -> None:
        while True:
            start += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": start < end})
            if start >= end:
                return
            chunk = await self._read(found, start, end)

    async def _read(self, found: OpenObject, start: int, end: int) -> Body:
        left = end - start
        chunk = found.read_cached(start, min(left, _CACHED_CHUNK_BYTES))
        if chunk is None:
            chunk = await self._in_thread(partial(found.read, start, min(left, _DISK_CHUNK_BYTES)))
        return chunk

    async def _head(
        self,
        send: web.Send,
        bucket: Bucket,
        name: str,
        found: OpenObject,
        mountpath: Mountpath,
        properties: list[str],
        presence: str,
    ) -> None:
        if presence == _PRESENT_WITHOUT_PROPERTIES:
            await web.answer(send, 200)
            return
        location = f"{self._node}:mp[{mountpath.id}]"
        if properties:
            headers = object_headers.head_v2(found.metadata, properties, location, mountpath.id)
        else:
            headers = object_headers.head_v1(found.metadata, bucket, name, location, mountpath.id)
        headers.append((b"content-length", b"%d" % found.size))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async def _head_outside(
        self, send: web.Send, outside: Outside, bucket: Bucket, name: str, properties: list[str]
    ) -> None:
        found = await outside.look(bucket, name)
        if properties:
            headers = object_headers.outside_v2(found, outside.backend, properties)
        else:
            headers = object_headers.outside_v1(found, outside.backend, bucket)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    def _outside(self, bucket: Bucket) -> Outside | None:
        return self._backends.of(bucket) if self._backends is not None else None

    async def _fetch(self, outside: Outside, bucket: Bucket, name: str, bucket_id: int | None) -> None:
        """Have the latest version of an object here, if it is this target's."""
        if self._neighbours is not None:
            await self._neighbours.check_owned(bucket, name)
        await outside.fetch(bucket, name, bucket_id)
        if self._neighbours is not None:
            await self._neighbours.stored(bucket, name)

    async def _open_or_fetch(
        self, outside: Outside | None, bucket: Bucket, name: str, bucket_id: int | None
    ) -> tuple[OpenObject, Mountpath]:
        """Open an object that was not here; it may have come meanwhile."""
        try:
            return await self._open(bucket, name, bucket_id)
        except ObjectNotFound:
            if outside is None:
                raise
        await self._fetch(outside, bucket, name, bucket_id)
        return await self._open(bucket, name, bucket_id)

    async def _open(self, bucket: Bucket, name: str, bucket_id: int | None) -> tuple[OpenObject, Mountpath]:
        try:
            return self._store.open(bucket, name, bucket_id, cached=True)
        except BlockingIOError:
            pass
        except ObjectNotFound as error:
            raise type(error)(f"{self._node}: {error}") from None
        try:
            return await self._in_thread(partial(self._store.open, bucket, name, bucket_id))
        except ObjectNotFound as error:
            raise type(error)(f"{self._node}: {error}") from None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
