"""Buckets that are outside: found at their service when they are first used, and recorded; properties of all buckets.

The table is kept by `proxy.buckets`; listing one is left to `listing`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from common.backends.asking import Asking
from common.backends.sources import is_outside
from common.buckets import BucketRecord, check_properties, merged_properties
from common.errors import BucketExists, BucketNotFound, InvalidRequest
from common.names import Bucket
from proxy.buckets import Buckets

NOT_RECORDED = 0
"""The id of a bucket that is there, and not in the table."""


class RemoteBuckets:
    """The bucket table, and what is outside of it."""

    def __init__(self, buckets: Buckets, asking: Asking) -> None:
        self._buckets = buckets
        self._asking = asking

    async def find(self, bucket: Bucket, *, adds: bool = True) -> BucketRecord:
        """The record of a bucket; one that is outside is looked for there, and recorded if `adds`.

        Raises BucketNotFound, RemoteBucketNotFound, Unavailable, and what its backend raises.
        """
        try:
            return await self._buckets.get(bucket)
        except BucketNotFound:
            if not is_outside(bucket):
                raise
        await self.look(bucket)
        if not adds:
            return BucketRecord(bucket, NOT_RECORDED, 0)
        with contextlib.suppress(BucketExists):
            return await self._buckets.create(bucket, {})
        return await self._buckets.get(bucket)

    async def create(self, bucket: Bucket, properties: object) -> None:
        """Make a bucket here, or record one that is outside and not recorded; raises BucketExists, and as `find`."""
        checked = check_properties(properties)
        if is_outside(bucket):
            await self.look(bucket)
        await self._look_at_backend(bucket, checked)
        await self._buckets.create(bucket, merged_properties({}, checked))

    async def set_properties(self, bucket: Bucket, properties: object) -> None:
        """Change some properties of a bucket; raises InvalidRequest, and as `find`."""
        checked = check_properties(properties)
        await self.find(bucket)
        await self._look_at_backend(bucket, checked)
        await self._buckets.set_properties(bucket, partial(merged_properties, changes=checked))

    async def reset_properties(self, bucket: Bucket) -> None:
        """Give a bucket the properties of a new one, but for its backend; raises as `find`."""
        await self.find(bucket)
        await self._buckets.set_properties(bucket, _reset)

    async def look(self, bucket: Bucket) -> None:
        """Raise what is wrong with a bucket that is outside: RemoteBucketNotFound, AccessDenied, …"""
        await self._asking.ask(bucket, lambda backend: backend.page(limit=1))

    async def _look_at_backend(self, bucket: Bucket, checked: Mapping[str, Any]) -> None:
        """The bucket that `backend_bck` names is found, and recorded, before it is attached."""
        backend = BucketRecord(bucket, NOT_RECORDED, 0, merged_properties({}, checked)).backend
        if backend is None or backend == bucket:
            if checked.get("backend_bck"):
                raise InvalidRequest(f"'backend_bck' cannot be set: {bucket.cname} is outside of this cluster itself")
            return
        await self.find(backend)


def _reset(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in properties.items() if key == "backend_bck"}
