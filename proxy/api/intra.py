"""What targets tell and ask a proxy: joining, keep-alives, ended shares, decisions. msgpack over plain ASGI.

What follows from it is left to `proxy.membership` and `proxy.downloads`.
"""

from __future__ import annotations

from typing import Any

from common.clustermap import Node
from common.errors import InvalidRequest, MethodNotAllowed
from common.web import Receive, Scope, Send, answer_msgpack, decode_msgpack, read_body
from proxy.buckets import Buckets
from proxy.downloads.control import Control
from proxy.downloads.service import Downloads
from proxy.membership import Membership

PREFIX = "/intra/v1/"
_MAX_BODY_BYTES = 1024 * 1024


class IntraApi:
    """Dispatches `POST /intra/v1/…`."""

    def __init__(self, membership: Membership, buckets: Buckets, downloads: Downloads, control: Control) -> None:
        self._membership = membership
        self._buckets = buckets
        self._downloads = downloads
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed("POST")
        body = await read_body(receive, _MAX_BODY_BYTES)
        path = scope["path"].removeprefix(PREFIX).split("/")
        await answer_msgpack(send, await self._answer(path, decode_msgpack(body) if body else None))

    async def _answer(self, path: list[str], body: Any) -> object:
        match path:
            case ["nodes"]:
                return await self._join(body)
            case ["shares", job_id, "finished"]:
                self._downloads.share_finished(job_id)
                return None
            case ["jobs", job_id, "decision"]:
                return {"decision": await self._downloads.decide(job_id)}
            case ["clustermap"] | ["buckets"]:
                return None
        raise InvalidRequest(f"no such intra-cluster call: {'/'.join(path)}")

    async def _join(self, body: Any) -> object:
        """A node is alive. It is told the buckets as they are in the store: what it deletes depends on it."""
        if not isinstance(body, dict) or not isinstance(body.get("node"), dict):
            raise InvalidRequest("not a node: the message has no field 'node'")
        node = Node.from_wire(body["node"])
        await self._membership.join(node)
        table = await self._buckets.refresh()
        self._control.settle(node.id)
        return {"clustermap": self._membership.map.to_wire(), "buckets": self._buckets.message(table)}
