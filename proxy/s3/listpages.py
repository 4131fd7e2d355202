"""ListObjects, ListObjectsV2 and ListObjectVersions: reads what is asked, writes the pages; finding is `listing`'s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from common.buckets import BucketRecord
from proxy.listing import Entry
from proxy.s3.answers import Responder
from proxy.s3.buckets import OWNER
from proxy.s3.documents import Node
from proxy.s3.errors import S3Error
from proxy.s3.listing import MAX_KEYS, Listed, ListQuery, S3Listing, etag_of, number_of
from proxy.s3.objectheaders import iso_date
from proxy.s3.request import S3Request

_SIZE, _STORED_NS = 1, 3
_UNQUOTED: Final = "/-_.~"
Encode = Callable[[str], str]


class ListPages:
    """The three ways to list a bucket."""

    def __init__(self, listing: S3Listing) -> None:
        self._listing = listing

    async def version_1(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """ListObjects: goes on behind a marker."""
        query = request.query
        asked, encode = _asked(request), _encoding(request)
        found = await self._listing.page(record, _with_after(asked, query.get("marker", "")))
        content = _begin(request, asked, encode, is_truncated=bool(found.next_token))
        content.append(("Marker", encode(query.get("marker", ""))))
        if found.next_token and (asked.delimiter or record.backend is not None):
            content.append(("NextMarker", encode(found.next_marker)))
        await responder.document("ListBucketResult", content + _rows(found, record, encode, with_owner=True))

    async def version_2(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """ListObjectsV2: goes on by a token."""
        query = request.query
        asked, encode = _asked(request), _encoding(request)
        token, after = query.get("continuation-token", ""), query.get("start-after", "")
        if "continuation-token" in query and not token:
            raise S3Error("InvalidArgument", "The continuation token provided is incorrect")
        found = await self._listing.page(record, _with_after(asked, after, token))
        content = _begin(request, asked, encode, is_truncated=bool(found.next_token))
        content.append(("KeyCount", found.count))
        if after:
            content.append(("StartAfter", encode(after)))
        if token:
            content.append(("ContinuationToken", token))
        if found.next_token:
            content.append(("NextContinuationToken", found.next_token))
        with_owner = query.get("fetch-owner", "").lower() == "true"
        await responder.document("ListBucketResult", content + _rows(found, record, encode, with_owner=with_owner))

    async def versions(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """ListObjectVersions: of each object there is one, `null`."""
        asked, encode = _asked(request), _encoding(request)
        marker = request.query.get("key-marker", "")
        found = await self._listing.page(record, _with_after(asked, marker))
        content = _begin(request, asked, encode, is_truncated=bool(found.next_token))
        content += [("KeyMarker", encode(marker)), ("VersionIdMarker", request.query.get("version-id-marker", ""))]
        if found.next_token:
            content += [("NextKeyMarker", encode(found.next_marker)), ("NextVersionIdMarker", "null")]
        rows = _rows(found, record, encode, with_owner=True)
        for number, (name, row) in enumerate(rows):
            if name == "Contents" and isinstance(row, list):
                rows[number] = ("Version", [*row, ("VersionId", "null"), ("IsLatest", True)])
        await responder.document("ListVersionsResult", content + rows)


def _asked(request: S3Request) -> ListQuery:
    query = request.query
    limit = min(number_of(query, "max-keys", MAX_KEYS), MAX_KEYS)
    return ListQuery(query.get("prefix", ""), query.get("delimiter", ""), limit=limit)


def _with_after(asked: ListQuery, after: str, token: str = "") -> ListQuery:
    return ListQuery(asked.prefix, asked.delimiter, after, token, asked.limit)


def _encoding(request: S3Request) -> Encode:
    kind = request.query.get("encoding-type", "")
    if kind not in ("", "url"):
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")
    return _quoted if kind else str


def _quoted(text: str) -> str:
    return quote(text, safe=_UNQUOTED)


def _begin(request: S3Request, asked: ListQuery, encode: Encode, *, is_truncated: bool) -> list[Node]:
    content: list[Node] = [("Name", request.bucket), ("Prefix", encode(asked.prefix))]
    if asked.delimiter:
        content.append(("Delimiter", encode(asked.delimiter)))
    content += [("MaxKeys", number_of(request.query, "max-keys", MAX_KEYS)), ("IsTruncated", is_truncated)]
    if encode is _quoted:
        content.append(("EncodingType", "url"))
    return content


def _rows(found: Listed, record: BucketRecord, encode: Encode, *, with_owner: bool) -> list[Node]:
    is_remote = record.backend is not None
    rows: list[Node] = [
        ("Contents", _row(entry, encode, is_remote=is_remote, with_owner=with_owner)) for entry in found.objects
    ]
    rows += [("CommonPrefixes", [("Prefix", encode(prefix))]) for prefix in found.prefixes]
    return rows


def _row(entry: Entry, encode: Encode, *, is_remote: bool, with_owner: bool) -> list[Node]:
    row: list[Node] = [
        ("Key", encode(entry[0])),
        ("LastModified", iso_date(entry[_STORED_NS])),
        ("ETag", etag_of(entry, is_remote=is_remote)),
        ("Size", entry[_SIZE]),
        ("StorageClass", "STANDARD"),
    ]
    if with_owner:
        row.append(("Owner", list(OWNER)))
    return row
