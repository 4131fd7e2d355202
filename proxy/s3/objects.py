"""Objects by S3: reading, writing and deleting one, each passed on to the target that has it; nothing is kept here.

Copies are left to `copying`, uploads in parts to `multipart`, many deletions at once to `deleting`.
"""

from __future__ import annotations

import re
from typing import Final

from common import web
from common.buckets import BucketRecord
from common.nodestream import Answer
from common.web import Header
from proxy.s3 import conditions, objectheaders
from proxy.s3.answers import Responder
from proxy.s3.bodies import Payload
from proxy.s3.errors import S3Error, not_implemented, precondition_failed, range_not_satisfiable
from proxy.s3.objectheaders import ObjectHead
from proxy.s3.request import S3Request
from proxy.s3.targets import Targets

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})\Z")
_WATCH_BYTES: Final = 8 << 20
"""Sending more than this is watched, to end it when the client goes away."""
_UNCHANGED: Final = (b"etag", b"last-modified", b"cache-control", b"expires")
"""What is told of an object that the client has; with a checksum boto3 would look for a body."""
_PASSED: Final = (b"content-length", b"content-range")
_NULL_VERSION: Final = "null"


class S3Objects:
    """The operations on one object."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    async def get(self, request: S3Request, record: BucketRecord, receive: web.Receive, responder: Responder) -> None:
        """GetObject; an object that changes meanwhile is sent as it was at the beginning."""
        check_version(request)
        try:
            await self._get(request, record, receive, responder)
        except S3Error as error:
            # A condition goes before the range (RFC 9110 §13.2.2): who reads on in an object that has become shorter
            # must learn that it is another.
            if error.code != "InvalidRange" or not await self._is_ended_by_condition(request, record, responder):
                raise

    async def _get(self, request: S3Request, record: BucketRecord, receive: web.Receive, responder: Responder) -> None:
        headers: list[Header] = []
        if part := _range_of(request):
            headers.append((b"range", part.encode()))
            if request.header("if-range"):
                headers.append((b"if-range", request.header("if-range").encode("latin-1")))
        if request.header(conditions.IF_NONE_MATCH):
            headers.append((b"if-none-match", request.header(conditions.IF_NONE_MATCH).encode("latin-1")))
        async with self._targets.ask("GET", record, request.key, headers=headers) as answer:
            head = objectheaders.read_head(answer.headers)
            shown = _shown(request, head, is_whole=answer.status == 200)
            if await _ended_by_condition(request, head, shown, responder):
                return
            if answer.status == conditions.NOT_MODIFIED:
                await responder.answer(answer.status, headers=objectheaders.passed(shown, *_UNCHANGED))
                return
            shown += objectheaders.passed(answer.headers, *_PASSED)
            size_bytes = int(answer.header(b"content-length") or 0)
            sending = _pass_on(responder, answer, shown)
            if size_bytes > _WATCH_BYTES:
                await web.unless_gone(receive, sending)
            else:
                await sending

    async def _is_ended_by_condition(self, request: S3Request, record: BucketRecord, responder: Responder) -> bool:
        async with self._targets.ask("HEAD", record, request.key) as answer:
            head = objectheaders.read_head(answer.headers)
        return await _ended_by_condition(request, head, _shown(request, head, is_whole=False), responder)

    async def head(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """HeadObject."""
        check_version(request)
        async with self._targets.ask("HEAD", record, request.key) as answer:
            head = objectheaders.read_head(answer.headers)
            size_bytes = int(answer.header(b"content-length") or 0)
        asked = _range_of(request)
        shown = _shown(request, head, is_whole=not asked)
        if await _ended_by_condition(request, head, shown, responder):
            return
        part = _part_of(asked, size_bytes)
        status = 200
        if part is not None:
            start, end = part
            shown.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size_bytes)))
            status, size_bytes = 206, end - start
        shown.append((b"content-length", b"%d" % size_bytes))
        await responder.start(status, shown)
        await responder.part(b"", more=False)

    async def check_there(self, record: BucketRecord, key: str) -> None:
        """Raise S3Error NoSuchKey for an object that is not there."""
        await self._targets.check_there(record, key)

    async def put(self, request: S3Request, record: BucketRecord, payload: Payload, responder: Responder) -> None:
        """PutObject."""
        payload.check_length()
        headers = [*objectheaders.kept(request), objectheaders.S3, *write_conditions(request), *payload.digest_headers]
        body = await payload.body()
        try:
            async with self._targets.ask(
                "PUT", record, request.key, headers=headers, body=body, size_bytes=payload.size_bytes
            ) as answer:
                head = objectheaders.read_head(answer.headers)
        except S3Error as error:
            if error.code == "PreconditionFailed" and request.header(conditions.IF_MATCH):
                await self._targets.check_there(record, request.key)
            raise payload.refusal(error) from None
        await responder.answer(
            200, headers=[(b"etag", head.etag.encode("latin-1")), *objectheaders.echoed(payload.computed)]
        )

    async def delete(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """DeleteObject; what is not there is gone, too."""
        check_version(request)
        for name in ("x-amz-if-match-last-modified-time", "x-amz-if-match-size"):
            if request.header(name):
                raise not_implemented(f"the condition {name}, which S3 has for directory buckets only,")
        await self.delete_one(record, request.key, request.header(conditions.IF_MATCH))
        await responder.answer(204)

    async def delete_one(self, record: BucketRecord, key: str, if_match: str = "") -> None:
        """Delete an object, if it is there; with `if_match` only one of that ETag. Raises S3Error."""
        headers = [(conditions.IF_MATCH.encode(), if_match.encode("latin-1", "replace"))] if if_match else []
        try:
            async with self._targets.ask("DELETE", record, key, headers=headers):
                pass
        except S3Error as error:
            if error.code != "NoSuchKey" or if_match:
                raise

    async def attributes(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """GetObjectAttributes: those that are known."""
        check_version(request)
        async with self._targets.ask("HEAD", record, request.key) as answer:
            head = objectheaders.read_head(answer.headers)
            size_bytes = int(answer.header(b"content-length") or 0)
        known = {"ETag": head.etag.strip('"'), "StorageClass": "STANDARD", "ObjectSize": str(size_bytes)}
        asked = [name.strip() for name in request.header("x-amz-object-attributes").split(",")]
        await responder.document(
            "GetObjectAttributesResponse",
            [(name, value) for name, value in known.items() if name in asked],
            [(b"last-modified", objectheaders.http_date(head.modified_ns))],
        )


def check_version(request: S3Request) -> None:
    """Raise S3Error for a version, or a part, that no object has; there is one version of each, `null`."""
    version = request.query.get("versionId", _NULL_VERSION)
    if version != _NULL_VERSION:
        raise S3Error("NoSuchVersion", "objects have no versions in this cluster, so there is none of that id")
    if request.query.get("partNumber", "1") != "1":
        raise S3Error("NotImplemented", "reading an object by the parts of its upload is not implemented")


def write_conditions(request: S3Request) -> list[Header]:
    """The conditions of a write, which the target checks when it stores."""
    names = (conditions.IF_MATCH, conditions.IF_NONE_MATCH)
    return [(name.encode(), request.header(name).encode("latin-1")) for name in names if request.header(name)]


def _range_of(request: S3Request) -> str:
    """The range, if it is one that S3 knows; others are ignored, as S3 does."""
    text = request.header("range").replace(" ", "")
    match = _RANGE.match(text)
    first, last = match.groups() if match is not None else ("", "")
    is_backwards = bool(first and last) and int(last) < int(first)
    return text if (first or last) and not is_backwards else ""


def _part_of(text: str, size_bytes: int) -> tuple[int, int] | None:
    """The bytes (start, end exclusive) that a range means; raises S3Error InvalidRange."""
    match = _RANGE.match(text)
    if match is None:
        return None
    first, last = match.groups()
    start = int(first) if first else max(size_bytes - int(last), 0)
    end = min(int(last) + 1, size_bytes) if first and last else size_bytes
    if start >= end:
        raise range_not_satisfiable(str(size_bytes))
    return start, end


def _shown(request: S3Request, head: ObjectHead, *, is_whole: bool) -> list[Header]:
    wants_checksums = request.header("x-amz-checksum-mode").upper() == "ENABLED"
    return objectheaders.shown(head, request.query, with_checksums=wants_checksums and is_whole)


async def _ended_by_condition(request: S3Request, head: ObjectHead, shown: list[Header], responder: Responder) -> bool:
    """Answer 304, or raise PreconditionFailed, if a condition says so."""
    ended = conditions.outcome(request.headers, head.etag, head.modified_seconds)
    if ended == conditions.FAILED:
        raise precondition_failed()
    if ended == conditions.NOT_MODIFIED:
        await responder.answer(304, headers=objectheaders.passed(shown, *_UNCHANGED))
    return ended != 0


async def _pass_on(responder: Responder, answer: Answer, headers: list[Header]) -> None:
    await responder.start(answer.status, headers)
    async for chunk in answer.chunks():
        await responder.part(chunk)
    await responder.part(b"", more=False)
