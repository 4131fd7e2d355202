"""Uploads in parts: begin, take parts, list them, complete, abort (wire.md §3.6), for clients and the S3 gateway.

How parts are kept is left to `target.storage.pieces`, routing to `objects`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from common import web
from common.errors import InvalidRequest, UploadNotFound
from common.names import Bucket, printable
from common.uploadids import UploadId
from target.api import object_headers
from target.api.announced import CONTENT_MD5, Announced, read_custom, read_headers
from target.api.object_calls import ObjectCall
from target.api.open_uploads import OpenUploads
from target.api.uploads import Upload, Uploads
from target.storage.assembling import Assembly, combined_etag
from target.storage.digests import OWN
from target.storage.inprogress import Pieces
from target.storage.metadata import ObjectMetadata
from target.storage.pieces import MAX_PART_NUMBER, Part
from target.storage.pieces import Upload as Begun
from target.storage.store import Store
from target.storage.writer import ObjectWriter

MAX_COMPLETION_BYTES = 1 << 20
"""Ten thousand parts; it is read on the event loop, which nothing larger may hold up."""
_REMEMBERED = 1000
"""Completions whose answer may have been lost: asked again, they are answered again."""


class Multipart:
    """The uploads in progress at this target, as clients see them."""

    def __init__(self, store: Store, pieces: Pieces, uploads: Uploads, opener: OpenUploads, target_id: str) -> None:
        self._store = store
        self._pieces = pieces
        self._uploads = uploads
        self._target_id = target_id
        self._opener = opener
        self._completed: OrderedDict[tuple[str, Bucket, int, str], ObjectMetadata] = OrderedDict()

    async def begin(self, call: ObjectCall) -> None:
        """`mpt-upload`: answers the upload's id."""
        custom = read_custom(call.scope)
        token = await self._uploads.in_thread(
            partial(self._pieces.begin, call.bucket, call.bucket_id, call.name, custom)
        )
        await web.answer(call.send, 200, str(UploadId(token, self._target_id)).encode())

    async def put_part(self, call: ObjectCall) -> None:
        """PUT with `partNumber`: the answer has the part's MD5 as ETag."""
        number = _part_number(call.query.get("partNumber", ""))
        promised = read_headers(call.scope)
        digests = promised.digests("md5")
        async with self._opener.opened(call, _upload_id(call).token) as upload:
            writer = partial(upload.part_writer, promised.size, digests)
            incoming = Upload(lambda: (writer(), None), promised, digests, f"{call.cname}, part {number}")
            staged = await self._uploads.receive_into(call.receive, incoming)
            md5 = staged.metadata.digests["md5"]
            await self._uploads.in_thread(partial(upload.keep_part, number, staged))
        await web.answer(call.send, 200, b"", [(b"etag", f'"{md5}"'.encode())])

    async def list_parts(self, call: ObjectCall) -> None:
        """GET: the parts that are here."""
        async with self._opener.opened(call, _upload_id(call).token) as upload:
            parts = await self._uploads.in_thread(upload.parts)
        told = [
            {
                "part-number": part.number,
                "etag": part.md5,
                "size": part.metadata.size,
                "modified_ns": part.metadata.stored_ns,
            }
            for part in parts
        ]
        await web.answer_json(call.send, told)

    async def complete(self, call: ObjectCall, value: Any) -> bool:
        """`mpt-complete`: the object is there, or the upload is as it was; whether something was stored now."""
        wanted = _completion(value)
        promised = read_headers(call.scope)
        upload_id = _upload_id(call)
        key = upload_id.token, call.bucket, call.bucket_id, call.name
        async with self._opener.alone(call.bucket, upload_id.token):
            done = self._completed.get(key)
            if done is None:
                async with self._opener.opened(call, _upload_id(call).token) as upload:
                    metadata = await self._assemble(call, upload, wanted, promised)
                    await self._uploads.in_thread(upload.remove)
                self._completed[key] = metadata
                if len(self._completed) > _REMEMBERED:
                    self._completed.popitem(last=False)
        shown = done or metadata
        headers = object_headers.attributes(shown)
        await web.answer(call.send, 200, b"", [*headers, (b"etag", object_headers.etag(shown))])
        return done is None

    async def _assemble(
        self, call: ObjectCall, upload: Begun, wanted: Sequence[tuple[int, str]], promised: Announced
    ) -> ObjectMetadata:
        parts = await self._uploads.in_thread(upload.parts)
        _compare(wanted, parts)
        size = sum(part.metadata.size for part in parts)
        # A Content-MD5 is the body's, which is the list of the parts.
        expected = tuple(one for one in promised.expected if one.label != CONTENT_MD5)
        promised = replace(promised, expected=expected)
        digests = [one.algorithm for one in expected if one.algorithm != OWN]
        writer = partial(self._store.writer, call.bucket, call.bucket_id, call.name, size, digests)
        assembly = Assembly(writer, upload, parts)

        def check(written: ObjectWriter) -> None:
            promised.compare(lambda name: written.checksum if name == OWN else written.digest(name), call.cname)

        etag = combined_etag(parts) if promised.is_s3 else ""
        grade = "user" if all(expected for _, expected in wanted) else "size"
        more: dict[str, Any] = {"etag": etag, "grade": grade, "custom": dict(upload.head.custom)}
        try:
            while not await self._uploads.in_thread(assembly.step):
                pass
            staged, committer = await self._uploads.in_thread(partial(assembly.finish, check, **more))
        except BaseException:
            await self._uploads.in_thread(assembly.discard)
            raise
        condition = promised.condition(call.bucket, call.name)
        return await self._uploads.commit(call.bucket, call.bucket_id, call.name, staged, committer, condition)

    async def abort(self, call: ObjectCall) -> None:
        """`mpt-abort`: nothing is left of the upload."""
        token = _upload_id(call).token
        async with self._opener.alone(call.bucket, token), self._opener.opened(call, token) as upload:
            await self._uploads.in_thread(upload.remove)
        await web.answer(call.send, 200)

    async def in_progress(
        self, bucket: Bucket, bucket_id: int, prefix: str, marker: tuple[str, str], limit: int
    ) -> tuple[list[dict[str, object]], bool]:
        """The uploads of a bucket at this target, by name and id, and whether there are more than `limit`.

        Only those whose names have a prefix, behind a name and an id; without an id, behind all uploads of the name.
        """

        def is_wanted(name: str, token: str) -> bool:
            if not name.startswith(prefix):
                return False
            return (name, str(UploadId(token, self._target_id))) > marker if marker[1] else name > marker[0]

        begun, has_more = await self._uploads.in_thread(
            partial(self._pieces.begun, bucket, bucket_id, is_wanted, limit)
        )
        told: list[dict[str, object]] = [
            {"name": one.name, "upload_id": str(UploadId(one.token, self._target_id)), "started_ns": one.started_ns}
            for one in begun
        ]
        return told, has_more


