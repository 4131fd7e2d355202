"""Copies of objects under other names, new names, and new custom metadata (wire.md §3.1, §3.4).

How a copy travels is left to `target.rebalance.copying`, how metadata is changed to `target.storage.custom`.
"""

from __future__ import annotations

from functools import partial

from common import web
from common.access import Permission
from common.errors import BucketNotFound, ObjectNotFound, Unsupported
from common.names import Bucket, parse_object_uname, printable, validate_object_name
from target.api.object_calls import ObjectCall
from target.api.object_requests import bucket_id_of
from target.api.uploads import Uploads
from target.rebalance.copying import Copier, Place
from target.rebalance.neighbours import Neighbours
from target.remote.outside import Backends, Outside
from target.storage.custom import Change, change_in_place, rewrite
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Mountpath
from target.storage.reader import OpenObject
from target.storage.store import Store

DESTINATION_ID = "to_bid"
"""The query parameter by which a proxy tells which incarnation of the destination's bucket is meant."""

_WANT_THE_LATEST = ("latest-ver", "synchronize")
"""Parameters of a copy by which a service is asked first; what is gone there is then not copied."""


class Renaming:
    """Carries out what makes an object of another one."""

    def __init__(
        self,
        store: Store,
        uploads: Uploads,
        neighbours: Neighbours | None,
        backends: Backends | None,
        copier: Copier | None,
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._neighbours = neighbours
        self._backends = backends
        self._copier = copier

    async def copy(self, call: ObjectCall) -> None:
        """PUT with `object_to`; raises ObjectNotFound, BucketNotFound, Unsupported, and as `Copier.copy`."""
        bucket, name = parse_object_uname(call.query["object_to"])
        self._check_inside(bucket, name)
        bucket_id = bucket_id_of(call.query, DESTINATION_ID)
        if bucket_id is None:
            raise BucketNotFound(bucket.cname)
        await self._copy(call, Place(bucket, bucket_id, name))
        await web.answer(call.send, 200)

    async def rename(self, call: ObjectCall, new_name: str) -> None:
        """`rename-obj`, in the bucket: the new name is there before the old one goes, unless that was stored anew."""
        place = Place(call.bucket, call.bucket_id, validate_object_name(new_name))
        self._check_inside(call.bucket, call.name)
        if self._neighbours is not None:
            self._neighbours.check_permitted(call.bucket, Permission.MOVE_OBJECT)
        copied = await self._copy(call, place)
        if place.name != call.name:
            assert self._neighbours is not None
            await self._neighbours.remove_unchanged(call.bucket, call.name, call.bucket_id, copied)
        await web.answer(call.send, 200)

    async def change(self, call: ObjectCall, change: Change) -> None:
        """Change custom metadata, durably; raises ObjectNotFound, DiskError, and what `change` does."""
        asked = (self._store, call.bucket, call.bucket_id, call.name, change)
        try:
            if await self._uploads.in_thread(partial(change_in_place, *asked)):
                return
            rewritten = await self._uploads.in_thread(partial(rewrite, *asked))
        except ObjectNotFound as error:
            raise type(error)(error.message) from None
        await self._uploads.commit(call.bucket, call.bucket_id, call.name, *rewritten)

    async def _copy(self, call: ObjectCall, place: Place) -> ObjectMetadata:
        """Copy what the request is about, which is this target's; returns what was copied."""
        if self._neighbours is None or self._copier is None:
            raise Unsupported("objects are not copied by this target")
        await self._neighbours.check_owned(call.bucket, call.name)
        await self._neighbours.bring(call.bucket, call.name)
        found, mountpath = await self._open(call)
        try:
            if (place.bucket, place.name) != (call.bucket, call.name):
                await self._copier.copy(found, mountpath, place)
            return found.metadata
        finally:
            found.close()

    async def _open(self, call: ObjectCall) -> tuple[OpenObject, Mountpath]:
        outside = self._outside(call.bucket)
        opening = partial(self._store.open, call.bucket, call.name, call.bucket_id)
        if outside is None:
            return await self._uploads.in_thread(opening)
        if not any(web.is_true(call.query.get(asked, "")) for asked in _WANT_THE_LATEST):
            try:
                return await self._uploads.in_thread(opening)
            except ObjectNotFound:
                pass
        await outside.fetch(call.bucket, call.name, call.bucket_id)
        return await self._uploads.in_thread(opening)

    def _check_inside(self, bucket: Bucket, name: str) -> None:
        outside = self._outside(bucket)
        if outside is not None:
            raise Unsupported(f"{bucket.cname}/{printable(name)}: nothing is written to {outside.backend.cname}")

    def _outside(self, bucket: Bucket) -> Outside | None:
        return self._backends.of(bucket) if self._backends is not None else None
