"""Uploads in parts by S3: each goes on at the target that its id names; putting it together is the target's affair."""

from __future__ import annotations

import json
from typing import Any, Final

from common.buckets import BucketRecord
from common.clustermap import Node
from common.names import printable
from common.uploadids import UploadId
from common.web import Header
from proxy.s3 import conditions, documents, objectheaders
from proxy.s3.answers import Responder
from proxy.s3.bodies import Payload
from proxy.s3.buckets import OWNER
from proxy.s3.checksums import announced_of_object
from proxy.s3.documents import Content
from proxy.s3.errors import S3Error
from proxy.s3.listing import number_of
from proxy.s3.objects import write_conditions
from proxy.s3.request import S3Request
from proxy.s3.targets import Targets

_MAX_PARTS: Final = 10_000
_MAX_BODY_BYTES: Final = 4 << 20
_MAX_ANSWER_BYTES: Final = 4 << 20
_PAGE: Final = 1000
_JSON: Final[Header] = (b"content-type", b"application/json")


class Multipart:
    """The operations on uploads in parts."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    async def create(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """CreateMultipartUpload."""
        headers = [*objectheaders.kept(request), objectheaders.S3, _JSON]
        body = json.dumps({"action": "mpt-upload"}).encode()
        async with self._targets.ask("POST", record, request.key, headers=headers, body=body) as answer:
            upload_id = (await answer.read(_MAX_ANSWER_BYTES)).decode()
        told = [
            (name.encode(), request.header(name).encode("latin-1"))
            for name in ("x-amz-checksum-algorithm", "x-amz-checksum-type")
            if request.header(name)
        ]
        content: Content = [("Bucket", request.bucket), ("Key", request.key), ("UploadId", upload_id)]
        await responder.document("InitiateMultipartUploadResult", content, told)

    async def put_part(self, request: S3Request, record: BucketRecord, payload: Payload, responder: Responder) -> None:
        """UploadPart."""
        payload.check_length()
        objectheaders.check_offered(request)
        node = self.target_of(request)
        body = await payload.body()
        try:
            async with self._targets.ask(
                "PUT",
                record,
                request.key,
                query=part_query(request),
                headers=payload.digest_headers,
                body=body,
                size_bytes=payload.size_bytes,
                node=node,
            ) as answer:
                etag = answer.header(b"etag").encode("latin-1")
        except S3Error as error:
            raise _of_upload(payload.refusal(error)) from None
        await responder.answer(200, headers=[(b"etag", etag), *objectheaders.echoed(payload.computed)])

    async def read_completion(self, payload: Payload) -> list[dict[str, Any]]:
        """The parts that a CompleteMultipartUpload names; raises S3Error."""
        document = documents.read(await payload.read(_MAX_BODY_BYTES), "CompleteMultipartUpload")
        numbers: list[int] = []
        parts: list[dict[str, Any]] = []
        for part in document.all("Part"):
            number = _part_number(part.first("PartNumber").strip())
            if number is None:
                raise S3Error("InvalidArgument", f"a PartNumber must be 1 to {_MAX_PARTS}")
            numbers.append(number)
            parts.append({"part-number": number, "etag": part.first("ETag").strip().strip('"')})
        if not parts:
            raise S3Error("MalformedXML", "You must specify at least one part")
        if numbers != sorted(set(numbers)):
            raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order")
        return parts

    async def complete(self, request: S3Request, record: BucketRecord, parts: list[dict[str, Any]]) -> Content:
        """CompleteMultipartUpload; what it answers."""
        node = self.target_of(request)
        body = json.dumps({"action": "mpt-complete", "value": parts}).encode()
        headers = [_JSON, objectheaders.S3, *write_conditions(request), *_digests(request)]
        await self._check_size(request, record, node)
        try:
            async with self._targets.ask(
                "POST", record, request.key, query=_upload_query(request), headers=headers, body=body, node=node
            ) as answer:
                etag = answer.header(b"etag")
        except S3Error as error:
            if error.code == "InvalidRequest":
                raise S3Error("InvalidPart", error.message) from None
            if error.code == "PreconditionFailed" and request.header(conditions.IF_MATCH):
                await self._targets.check_there(record, request.key)
            raise _of_upload(error) from None
        location = f"/{request.bucket}/{request.key}"
        return [("Location", location), ("Bucket", request.bucket), ("Key", request.key), ("ETag", etag)]

    async def abort(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """AbortMultipartUpload."""
        node = self.target_of(request)
        body = json.dumps({"action": "mpt-abort"}).encode()
        query = _upload_query(request)
        try:
            async with self._targets.ask(
                "DELETE", record, request.key, query=query, headers=[_JSON], body=body, node=node
            ):
                pass
        except S3Error as error:
            raise _of_upload(error) from None
        await responder.answer(204)

    async def list_parts(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """ListParts."""
        node = self.target_of(request)
        limit = min(number_of(request.query, "max-parts", _PAGE), _PAGE)
        marker = number_of(request.query, "part-number-marker", 0)
        left = [part for part in await self._parts(request, record, node) if part["part-number"] > marker]
        page = left[:limit]
        content: list[documents.Node] = [
            ("Bucket", request.bucket),
            ("Key", request.key),
            ("UploadId", request.query["uploadId"]),
            ("Initiator", list(OWNER)),
            ("Owner", list(OWNER)),
            ("StorageClass", "STANDARD"),
            ("PartNumberMarker", marker),
            ("NextPartNumberMarker", page[-1]["part-number"] if page else marker),
            ("MaxParts", limit),
            ("IsTruncated", 0 < limit < len(left)),
        ]
        content += [("Part", _told_part(part)) for part in page]
        await responder.document("ListPartsResult", content)

    async def _parts(self, request: S3Request, record: BucketRecord, node: Node) -> list[dict[str, Any]]:
        query = _upload_query(request)
        try:
            async with self._targets.ask(
                "GET", record, request.key, query=query, headers=[objectheaders.S3], node=node
            ) as answer:
                parts: list[dict[str, Any]] = json.loads(await answer.read(_MAX_ANSWER_BYTES))
        except S3Error as error:
            raise _of_upload(error) from None
        return parts

    async def _check_size(self, request: S3Request, record: BucketRecord, node: Node) -> None:
        """Raise S3Error unless the parts, all of which are taken, have the size that is promised of the object."""
        promised = request.header("x-amz-mp-object-size")
        if not promised:
            return
        try:
            parts = await self._parts(request, record, node)
        except S3Error as error:
            if error.code == "NoSuchUpload":  # perhaps completed before, which the completion tells
                return
            raise
        size_bytes = sum(part["size"] for part in parts)
        if promised != str(size_bytes):
            what = f"the parts have {size_bytes} bytes, and x-amz-mp-object-size is {printable(promised, 32)}"
            raise S3Error("InvalidRequest", what)

    def target_of(self, request: S3Request) -> Node:
        """The target that has the upload; raises S3Error NoSuchUpload."""
        upload_id = UploadId.parse(request.query.get("uploadId", ""))
        node = self._targets.target(upload_id.target_id) if upload_id is not None else None
        if node is None:
            raise _no_upload()
        return node


def _told_part(part: dict[str, Any]) -> Content:
    return [
        ("PartNumber", part["part-number"]),
        ("LastModified", objectheaders.iso_date(part["modified_ns"])),
        ("ETag", f'"{part["etag"]}"'),
        ("Size", part["size"]),
    ]


def _digests(request: S3Request) -> list[Header]:
    """What the target is to compare with the whole object."""
    found = announced_of_object(request)
    return [(b"haul-digest", f"{algorithm}={value.hex()}".encode()) for algorithm, value in found.items()]


def _upload_query(request: S3Request) -> dict[str, str]:
    return {"uploadId": request.query["uploadId"]}


def part_query(request: S3Request) -> dict[str, str]:
    """What of a request's query tells a target which part is meant; raises S3Error InvalidArgument."""
    number = request.query.get("partNumber", "")
    if _part_number(number) is None:
        raise S3Error("InvalidArgument", f"Part number must be an integer between 1 and {_MAX_PARTS}, inclusive")
    return {"uploadId": request.query["uploadId"], "partNumber": number}


def _part_number(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(_MAX_PARTS))
    return int(text) if is_number and 1 <= int(text) <= _MAX_PARTS else None


def _no_upload() -> S3Error:
    return S3Error(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
    )


def _of_upload(error: S3Error) -> S3Error:
    """What a target answers for an upload: that nothing is there means that the upload is not."""
    return _no_upload() if error.code == "NoSuchKey" else error