def _upload_id(call: ObjectCall) -> UploadId:
    text = call.query.get("uploadId", "")
    parsed = UploadId.parse(text)
    if parsed is None:
        raise UploadNotFound(f'no such upload of {call.cname}: "{printable(text)}"')
    return parsed


def _part_number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 9 or not 1 <= int(text) <= MAX_PART_NUMBER:
        raise InvalidRequest(f'invalid part number "{printable(text)}": must be from 1 to {MAX_PART_NUMBER}')
    return int(text)


def _completion(value: Any) -> list[tuple[int, str]]:
    """Number and expected MD5 (empty: any) of the parts that a completion names, in order; raises InvalidRequest."""
    if not isinstance(value, list) or not value:
        raise InvalidRequest('mpt-complete: "value" must be the list of the parts, and is empty or none')
    wanted = []
    for one in value:
        fields = {str(key).lower(): found for key, found in one.items()} if isinstance(one, dict) else {}
        number, etag = fields.get("part-number"), fields.get("etag") or ""
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(etag, str):
            raise InvalidRequest('mpt-complete: a part must be {"part-number": number, "etag": text}')
        wanted.append((number, etag.strip().strip('"').lower()))
    wanted.sort()
    if [number for number, _ in wanted] != list(range(1, len(wanted) + 1)):
        raise InvalidRequest(f"parts must be exactly 1..{len(wanted)}, and are not")
    return wanted


def _compare(wanted: Sequence[tuple[int, str]], parts: Sequence[Part]) -> None:
    """Raise InvalidRequest unless these are the parts that are wanted."""
    if len(wanted) != len(parts):
        raise InvalidRequest(f"partial completion is not allowed: requested {len(wanted)} parts, have {len(parts)}")
    for (number, etag), part in zip(wanted, parts, strict=True):
        if number != part.number:
            raise InvalidRequest(f"parts must be exactly 1..{len(wanted)}: part {number} is missing")
        if etag and etag != part.md5:
            raise InvalidRequest(f"part {number} has ETag {part.md5}, not {printable(etag)}")
