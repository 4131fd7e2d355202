"""Asks the target that has, or gets, an object, in the dialect; what S3's clients are told of it is left to others."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote, urlencode

from common import clock
from common.buckets import BucketRecord
from common.clustermap import TARGET, Node
from common.errors import InvalidName, NotOwner, RangeNotSatisfiable
from common.names import validate_key
from common.nodestream import Answer, NodeStreams
from common.web import Header
from proxy.membership import Membership
from proxy.s3.errors import S3Error, of_target, range_not_satisfiable

_MAX_ERROR_BYTES = 64 * 1024
_UNRESERVED = "/-_.~"


class Targets:
    """The way from this proxy to the objects."""

    def __init__(self, membership: Membership, streams: NodeStreams) -> None:
        self._membership = membership
        self._streams = streams

    def target(self, target_id: str) -> Node | None:
        """A target by its id, None when there is none."""
        node = self._membership.map.get(target_id)
        return node if node is not None and node.role == TARGET else None

    @contextlib.asynccontextmanager
    async def ask(
        self,
        method: str,
        record: BucketRecord,
        name: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Sequence[Header] = (),
        body: bytes | AsyncIterator[bytes] = b"",
        size_bytes: int | None = None,
        node: Node | None = None,
    ) -> AsyncIterator[Answer]:
        """The answer of the object's owner, or of `node`, if it is none of an error.

        Raises InvalidName (NoSuchKey where nothing is written), NoTargets, Unavailable, and as S3Error what the target
        answers with.
        """
        bucket = record.bucket
        _check_name(method, name)
        asked = node or self._membership.map.owner(bucket, name)
        path = f"/v1/objects/{bucket.name}/{quote(name, safe=_UNRESERVED)}"
        fields = {"provider": bucket.provider, "namespace": bucket.namespace, **(query or {})}
        given = urlencode({key: value for key, value in fields.items() if value}, quote_via=quote)
        ours = f"pid={self._membership.own.id}&utm={clock.unix_ns()}&bid={record.id}"
        target = f"{path}?{given}&{ours}"
        async with self._streams.exchange(method, asked.url, target, headers, body, size_bytes) as answer:
            if answer.status >= 400:
                raise await self._error(method, answer)
            yield answer

    async def check_there(self, record: BucketRecord, key: str) -> None:
        """Raise S3Error NoSuchKey for an object that is not there."""
        async with self.ask("HEAD", record, key):
            pass

    async def _error(self, method: str, answer: Answer) -> S3Error:
        body = answer.header(b"hdr-error").encode("latin-1")
        if method != "HEAD":
            body = await answer.read(_MAX_ERROR_BYTES)
        if answer.status == RangeNotSatisfiable.status:
            return range_not_satisfiable(answer.header(b"content-range").rpartition("/")[2])
        error = of_target(answer.status, body)
        if answer.status == NotOwner.status:
            await self._membership.refresh_map()
        return error


def _check_name(method: str, name: str) -> None:
    try:
        validate_key(name)
    except InvalidName as error:
        if method in ("PUT", "POST"):
            raise
        raise S3Error("NoSuchKey", error.message) from None
