"""`/intra/v1/rebalance`: what targets say to each other about objects that move, and what the leader asks. Plain ASGI.

What follows from it is left to `target.rebalance`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from common import web
from common.errors import InvalidRequest, MethodNotAllowed
from common.names import Bucket, validate_key
from target.rebalance.copying import Copier
from target.rebalance.messages import MAX_HEAD_BYTES, Arrival
from target.rebalance.mover import Mover
from target.rebalance.neighbours import Neighbours
from target.rebalance.receiver import Receiver
from target.rebalance.sender import Sender

PREFIX = "/intra/v1/rebalance"


class RebalanceApi:
    """Dispatches `POST /intra/v1/rebalance/…`."""

    def __init__(
        self, receiver: Receiver, sender: Sender, neighbours: Neighbours, mover: Mover, copier: Copier
    ) -> None:
        self._receiver = receiver
        self._sender = sender
        self._neighbours = neighbours
        self._mover = mover
        self._copier = copier

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed("POST")
        action = scope["path"].removeprefix(PREFIX).strip("/")
        if action == "object":
            await web.answer_msgpack(send, {"outcome": await self._receiver.take(receive)})
            return
        if action == "copy":
            await self._copier.take(receive)
            await web.answer_msgpack(send, None)
            return
        await web.answer_call(scope, receive, send, MAX_HEAD_BYTES, partial(self._answer, action))

    async def _answer(self, action: str, body: Any) -> object:
        match action:
            case "":
                return self._mover.status()
            case "offer":
                return {"outcome": await self._receiver.offer(Arrival.unpack(body))}
            case "drop":
                return {"stored_ns": await self._sender.drop(*_object(body))}
            case "give":
                bucket, name, _ = _object(body)
                return {"is_given": await self._neighbours.give(bucket, name)}
            case "delete":
                await self._neighbours.delete_as_owner(*_object(body))
                return {"stored_ns": None}
        raise InvalidRequest(f"no such intra-cluster call: {PREFIX}/{action}")


def _object(body: Any) -> tuple[Bucket, str, int | None]:
    return Bucket.from_uname(body["bucket"]), validate_key(body["name"]), body["bucket_id"]
