"""Requests that change an object, or will make one: PUT, POST, PATCH and DELETE of `/v1/objects/<bucket>/<name>`.

Which of them it is, and whether this target may do it, is decided here; doing it is left to `uploads`, `multipart`,
`appends` and `renaming`.
"""

from __future__ import annotations

import asyncio
from functools import partial

from common import web
from common.errors import BucketNotFound, InvalidRequest, ObjectNotFound, Unsupported
from common.names import Bucket, printable
from target.api import object_headers
from target.api.announced import read_headers
from target.api.appends import APPEND, Appends
from target.api.custom import custom_change
from target.api.multipart import MAX_COMPLETION_BYTES, Multipart
from target.api.object_calls import ObjectCall
from target.api.object_requests import action_of, bucket_id_of, read_action
from target.api.renaming import Renaming
from target.api.uploads import Uploads
from target.gates import Gates
from target.rebalance.copying import Copier
from target.rebalance.neighbours import Neighbours
from target.remote.outside import Backends
from target.storage.store import Store

DELETE = "delete-listrange"
EVICT = "evict-listrange"
MPT_ABORT = "mpt-abort"
_MAX_ACTION_BYTES = 64 * 1024
_OF_ARCHIVES = ("archpath", "archregx", "archmode", "archmime")
_TIMES = {b"if-modified-since": "If-Modified-Since", b"if-unmodified-since": "If-Unmodified-Since"}
_OF_APPENDS = ("append_type", "append_handle")


class NothingToDelete(ObjectNotFound):
    """The dialect answers a DELETE of nothing without a code."""

    code = ""


