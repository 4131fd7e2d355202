"""`/v1/ml/moss[/BUCKET]` of a proxy: a batch is for any target, so it is redirected to one; plain ASGI.

The redirect is answered before the body is read, which clients send again. Source: wire.md §3.8.
"""

from __future__ import annotations

import secrets
from urllib.parse import quote

from common import clock
from common.errors import InvalidRequest, MethodNotAllowed, Unsupported
from common.names import Bucket, decode_component
from common.web import Receive, Scope, Send, answer, query_of
from proxy.api.answers import bucket_of
from proxy.membership import Membership
from proxy.remote.buckets import RemoteBuckets

PREFIX = b"/v1/ml/moss"
_SAFE = bytes(range(0x21, 0x7F)).translate(None, b'"<>\\^`{|}').decode()
_SPREAD = Bucket("batches")
"""Targets are chosen as if each batch were an object of it."""


class BatchRedirects:
    """Sends clients to a target that puts their batch together."""

    def __init__(self, buckets: RemoteBuckets, membership: Membership) -> None:
        self._buckets = buckets
        self._membership = membership

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "POST"):
            raise MethodNotAllowed("GET", "POST")
        items = [item for item in scope["raw_path"].split(b"/") if item]
        if len(items) > 4:
            raise InvalidRequest(f"URL '{scope['path'].strip('/')}' is too long: expected 4 items, got {len(items)}")
        query = query_of(scope)
        if query.get("etl_name"):
            raise Unsupported("'etl_name' is not supported by this cluster")
        if len(items) == 4:
            await self._buckets.find(bucket_of(decode_component(items[3]), query))
        batch_id = "gbt-" + secrets.token_hex(5)
        target = self._membership.map.owner(_SPREAD, batch_id)
        path, asked = (quote(raw, safe=_SAFE) for raw in (b"/" + b"/".join(items), scope["query_string"]))
        ours = f"pid={self._membership.own.id}&utm={clock.unix_ns()}&uuid={batch_id}"
        location = f"{target.client_url}{path}?{asked}&{ours}" if asked else f"{target.client_url}{path}?{ours}"
        await answer(send, 307, b"", [(b"location", location.encode("ascii"))])
