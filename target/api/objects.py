"""`/v1/objects/<bucket>/<name>` of a target: GET, HEAD, PUT and DELETE; plain ASGI, because reads are hot.

A small read that the page cache holds is answered on the event loop, without a thread: one open that never waits for a
disk (`RESOLVE_CACHED`), one fstat, one attribute, one read that never waits (`RWF_NOWAIT`), one close. Whatever would
have to wait goes through a thread, so a slow disk holds up only those who read from it. Which target has an object is
left to the proxies, and to `target.rebalance` while objects move; bodies of uploads to `uploads`. Plain reads of such
objects do without ASGI (`read_small`), for `fast_reads`.
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
    BucketNotFound,
    HaulError,
    InvalidRequest,
    MethodNotAllowed,
    ObjectNotFound,
    Unavailable,
    Unsupported,
)
from common.names import Bucket, printable
from target.api import object_headers
from target.api.object_requests import action_of, bucket_id_of, parse_path, parse_plain, parse_query, plan
from target.api.uploads import Uploads
from target.rebalance.neighbours import LOCAL_ONLY, Neighbours
from target.remote.outside import Backends, Outside
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
EVICT = "evict-listrange"
_MAX_ACTION_BYTES = 64 * 1024
_NOT_OFFERED = ("append_type", "archmode", "archpath", "archregx", "etl_name", "object_to", "partNumber", "uploadId")


class NothingToDelete(ObjectNotFound):
    """The dialect answers a DELETE of nothing without a code."""

    code = ""


class ObjectsApi:
    """The ASGI application for objects; `node` is this target as errors name it, `t[id]`."""

    def __init__(
        self, store: Store, node: str, neighbours: Neighbours | None = None, backends: Backends | None = None
    ) -> None:
        """Without neighbours every object is this target's, without backends every object is here or nowhere."""
        self._store = store
        self._node = node
        self._neighbours = neighbours
        self._backends = backends
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")
        self._uploads = Uploads(store, self._threads)

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        query = parse_query(scope["query_string"])
        bucket, name = parse_path(scope["raw_path"], query.get("provider", ""), query.get("namespace", ""))
        for key in _NOT_OFFERED:
            if key in query:
                raise Unsupported(f"'{key}' is not supported by this cluster")
        method = scope["method"]
        if method in ("GET", "HEAD"):
            await self._answer_read(scope, receive, send, bucket, name, query)
        elif method in ("PUT", "DELETE"):
            if "pid" not in query and "utm" not in query:
                raise InvalidRequest(f"{self._node}: {method}(obj) is expected to be redirected")
            if method == "PUT":
                await self._put(scope, receive, send, bucket, name, bucket_id_of(query))
            else:
                await self._delete(receive, send, bucket, name, bucket_id_of(query))
        else:
            raise MethodNotAllowed("DELETE", "GET", "HEAD", "PUT")

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
            if outside is not None and is_head:
                await self._head_outside(send, outside, bucket, name, properties)
                return
            found, mountpath = await self._open_or_fetch(outside, bucket, name, bucket_id)
        if not is_head:
            await self._get(scope, receive, send, found, mountpath)
            return
        found.close()
        if outside is not None and wants_latest:
            await outside.check_latest(bucket, name, found.metadata)
        if query.get("presence") == _PRESENT_WITHOUT_PROPERTIES:
            await web.answer(send, 200)
        else:
            await self._head(send, bucket, name, found, mountpath, properties)

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
    ) -> None:
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

    async def _put(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, bucket: Bucket, name: str, bucket_id: int | None
    ) -> None:
        outside = self._outside(bucket)
        if outside is not None:
            raise Unsupported(f"{bucket.cname}/{printable(name)}: nothing is written to {outside.backend.cname}")
        if self._neighbours is not None:
            await self._neighbours.check_owned(bucket, name)
        if bucket_id is None:
            bucket_id = self._store.bucket_ids().get(bucket)
            if bucket_id is None:
                raise BucketNotFound(bucket.cname)
        metadata = await self._uploads.receive(scope, receive, bucket, bucket_id, name)
        if self._neighbours is not None:
            await self._neighbours.stored(bucket, name)
        await web.answer(send, 200, b"", object_headers.attributes(metadata))

    async def _delete(
        self, receive: web.Receive, send: web.Send, bucket: Bucket, name: str, bucket_id: int | None
    ) -> None:
        self._check_delete(bucket, name, action_of(await web.read_body(receive, _MAX_ACTION_BYTES)))
        try:
            if self._neighbours is not None:
                await self._neighbours.delete(bucket, name, bucket_id)
            else:
                await self._in_thread(partial(self._store.delete, bucket, name, bucket_id))
        except ObjectNotFound as error:
            raise NothingToDelete(error.message) from None
        await web.answer(send, 200)

    def _check_delete(self, bucket: Bucket, name: str, action: str) -> None:
        """What is outside can only be evicted, what is only here only be deleted."""
        outside = self._outside(bucket)
        if outside is None and action == EVICT:
            raise InvalidRequest(f"cannot evict {bucket.cname}/{printable(name)}: it is only here")
        if outside is not None and action != EVICT:
            raise Unsupported(
                f"{bucket.cname}/{printable(name)}: nothing is deleted at {outside.backend.cname} "
                f'(what is here of it can be evicted: the action "{EVICT}" in the body)'
            )

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