class ObjectChanges:
    """Dispatches what changes objects."""

    def __init__(
        self,
        store: Store,
        uploads: Uploads,
        multipart: Multipart,
        appends: Appends,
        neighbours: Neighbours | None,
        backends: Backends | None,
        copier: Copier | None,
        gates: Gates,
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._multipart = multipart
        self._appends = appends
        self._renaming = Renaming(store, uploads, neighbours, backends, copier)
        self._neighbours = neighbours
        self._backends = backends
        self._gates = gates

    async def __call__(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, bucket: Bucket, name: str, query: dict[str, str]
    ) -> None:
        _check_query(scope["method"], query)
        _check_headers(scope)
        if scope["method"] == "DELETE":
            await self._delete(scope, receive, send, bucket, name, query)
            return
        call = await self._call(scope, receive, send, bucket, name, query)
        match scope["method"]:
            case "PUT":
                await self._put(call)
            case "POST":
                await self._post(call)
            case _:
                await self._patch(call)

    async def list_parts(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, bucket: Bucket, name: str, query: dict[str, str]
    ) -> None:
        """GET with `uploadId`: what has come of an upload."""
        await self._multipart.list_parts(await self._call(scope, receive, send, bucket, name, query))

    async def _call(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, bucket: Bucket, name: str, query: dict[str, str]
    ) -> ObjectCall:
        """The request, with the bucket's incarnation that is here if the proxy has named none.

        Raises BucketNotFound, or NotOwner where the bucket may just not have come because its objects are others'.
        """
        bucket_id = bucket_id_of(query)
        if bucket_id is None:
            bucket_id = self._store.bucket_ids().get(bucket)
            if bucket_id is None:
                if self._neighbours is not None:
                    await self._neighbours.check_owned(bucket, name)
                raise BucketNotFound(bucket.cname)
        return ObjectCall(scope, receive, send, bucket, bucket_id, name, query)

    async def _put(self, call: ObjectCall) -> None:
        if "archpath" in call.query:
            raise Unsupported("nothing is appended to archives by this cluster")
        if "object_to" in call.query:
            _check_unconditional(call, "copies")
            await self._renaming.copy(call)
            return
        self._check_inside(call)
        self._gates.check(call.bucket, adds=True)
        if "uploadId" in call.query or "partNumber" in call.query:
            _check_unconditional(call, "parts of uploads (but for completing them)")
            await self._multipart.put_part(call)
            return
        if "append_type" in call.query:
            await self._append(call)
            return
        await self._check_owned(call)
        if _is_conditional(call.scope):
            await self._bring(call)
        metadata = await self._uploads.receive(call.scope, call.receive, call.bucket, call.bucket_id, call.name)
        await self._stored(call)
        headers = object_headers.attributes(metadata)
        if metadata.etag:  # the S3 gateway has asked for one
            headers.append((b"etag", object_headers.etag(metadata)))
        await web.answer(call.send, 200, b"", headers)

    async def _append(self, call: ObjectCall) -> None:
        if call.query["append_type"] == APPEND:
            _check_unconditional(call, "appended pieces (but for the flush)")
        if not call.query.get("append_handle") or _is_conditional(call.scope):  # only the owner knows what is stored
            await self._check_owned(call)
            await self._bring(call)
        if await self._appends.put(call):
            await self._stored(call)

    async def _patch(self, call: ObjectCall) -> None:
        message = read_action(await web.read_body(call.receive, _MAX_ACTION_BYTES))
        if message.action:
            raise InvalidRequest(f'invalid action "{printable(message.action)}" of PATCH {call.cname}')
        self._check_inside(call)
        _check_unconditional(call, "changes of custom metadata")
        change = custom_change(message.value, replaces=web.is_true(call.query.get("set-new-custom", "")))
        await self._check_owned(call)
        await self._bring(call)
        with self._gates.changing(call.bucket, adds=False):
            await self._renaming.change(call, change)
        await web.answer(call.send, 200)

    async def _post(self, call: ObjectCall) -> None:
        message = read_action(await web.read_body(call.receive, MAX_COMPLETION_BYTES))
        match message.action:
            case "mpt-upload":
                self._check_inside(call)
                _check_unconditional(call, "beginning an upload (but for completing it)")
                self._gates.check(call.bucket, adds=True)
                await self._check_owned(call)
                await self._multipart.begin(call)
            case "mpt-complete":
                self._check_inside(call)
                if _is_conditional(call.scope):  # only the owner can tell; to others the upload may have been left
                    await self._check_owned(call)
                    await self._bring(call)
                if await self._multipart.complete(call, message.value):
                    await self._stored(call)
            case "rename-obj":
                _check_unconditional(call, message.action)
                with self._gates.changing(call.bucket, adds=False):
                    await self._renaming.rename(call, message.name)
            case "check-lock":
                await web.answer(call.send, 200)  # a reader waits for nobody here: what it reads is whole
            case "promote" | "blob-download":
                raise Unsupported(f"{call.cname}: {message.action} is not offered by this cluster")
            case _:
                raise InvalidRequest(f'invalid action "{printable(message.action)}" of POST {call.cname}')

    async def _delete(
        self, scope: web.Scope, receive: web.Receive, send: web.Send, bucket: Bucket, name: str, query: dict[str, str]
    ) -> None:
        action = action_of(await web.read_body(receive, _MAX_ACTION_BYTES)).action
        if action == MPT_ABORT or "uploadId" in query:
            if action != MPT_ABORT:
                raise InvalidRequest(f'a DELETE with "uploadId" must have the action "{MPT_ABORT}" in its body')
            call = await self._call(scope, receive, send, bucket, name, query)
            _check_unconditional(call, "giving up an upload")
            await self._multipart.abort(call)
            return
        self._check_delete(bucket, name, action)
        bucket_id = bucket_id_of(query)
        try:
            if _is_conditional(scope):
                await self._delete_if(await self._call(scope, receive, send, bucket, name, query))
            elif self._neighbours is not None:
                await self._neighbours.delete(bucket, name, bucket_id)
            else:
                await asyncio.to_thread(partial(self._store.delete, bucket, name, bucket_id))
        except ObjectNotFound as error:
            raise NothingToDelete(error.message) from None
        await web.answer(send, 200)

    async def _delete_if(self, call: ObjectCall) -> None:
        """Delete an object that meets the conditions; what is stored after they were looked at stays.

        Raises PreconditionFailed, ObjectNotFound, and what `delete` of the neighbours does.
        """
        await self._check_owned(call)
        await self._bring(call)
        check = read_headers(call.scope).condition(call.bucket, call.name)
        with self._gates.changing(call.bucket, adds=False):
            known, _ = await asyncio.to_thread(self._store.head, call.bucket, call.name, call.bucket_id)
            if check is not None:
                check(known)
            if self._neighbours is not None:
                await self._neighbours.remove_unchanged(call.bucket, call.name, call.bucket_id, known)
            else:
                identity = known.link_digest, known.stored_ns
                await asyncio.to_thread(self._store.delete_if, call.bucket, call.bucket_id, call.name, *identity)

    def _check_delete(self, bucket: Bucket, name: str, action: str) -> None:
        """What is outside can only be evicted, what is only here only be deleted."""
        if action not in ("", DELETE, EVICT):
            raise InvalidRequest(f'invalid action "{printable(action)}" of DELETE {bucket.cname}/{printable(name)}')
        outside = self._backends.of(bucket) if self._backends is not None else None
        if outside is None and action == EVICT:
            raise InvalidRequest(f"cannot evict {bucket.cname}/{printable(name)}: it is only here")
        if outside is not None and action != EVICT:
            raise Unsupported(
                f"{bucket.cname}/{printable(name)}: nothing is deleted at {outside.backend.cname} "
                f'(what is here of it can be evicted: the action "{EVICT}" in the body)'
            )

    def _check_inside(self, call: ObjectCall) -> None:
        """Raise Unsupported for an object whose truth is outside of the cluster."""
        outside = self._backends.of(call.bucket) if self._backends is not None else None
        if outside is not None:
            raise Unsupported(f"{call.cname}: nothing is written to {outside.backend.cname}")

    async def _check_owned(self, call: ObjectCall) -> None:
        if self._neighbours is not None:
            await self._neighbours.check_owned(call.bucket, call.name)

    async def _bring(self, call: ObjectCall) -> None:
        """Have here what other targets may still have of an object."""
        if self._neighbours is not None:
            await self._neighbours.bring(call.bucket, call.name)

    async def _stored(self, call: ObjectCall) -> None:
        if self._neighbours is not None:
            await self._neighbours.stored(call.bucket, call.name)


def _check_query(method: str, query: dict[str, str]) -> None:
    """Raise Unsupported or InvalidRequest for what would be done to more, or to something else, than was meant."""
    for key in _OF_ARCHIVES:
        if method != "PUT" and query.get(key):
            raise Unsupported(f"'{key}': nothing is changed or deleted in archives by this cluster")
    for key in query:
        if key != "uploadId" and key.lower().replace("_", "").replace("-", "") == "uploadid":
            raise InvalidRequest(f"query parameter '{printable(key)}': the id of an upload is 'uploadId'")
        if method == "DELETE" and key in _OF_APPENDS:
            raise InvalidRequest(
                f"query parameter '{key}': appended pieces are not deleted, they are forgotten in time"
            )


def _check_headers(scope: web.Scope) -> None:
    """Raise Unsupported or InvalidRequest for headers that would be overlooked, and matter."""
    for name, _ in scope["headers"]:
        if name in _TIMES:
            raise Unsupported(f"{_TIMES[name]}: changes of objects are under conditions of ETags only (If-Match)")
        if name == b"content-range" and scope["method"] == "PUT":  # RFC 9110 §14.5; `curl -C` resumes so
            raise InvalidRequest("Content-Range: a PUT stores whole objects, parts and pieces, no ranges of them")


def _check_unconditional(call: ObjectCall, what: str) -> None:
    """Raise Unsupported for a condition that would be overlooked."""
    if _is_conditional(call.scope):
        raise Unsupported(f"{call.cname}: If-Match and If-None-Match are not offered for {what}")


def _is_conditional(scope: web.Scope) -> bool:
    return any(key in (b"if-match", b"if-none-match") for key, _ in scope["headers"])
