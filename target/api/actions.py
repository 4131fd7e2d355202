"""`/intra/v1/actions`: what proxies and other targets ask of this one about actions on whole buckets. Plain ASGI.

What follows from it is left to `target.actions`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from common import web
from common.copying import CopyOrder
from common.errors import InvalidRequest, MethodNotAllowed
from common.names import Bucket
from target.actions.shares import CopyShares
from target.actions.summaries import Summaries, Wanted
from target.rebalance.messages import MAX_HEAD_BYTES, Arrival

PREFIX = "/intra/v1/actions"
_MAX_BODY_BYTES = 16 * 1024 * 1024


class ActionsApi:
    """Dispatches `POST /intra/v1/actions/…`."""

    def __init__(self, copies: CopyShares, summaries: Summaries) -> None:
        self._copies = copies
        self._summaries = summaries

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed("POST")
        action = scope["path"].removeprefix(PREFIX).strip("/")
        if action == "object":
            await web.answer_msgpack(send, {"outcome": await self._copies.receiver.take(receive)})
            return
        limit_bytes = MAX_HEAD_BYTES if action == "offer" else _MAX_BODY_BYTES
        await web.answer_call(scope, receive, send, limit_bytes, partial(self._answer, action))

    async def _answer(self, action: str, body: Any) -> object:
        match action:
            case "offer":
                return {"outcome": await self._copies.receiver.offer(Arrival.unpack(body))}
            case "begin":
                return {"figures": self._copies.begin(CopyOrder.from_wire(body["order"])).to_wire()}
            case "report":
                found = self._copies.report(body["ids"])
                return {"shares": {share_id: figures.to_wire() for share_id, figures in found.items()}}
            case "stop":
                stopped = {share_id: await self._copies.stop(share_id) for share_id in body["ids"]}
                return {"shares": {key: one.to_wire() for key, one in stopped.items() if one is not None}}
            case "summary":
                return await self._summaries.report(body["id"])
            case "summarise":
                wanted = [_wanted(*one[:3]) for one in body["buckets"]]
                remote = bool(body["counts_remote"])
                return await self._summaries.begin(body["id"], wanted, body["prefix"], counts_remote=remote)
        raise InvalidRequest(f"no such intra-cluster call: {PREFIX}/{action}")


def _wanted(uname: str, bucket_id: int, backend: str) -> Wanted:
    return Wanted(Bucket.from_uname(uname), bucket_id, Bucket.from_uname(backend) if backend else None)
