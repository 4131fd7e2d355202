"""Objects that are written by appending: pieces of bytes in order, and at last an object of them (wire.md §3.1).

The handle that the client has tells the target, the upload and how many bytes it has: a piece that comes again, because
its answer was lost, replaces what came behind its handle. The first piece of an object that exists is appended to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from common import web
from common.errors import InvalidRequest, ObjectNotFound, UploadNotFound
from common.names import printable
from common.uploadids import UploadId
from target.api import object_headers
from target.api.announced import Announced, read_headers
from target.api.object_calls import ObjectCall
from target.api.open_uploads import OpenUploads
from target.api.uploads import Uploads
from target.storage.assembling import TailAssembly
from target.storage.digests import OWN, Digests
from target.storage.inprogress import Pieces
from target.storage.metadata import ObjectMetadata
from target.storage.pieces import Upload
from target.storage.reader import OpenObject
from target.storage.store import Store
from target.storage.tails import Tail
from target.storage.writer import ObjectWriter

APPEND, FLUSH = "append", "flush"
_COPY_BYTES = 8 << 20
_READ_BYTES = 1 << 20


class Appends:
    """What is being appended to at this target."""

    def __init__(self, store: Store, pieces: Pieces, uploads: Uploads, opener: OpenUploads, target_id: str) -> None:
        self._store = store
        self._pieces = pieces
        self._uploads = uploads
        self._opener = opener
        self._target_id = target_id

    async def put(self, call: ObjectCall) -> bool:
        """PUT with `append_type`; whether an object was stored.

        Raises InvalidRequest, UploadNotFound, BadChecksum, DiskError, and PreconditionFailed of a flush.
        """
        kind, text = call.query["append_type"], call.query.get("append_handle", "")
        if kind not in (APPEND, FLUSH):
            raise InvalidRequest(f'append_type "{printable(kind)}": must be "{APPEND}" or "{FLUSH}"')
        promised = read_headers(call.scope)
        if text and kind == APPEND and promised.custom:
            raise InvalidRequest("Ais-Custom-Md: goes with the first piece that is appended, or with the flush")
        handle = _handle(call, text) if text else await self._begin(call, promised.custom)
        async with self._opener.alone(call.bucket, handle.token), self._opener.opened(call, handle.token) as upload:
            tail = await self._uploads.in_thread(partial(upload.open_tail, adds=kind == APPEND))
            try:
                await self._append(call, tail, handle, promised if kind == APPEND else Announced())
                if kind == FLUSH:
                    metadata = await self._flush(call, upload, tail, promised)
                    await self._uploads.in_thread(upload.remove)
            finally:
                await self._uploads.in_thread(tail.close)
        if kind == FLUSH:
            await web.answer(call.send, 200, b"", object_headers.attributes(metadata))
            return True
        told = str(handle._replace(size_bytes=tail.size)).encode()
        await web.answer(call.send, 200, b"", [(b"ais-append-handle", told)])
        return False

    async def _begin(self, call: ObjectCall, custom: dict[str, str]) -> UploadId:
        """A new handle; what is stored under the name is its first bytes."""
        try:
            found, mountpath = await self._uploads.in_thread(
                partial(self._store.open, call.bucket, call.name, call.bucket_id)
            )
        except ObjectNotFound:
            found = None
        try:
            kept = dict(found.metadata.custom) if found is not None else {}
            token = await self._uploads.in_thread(
                partial(self._pieces.begin, call.bucket, call.bucket_id, call.name, kept | custom)
            )
            async with self._opener.opened(call, token) as upload:
                tail = await self._uploads.in_thread(partial(upload.open_tail, makes=True))
                try:
                    while found is not None and tail.size < found.size:
                        try:
                            await self._uploads.in_thread(partial(_copy, found, tail))
                        except OSError as error:
                            raise mountpath.error(error) from None
                    await self._uploads.in_thread(tail.acknowledge)
                finally:
                    await self._uploads.in_thread(tail.close)
        finally:
            if found is not None:
                found.close()
        return UploadId(token, self._target_id, tail.size)

    async def _append(self, call: ObjectCall, tail: Tail, handle: UploadId, promised: Announced) -> None:
        """Take the body; raises BadChecksum, and then the handle is as good as it was."""
        assert handle.size_bytes is not None
        digests = Digests(promised.digests(), promised.size or 0)

        def write(chunks: Sequence[bytes]) -> None:
            tail.write(chunks)
            for chunk in chunks:
                digests.update(chunk)

        await self._uploads.in_thread(partial(tail.rewind, handle.size_bytes))
        last = await self._uploads.receive_batches(call.receive, write)
        await self._uploads.in_thread(partial(write, last))
        promised.compare(digests.hexdigest, f"{call.cname}, appended piece")
        await self._uploads.in_thread(tail.acknowledge)

    async def _flush(self, call: ObjectCall, upload: Upload, tail: Tail, promised: Announced) -> ObjectMetadata:
        digests = promised.digests()
        writer = partial(self._store.writer, call.bucket, call.bucket_id, call.name, tail.size, digests)
        assembly = TailAssembly(writer, tail)

        def check(written: ObjectWriter) -> None:
            """Here the headers tell of the whole object."""
            promised.compare(lambda name: written.checksum if name == OWN else written.digest(name), call.cname)

        grade = "user" if promised.expected else "size"
        more = {"custom": dict(upload.head.custom) | promised.custom, "grade": grade}
        try:
            while not await self._uploads.in_thread(assembly.step):
                pass
            staged, committer = await self._uploads.in_thread(partial(assembly.finish, check, **more))
        except BaseException:
            await self._uploads.in_thread(assembly.discard)
            raise
        condition = promised.condition(call.bucket, call.name)
        return await self._uploads.commit(call.bucket, call.bucket_id, call.name, staged, committer, condition)


def _handle(call: ObjectCall, text: str) -> UploadId:
    handle = UploadId.parse(text)
    if handle is None or handle.size_bytes is None:
        raise UploadNotFound(f'no such append handle of {call.cname}: "{printable(text)}"')
    return handle


def _copy(found: OpenObject, tail: Tail) -> None:
    """Some of an object's bytes; raises OSError, DiskError."""
    end = min(found.size, tail.size + _COPY_BYTES)
    while tail.size < end:
        tail.write((found.read(tail.size, _READ_BYTES),))
