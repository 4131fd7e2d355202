"""Copies by S3: of an object, and of an object into a part of an upload; the bytes pass through, and none is kept here.

What a copy is of its source, and what it has of its own, is decided here; how parts become objects is `multipart`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from common.access import Permission, check_access
from common.buckets import BucketRecord
from common.clustermap import Node
from common.nodestream import Answer
from common.web import Header
from proxy.s3 import conditions, objectheaders
from proxy.s3.buckets import S3Buckets
from proxy.s3.checksums import HEADER as CHECKSUM
from proxy.s3.documents import Content
from proxy.s3.errors import S3Error, precondition_failed, range_not_satisfiable
from proxy.s3.multipart import part_query
from proxy.s3.objectheaders import ObjectHead
from proxy.s3.objects import write_conditions
from proxy.s3.request import USER_METADATA, S3Request
from proxy.s3.targets import Targets

SOURCE: Final = "x-amz-copy-source"
_AT_ONCE: Final = 256
"""A copy reads and writes: so few of them can never hold all connections while each waits for one more."""
_RANGE: Final = re.compile(r"bytes=\d{1,19}-\d{1,19}\Z")
_ANYWAY: Final = frozenset({"x-amz-storage-class", "x-amz-checksum-algorithm"})
"""What makes a copy of an object onto itself a change for S3, though for us there is nothing to be changed."""
_STANDARD: Final = frozenset(
    {"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires"}
)


class Source(NamedTuple):
    """What is to be copied."""

    bucket: str
    key: str


def parse_source(text: str) -> Source:
    """`[/]BUCKET/KEY[?versionId=null]`, percent-encoded; raises S3Error."""
    path, _, version = text.partition("?")
    if version and version != "versionId=null":
        raise S3Error("NoSuchVersion", "objects have no versions in this cluster, so there is none of that id")
    try:
        bucket, _, key = unquote(path, errors="strict").removeprefix("/").partition("/")
    except UnicodeDecodeError:
        bucket = key = ""
    if not bucket or not key:
        raise S3Error("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    return Source(bucket, key)


class Copying:
    """Copies between any two buckets of the cluster."""

    def __init__(self, buckets: S3Buckets, targets: Targets) -> None:
        self._buckets = buckets
        self._targets = targets
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def copy(self, request: S3Request, record: BucketRecord) -> Content:
        """CopyObject; what it answers."""
        source = parse_source(request.header(SOURCE))
        replaces = _replaces(request)
        if source == (request.bucket, request.key) and not replaces and not _ANYWAY.intersection(request.headers):
            raise S3Error(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without changing the "
                "object's metadata.",
            )
        own = [*objectheaders.kept(request), *write_conditions(request)] if replaces else write_conditions(request)
        objectheaders.check_offered(request)
        readable = await self._readable(source)
        async with self._turns, self._targets.ask("GET", readable, source.key) as got:
            head = objectheaders.read_head(got.headers)
            _check(request, head)
            headers = [*_custom(head, replaces=replaces), *own]
            done = await self._store(got, record, request.key, headers)
        return [("LastModified", objectheaders.iso_date(done.modified_ns)), ("ETag", done.etag)]

    async def copy_part(self, request: S3Request, record: BucketRecord, node: Node) -> Content:
        """UploadPartCopy, to the target that has the upload; what it answers."""
        source = parse_source(request.header(SOURCE))
        part = request.header(f"{SOURCE}-range")
        if part and not _RANGE.match(part):
            raise S3Error("InvalidArgument", "the x-amz-copy-source-range must be bytes=FIRST-LAST")
        asked: list[Header] = [(b"range", part.encode())] if part else []
        query = part_query(request)
        readable = await self._readable(source)
        async with self._turns, self._targets.ask("GET", readable, source.key, headers=asked) as got:
            head = objectheaders.read_head(got.headers)
            _check(request, head)
            _check_within(part, got)
            async with self._targets.ask(
                "PUT",
                record,
                request.key,
                query=query,
                headers=[] if part else _integrity(got),
                body=got.chunks(),
                size_bytes=_size(got),
                node=node,
            ) as put:
                etag = put.header(b"etag")
        return [("LastModified", objectheaders.iso_date(head.modified_ns)), ("ETag", etag)]

    async def _readable(self, source: Source) -> BucketRecord:
        record = await self._buckets.find(source.bucket)
        check_access(record, Permission.GET)
        return record

    async def _store(self, got: Answer, record: BucketRecord, key: str, headers: Sequence[Header]) -> ObjectHead:
        async with self._targets.ask(
            "PUT",
            record,
            key,
            headers=[*headers, *_integrity(got), objectheaders.S3],
            body=got.chunks(),
            size_bytes=_size(got),
        ) as put:
            return objectheaders.read_head(put.headers)


def _replaces(request: S3Request) -> bool:
    directive = request.header("x-amz-metadata-directive") or "COPY"
    if directive not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "Unknown metadata directive: expecting COPY or REPLACE")
    return directive == "REPLACE"


def _check(request: S3Request, head: ObjectHead) -> None:
    if conditions.outcome(conditions.of_copy_source(request.headers), head.etag, head.modified_seconds):
        raise precondition_failed()


def _check_within(part: str, got: Answer) -> None:
    """Raise S3Error InvalidRange for a range that ends beyond the source: its bytes would be missing in the object.

    A read would be given what there is.
    """
    size_bytes = got.header(b"content-range").rpartition("/")[2]
    if part and int(part.rpartition("-")[2]) >= int(size_bytes):
        raise range_not_satisfiable(size_bytes)


def _custom(head: ObjectHead, *, replaces: bool) -> list[Header]:
    """What a copy keeps of its source: checksums always, as the bytes are the same."""
    return objectheaders.custom_lines(
        {
            key: value
            for key, value in head.custom.items()
            if key.startswith(CHECKSUM) or (not replaces and (key in _STANDARD or key.startswith(USER_METADATA)))
        }
    )


def _integrity(got: Answer) -> list[Header]:
    """The source's checksum, so that what is stored is what was read."""
    kind, value = got.header(b"ais-checksum-type"), got.header(b"ais-checksum-value")
    if not value:
        return []
    return [(b"ais-checksum-type", kind.encode()), (b"ais-checksum-value", value.encode())]


def _size(got: Answer) -> int | None:
    text = got.header(b"content-length")
    return int(text) if text else None
