"""What targets, and other proxies, tell and ask a proxy: joining, ended shares, decisions. msgpack over plain ASGI.

What follows from it is left to `proxy.membership` and `proxy.downloads`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from common.clustermap import Node
from common.errors import InvalidRequest, MethodNotAllowed
from common.web import Receive, Scope, Send, answer_msgpack, decode_msgpack, read_body
from proxy.buckets import Buckets
from proxy.downloads.claims import Claims
from proxy.downloads.control import Control
from proxy.downloads.service import Downloads
from proxy.membership import Membership
from proxy.sources.holds import HubHolds

PREFIX = "/intra/v1/"
_MAX_BODY_BYTES = 16 * 1024 * 1024
T = TypeVar("T")


class IntraApi:
    """Dispatches `POST /intra/v1/…`."""

    def __init__(
        self,
        membership: Membership,
        buckets: Buckets,
        downloads: Downloads,
        control: Control,
        claims: Claims,
        holds: HubHolds,
        still_after_seconds: float,
    ) -> None:
        """A target that has heard nothing for `still_after_seconds` is told to hold still."""
        self._still_after_seconds = still_after_seconds
        self._membership = membership
        self._buckets = buckets
        self._downloads = downloads
        self._control = control
        self._claims = claims
        self._holds = holds

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
            case ["nodes", "leave"]:
                await self._membership.leave(_node(body))
            case ["identity"]:
                own = self._membership.own
                return {"id": own.id, "incarnation": own.incarnation}
            case ["shares", *_] | ["jobs", *_]:
                return await self._answer_about_jobs(path, body)
            case ["hub", "hold"]:
                self._holds.take({"key": _field(body, "key", str), "seconds": _field(body, "seconds", float)})
            case ["clustermap"] | ["buckets"]:
                pass
            case _:
                raise _unknown(path)
        return None

    async def _answer_about_jobs(self, path: list[str], body: Any) -> object:
        match path:
            case ["shares", "check"]:
                return await self._check_shares(body)
            case ["shares", share_id, "finished"]:
                self._downloads.share_finished(share_id)
                return None
            case ["jobs", share_id, "decision"]:
                return {"decision": await self._claims.decide(share_id, _field(body, "target", str))}
        raise _unknown(path)

    async def _join(self, body: Any) -> object:
        """A node is alive. It is told the buckets as they are in the store: what it deletes depends on it."""
        node = _node(body)
        await self._membership.join(node)
        if int(body.get("map_version", 0)) > self._membership.map.version:
            await self._membership.refresh_map()
        table = await self._buckets.refresh()
        self._control.settle(node.id)
        return {
            "clustermap": self._membership.map.to_wire(),
            "buckets": self._buckets.message(table),
            "still_after_seconds": self._still_after_seconds,
        }

    async def _check_shares(self, body: Any) -> object:
        copies = [(share, holder) for share, holder in _field(body, "copies", list)]
        target_id, shares = _field(body, "target", str), _field(body, "shares", list)
        lost, unneeded = await self._claims.not_held(target_id, shares, copies)
        return {"shares": lost, "copies": unneeded}


def _unknown(path: list[str]) -> InvalidRequest:
    return InvalidRequest(f"no such intra-cluster call: {'/'.join(path)}")


def _node(body: Any) -> Node:
    return Node.from_wire(_field(body, "node", dict))


def _field(body: Any, name: str, kind: type[T]) -> T:
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind):
        raise InvalidRequest(f"the message has no field '{name}' of type {kind.__name__}")
    return value
