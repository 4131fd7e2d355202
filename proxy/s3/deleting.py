"""DeleteObjects of S3: up to a thousand objects by one request, each with an outcome of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from common.buckets import BucketRecord
from common.errors import HaulError
from proxy.s3 import documents
from proxy.s3.bodies import Payload
from proxy.s3.documents import Content, Element
from proxy.s3.errors import S3Error, as_s3, not_implemented
from proxy.s3.objects import S3Objects

_MAX_BODY_BYTES: Final = 8 << 20
"""A thousand keys of a kilobyte, each escaped."""
_MAX_KEYS: Final = 1000
_AT_ONCE: Final = 16


class Deleting:
    """Deletes many objects of a bucket."""

    def __init__(self, objects: S3Objects) -> None:
        self._objects = objects

    async def read(self, payload: Payload) -> Element:
        """The request's document; raises S3Error."""
        found = documents.read(await payload.read(_MAX_BODY_BYTES), "Delete")
        keys = sum(1 for _ in found.all("Object"))
        if not 0 < keys <= _MAX_KEYS:
            raise S3Error("MalformedXML", f"the request must name 1 to {_MAX_KEYS} objects, and names {keys}")
        return found

    async def delete(self, record: BucketRecord, asked: Element) -> Content:
        """Delete what the document names; what is answered."""
        turns = asyncio.Semaphore(_AT_ONCE)
        wanted = list(asked.all("Object"))
        errors = await asyncio.gather(*(self._one(turns, record, one) for one in wanted))
        is_quiet = asked.first("Quiet").strip().lower() == "true"
        return _told(wanted, errors, is_quiet=is_quiet)

    async def _one(self, turns: asyncio.Semaphore, record: BucketRecord, one: Element) -> S3Error | None:
        key, version = one.first("Key"), one.first("VersionId")
        if not key:
            return S3Error("InvalidArgument", "an object without a key")
        if one.first("Size") or one.first("LastModifiedTime"):
            return not_implemented("deleting by size or time, which S3 has for directory buckets only,")
        if version not in ("", "null"):
            return S3Error("NoSuchVersion", "objects have no versions in this cluster, so there is none of that id")
        async with turns:
            try:
                await self._objects.delete_one(record, key, one.first("ETag").strip())
            except HaulError as error:
                return as_s3(error)
        return None


def _told(wanted: Sequence[Element], errors: Sequence[S3Error | None], *, is_quiet: bool) -> Content:
    told: list[documents.Node] = []
    for one, error in zip(wanted, errors, strict=True):
        named: list[documents.Node] = [("Key", one.first("Key"))]
        if one.first("VersionId"):
            named.append(("VersionId", one.first("VersionId")))
        if error is not None:
            told.append(("Error", [*named, ("Code", error.code), ("Message", error.message)]))
        elif not is_quiet:
            told.append(("Deleted", named))
    return told
