"""ListMultipartUploads: those in progress in a bucket, as all targets tell them; going on with one is `multipart`'s."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Final

from common.buckets import BucketRecord
from common.errors import Unavailable
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.s3 import objectheaders
from proxy.s3.answers import Responder
from proxy.s3.buckets import OWNER
from proxy.s3.documents import Node
from proxy.s3.listing import number_of
from proxy.s3.request import S3Request

_PATH: Final = "/intra/v1/uploads/list"
_DEADLINE_SECONDS: Final = 10.0
_PAGE: Final = 1000


class UploadList:
    """The uploads of a bucket."""

    def __init__(self, membership: Membership, peers: Peers) -> None:
        self._membership = membership
        self._peers = peers

    async def answer(self, request: S3Request, record: BucketRecord, responder: Responder) -> None:
        """Answer a page of them; raises Unavailable when a target does not say what it has."""
        query = request.query
        limit = min(number_of(query, "max-uploads", _PAGE), _PAGE)
        prefix, marker = query.get("prefix", ""), (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        uploads, has_more = await self._uploads(record, prefix, marker, limit)
        page = uploads[:limit]
        is_truncated = limit > 0 and (has_more or len(uploads) > len(page))
        content: list[Node] = [
            ("Bucket", request.bucket),
            ("KeyMarker", marker[0]),
            ("UploadIdMarker", marker[1]),
            ("Prefix", prefix),
            ("MaxUploads", limit),
            ("IsTruncated", is_truncated),
        ]
        if is_truncated:
            content += [("NextKeyMarker", page[-1]["name"]), ("NextUploadIdMarker", page[-1]["upload_id"])]
        content += [("Upload", _told(one)) for one in page]
        await responder.document("ListMultipartUploadsResult", content)

    async def _uploads(
        self, record: BucketRecord, prefix: str, marker: tuple[str, str], limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """The first `limit` of each target behind the marker, in order, and whether one has more."""
        body = {
            "bucket": record.bucket.uname,
            "bucket_id": record.id,
            "prefix": prefix,
            "name_after": marker[0],
            "upload_id_after": marker[1],
            "limit": limit,
        }
        calls = dict.fromkeys(self._membership.map.targets, body)
        answers, errors = await self._peers.call_each(calls, _PATH, _DEADLINE_SECONDS)
        for target, error in errors.items():
            if isinstance(error, Unavailable):
                raise Unavailable(f'target "{target}" does not answer, and it is not known what it has; try again')
            raise error
        found = [one for answer in answers.values() for one in answer["uploads"]]
        found.sort(key=itemgetter("name", "upload_id"))
        return found, any(answer["has_more"] for answer in answers.values())


def _told(one: dict[str, Any]) -> list[Node]:
    return [
        ("Key", one["name"]),
        ("UploadId", one["upload_id"]),
        ("Initiator", list(OWNER)),
        ("Owner", list(OWNER)),
        ("StorageClass", "STANDARD"),
        ("Initiated", objectheaders.iso_date(one["started_ns"])),
    ]
