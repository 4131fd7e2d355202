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
from functools import lru_cache, partial
from typing import TypeVar
from urllib.parse import unquote_plus

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
from common.names import Bucket, decode_component, validate_object_name
from target.api import object_headers
from target.api.uploads import Uploads
from target.rebalance.neighbours import LOCAL_ONLY, Neighbours
from target.storage.mountpath import Mountpath
from target.storage.reader import OpenObject
from target.storage.store import Store

Body = bytes | bytearray
T = TypeVar("T")
PREFIX = b"/v1/objects/"
_CACHED_CHUNK_BYTES = 256 * 1024
"""Measured for large objects in the page cache: 0.36 CPU seconds per GiB; 64 KiB take 0.46, 2 MiB 0.43."""
_DISK_CHUNK_BYTES = 1 << 20
"""What one visit to a thread reads."""
_WATCH_BYTES = 8 << 20
"""Sending more than this is watched, to end it when the client goes away."""
_THREADS = 16
_PLAIN_QUERY = frozenset({"pid", "utm", "bid", "provider", "namespace"})
"""All that a query of the short way may have."""
_OK = b"HTTP/1.1 200 OK"
_NOT_OFFERED = ("append_type", "archmode", "archpath", "archregx", "etl_name", "object_to", "partNumber", "uploadId")


class NothingToDelete(ObjectNotFound):
    """The dialect answers a DELETE of nothing without a code."""

    code = ""


class ObjectsApi:
    """The ASGI application for objects; `node` is this target as errors name it, `t[id]`."""

    def __init__(self, store: Store, node: str, neighbours: Neighbours | None = None) -> None:
        """Without neighbours every object is this target's."""
        self._store = store
        self._node = node
        self._neighbours = neighbours
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
                await self._put(scope, receive, send, bucket, name, _bucket_id(query))
            else:
                await self._delete(send, bucket, name, _bucket_id(query))
        else:
            raise MethodNotAllowed("DELETE", "GET", "HEAD", "PUT")

    def read_small(self, target: bytes) -> bytes | None:
        """The whole answer to a plain GET of a small object that the page cache holds, as the application gives it.

        None for everything else, errors too: those are for the ASGI application to answer.
        """
        try:
            plain = _parse_plain(target)
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
        """Answer with what lies here, or as another target answers that has the object."""
        others = None if LOCAL_ONLY in query else self._neighbours
        properties = object_headers.check_properties(query.get("props", ""))
        if others is not None and not others.may_answer_first(bucket, name):
            with contextlib.suppress(Unavailable):
                if await others.relay(scope, receive, send, bucket, name):
                    return
        try:
            found, mountpath = await self._open(bucket, name, _bucket_id(query))
        except ObjectNotFound:
            if others is None:
                raise
            if await others.relay(scope, receive, send, bucket, name):
                return
            found, mountpath = await self._open(bucket, name, _bucket_id(query))  # it may have come meanwhile
        if scope["method"] == "GET":
            await self._get(scope, receive, send, found, mountpath)
        else:
            found.close()
            await self._head(send, bucket, name, found, mountpath, properties)

    async def _get(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, found: OpenObject, mountpath: Mountpath
    ) -> None:
        try:
            status, headers, start, end = _plan(scope, found)
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

    async def _put(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, bucket: Bucket, name: str, bucket_id: int | None
    ) -> None:
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

    async def _delete(self, send: web.Send, bucket: Bucket, name: str, bucket_id: int | None) -> None:
        try:
            if self._neighbours is not None:
                await self._neighbours.delete(bucket, name, bucket_id)
            else:
                await self._in_thread(partial(self._store.delete, bucket, name, bucket_id))
        except ObjectNotFound as error:
            raise NothingToDelete(error.message) from None
        await web.answer(send, 200)

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


def parse_path(raw_path: bytes, provider: str, namespace: str) -> tuple[Bucket, str]:
    """Bucket and object name of a request path as it came; the name is decoded once and keeps empty components."""
    raw_bucket, _, raw_name = raw_path.removeprefix(PREFIX).partition(b"/")
    if not raw_name:
        path = decode_component(raw_path).strip("/")
        raise InvalidRequest(f"URL '{path}' is too short: expected 4 items, got {path.count('/') + 1}")
    name = validate_object_name(decode_component(raw_name))
    return _parse_bucket(decode_component(raw_bucket), provider, namespace), name


@lru_cache(maxsize=1024)
def _parse_bucket(name: str, provider: str, namespace: str) -> Bucket:
    return Bucket.parse_namespace(name, provider, namespace)


@lru_cache(maxsize=4096)
def _parse_plain(target: bytes) -> tuple[Bucket, str, int | None] | None:
    """Bucket, name and bucket id of a request that asks for nothing special, None for any other; may raise HaulError.

    Cached, because readers come back to the same objects, and this is a quarter of the work of answering.
    """
    raw_path, _, raw_query = target.partition(b"?")
    if not raw_path.startswith(PREFIX) or b"#" in target or not target.isascii():
        return None
    query = parse_query(raw_query)
    if not _PLAIN_QUERY.issuperset(query):
        return None
    bucket, name = parse_path(raw_path, query.get("provider", ""), query.get("namespace", ""))
    return bucket, name, _bucket_id(query)


def parse_query(raw: bytes) -> dict[str, str]:
    """The query's parameters; most requests have three that need no decoding."""
    query = {}
    for part in raw.decode("latin-1").split("&") if raw else ():
        key, _, value = part.partition("=")
        query[key] = unquote_plus(value) if "%" in value or "+" in value else value
    return query


def _bucket_id(query: dict[str, str]) -> int | None:
    text = query.get("bid", "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 19:
        raise InvalidRequest("query parameter 'bid' is no number")
    return int(text)


def _plan(scope: web.Scope, found: OpenObject) -> tuple[int, list[web.Header], int, int]:
    """Status, headers and the bytes to send (start, end) for a GET of this object; raises RangeNotSatisfiable."""
    asked_range = if_range = if_none_match = if_modified_since = b""
    for name, value in scope["headers"]:
        if name == b"range":
            asked_range = value
        elif name == b"if-range":
            if_range = value
        elif name == b"if-none-match":
            if_none_match = value
        elif name == b"if-modified-since":
            if_modified_since = value
    metadata = found.metadata
    if (if_none_match or if_modified_since) and object_headers.is_unchanged(metadata, if_none_match, if_modified_since):
        return 304, object_headers.validated(metadata), 0, 0
    if asked_range and if_range in (b"", object_headers.etag(metadata)):
        part = object_headers.parse_range(asked_range.decode("latin-1"), found.size)
        if part is not None:
            return 206, object_headers.partial(metadata, *part), *part
    return 200, object_headers.whole(metadata), 0, found.size
