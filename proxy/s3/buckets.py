"""Buckets as S3's clients name them, without a provider: finding, listing, making and removing them.

What is in one is left to `listing` and `objects`, its settings to `settings`. Source: wire.md §6.
"""

from __future__ import annotations

from common.backends.sources import is_outside
from common.buckets import BucketRecord, BucketTable
from common.errors import BucketExists, InvalidRequest
from common.names import Bucket, printable
from proxy.buckets import Buckets
from proxy.listing import Listing, PageQuery
from proxy.s3.answers import Responder
from proxy.s3.bodies import Payload
from proxy.s3.documents import Node
from proxy.s3.errors import S3Error
from proxy.s3.listing import number_of
from proxy.s3.objectheaders import iso_date
from proxy.s3.request import S3Request

OWNER: list[Node] = [("ID", "haul"), ("DisplayName", "haul")]
_MAX_BODY_BYTES = 64 * 1024
_MAX_BUCKETS = 10_000


class S3Buckets:
    """All buckets of the cluster."""

    def __init__(self, buckets: Buckets, listing: Listing) -> None:
        self._buckets = buckets
        self._listing = listing

    async def find(self, name: str) -> BucketRecord:
        """The bucket of that name, of whatever provider; raises S3Error NoSuchBucket, AmbiguousBucketName."""
        found = _named(self._buckets.table, name) or _named(await self._buckets.refresh(), name)
        if not found:
            raise S3Error("NoSuchBucket", f'bucket "{printable(name)}" does not exist')
        if len(found) > 1:
            names = ", ".join(record.bucket.cname for record in found)
            raise S3Error("AmbiguousBucketName", f"several buckets have the name: {names}; S3 cannot tell them apart")
        return found[0]

    async def list_all(self, request: S3Request, responder: Responder) -> None:
        """ListBuckets, by name; a page goes on behind the name that its token is."""
        query = request.query
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        limit = number_of(query, "max-buckets", _MAX_BUCKETS)
        if not 1 <= limit <= _MAX_BUCKETS:
            raise S3Error("InvalidArgument", f"max-buckets must be 1 to {_MAX_BUCKETS}")
        table = await self._buckets.refresh()
        found = sorted(table.records.values(), key=lambda record: (record.bucket.name, record.bucket.uname))
        left = [one for one in found if one.bucket.name.startswith(prefix) and one.bucket.name > after]
        end = limit
        while end < len(left) and left[end].bucket.name == left[end - 1].bucket.name:
            end += 1  # several providers have the name
        buckets: list[Node] = [
            ("Bucket", [("Name", record.bucket.name), ("CreationDate", iso_date(record.created_ns))])
            for record in left[:end]
        ]
        content: list[Node] = [("Owner", list(OWNER)), ("Buckets", buckets)]
        if end < len(left):
            content.append(("ContinuationToken", left[end - 1].bucket.name))
        if prefix:
            content.append(("Prefix", prefix))
        await responder.document("ListAllMyBucketsResult", content)

    async def create(self, request: S3Request, payload: Payload, responder: Responder) -> None:
        """CreateBucket: always one of the cluster's own; where it is to be is not asked."""
        await payload.read(_MAX_BODY_BYTES)
        if request.header("x-amz-bucket-object-lock-enabled").lower() == "true":
            raise S3Error("NotImplemented", "object lock is not implemented by this cluster")
        try:
            bucket = Bucket(request.bucket)
        except InvalidRequest as error:
            raise S3Error("InvalidBucketName", error.message) from None
        others = [record.bucket for record in _named(await self._buckets.refresh(), bucket.name)]
        if others and bucket not in others:
            raise S3Error("BucketAlreadyExists", f"{others[0].cname} has the name, and S3 could not tell them apart")
        try:
            await self._buckets.create(bucket, {})
        except BucketExists as error:
            raise S3Error("BucketAlreadyOwnedByYou", error.message) from None
        await responder.answer(200, headers=[(b"location", f"/{bucket.name}".encode())])

    async def delete(self, record: BucketRecord, responder: Responder) -> None:
        """DeleteBucket, of one that is empty."""
        if is_outside(record.bucket):
            raise S3Error(
                "MethodNotAllowed", f"{record.bucket.cname} is kept by its provider, and is not deleted from here"
            )
        page = await self._listing.page(record, PageQuery(limit=1))
        if page.entries:
            raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty")
        await self._buckets.destroy(record.bucket, record.id)  # not one that has been made anew since
        await responder.answer(204)


def _named(table: BucketTable, name: str) -> list[BucketRecord]:
    """All of that name; usually one, under the name that it has as the cluster's own."""
    return [record for record in table.records.values() if record.bucket.name == name]
