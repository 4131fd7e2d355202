"""`/v1/ml/moss[/BUCKET]` of a target: many objects in one answer, as a stream or behind a description of all of them.

An answer that cannot be finished is broken off, so that nobody takes it for whole. Proxies send clients here, to any
target. Putting the archive together is left to `target.batches`.
"""

from __future__ import annotations

import asyncio
import json
import secrets

from common import web
from common.errors import InvalidRequest, MethodNotAllowed, Unavailable
from common.names import Bucket, decode_component
from common.patience import while_taken
from target.archives.packing import MEDIA_TYPES
from target.batches.assembling import Assembler
from target.batches.frames import MAX_REQUEST_BYTES, unpack_entries
from target.batches.requests import MAX_BODY_BYTES, BatchRequest, parse_batch
from target.batches.spools import Spools

PREFIX = "/v1/ml/moss"
_MAX_BATCHES = 64
_MAX_PARSED = 2
"""Bodies that are read at the same time: each can take some hundred megabytes while it is."""
_PIECE_BYTES = 1 << 20


class BatchesApi:
    """The ASGI application for batches."""

    def __init__(self, assembler: Assembler, spools: Spools) -> None:
        """`spools` keep archives that are not streamed."""
        self._assembler = assembler
        self._spools = spools
        self._running = 0
        self._parsing = asyncio.Semaphore(_MAX_PARSED)

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        if scope["method"] not in ("GET", "POST"):
            raise MethodNotAllowed("GET", "POST")
        bucket = _bucket_of(scope)
        send = while_taken(send)
        if self._running >= _MAX_BATCHES:
            raise Unavailable(f"{_MAX_BATCHES} batches are under way at this target; try again")
        self._running += 1
        try:
            body = await web.read_body(receive, MAX_BODY_BYTES)
            async with self._parsing:
                request = await asyncio.to_thread(parse_batch, body, bucket)
            del body
            sending = self._stream(send, request) if request.streams else self._describe(send, request)
            await web.unless_gone(receive, sending)
        finally:
            self._running -= 1

    async def serve(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        """`POST /intra/v1/batch`: another target asks for what is here of its batch."""
        if scope["method"] != "POST":
            raise MethodNotAllowed("POST")
        body = await web.read_body(receive, MAX_REQUEST_BYTES)
        entries = await asyncio.to_thread(unpack_entries, body)
        del body
        send = while_taken(send)

        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def answer() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await self._assembler.serve(entries, write)
            await send({"type": "http.response.body"})

        await web.unless_gone(receive, answer())

    async def _stream(self, send: web.Send, request: BatchRequest) -> None:
        """What goes wrong before the first bytes is an answer, later it breaks the connection off."""
        started = False

        async def write(data: bytes) -> None:
            nonlocal started
            if not started:
                started = True
                headers = [(b"content-type", MEDIA_TYPES[request.format])]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": data, "more_body": True})

        await self._assembler.assemble(request, write)
        await send({"type": "http.response.body"})

    async def _describe(self, send: web.Send, request: BatchRequest) -> None:
        with self._spools.spool() as spool:

            async def write(data: bytes) -> None:
                await asyncio.to_thread(spool.write, data)

            described = await self._assembler.assemble(request, write)
            answer = {"uuid": "gbt-" + secrets.token_hex(5), "out": described}
            boundary = secrets.token_hex(24)
            head, tail = await asyncio.to_thread(_around, answer, request.format.value, boundary)
            spool.rewind()
            headers = [
                (b"content-type", f"multipart/mixed; boundary={boundary}".encode()),
                (b"content-length", b"%d" % (len(head) + spool.size_bytes + len(tail))),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": head, "more_body": True})
            while piece := await asyncio.to_thread(spool.read, _PIECE_BYTES):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": tail})


def _bucket_of(scope: web.Scope) -> Bucket | None:
    """The bucket that the path names, None without one; raises RequestErrors."""
    raw_path: bytes = scope["raw_path"]
    items = [item for item in raw_path.split(b"/") if item][3:]
    if not items:
        return None
    if len(items) > 1:
        raise InvalidRequest(f"URL '{scope['path'].strip('/')}' is too long: expected 4 items, got {len(items) + 3}")
    query = web.query_of(scope)
    name = decode_component(items[0])
    return Bucket.parse_namespace(name, query.get("provider", ""), query.get("namespace", ""))


def _around(description: object, extension: str, boundary: str) -> tuple[bytes, bytes]:
    """What stands before the archive and behind it, as multipart."""
    told = json.dumps(description, separators=(",", ":")).encode()
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="metadata"\r\nContent-Type: application/json\r\n\r\n'
    ).encode()
    archive = (
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="archive"; filename="archive{extension}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    return head + told + archive, f"\r\n--{boundary}--\r\n".encode()
