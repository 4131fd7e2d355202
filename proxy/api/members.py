"""`PUT /v1/cluster`: what an operator does with members and objects: maintenance and back, decommission, rebalance.

What follows is left to others: objects move, and a decommissioned target that has become empty is taken out of the
map for good by the leader (`proxy.housekeeping`). Source: wire.md §4.7, §5.4.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from common.clustermap import FLAG_DECOMMISSION, FLAG_KEEPS_OBJECTS, FLAG_MAINTENANCE, PROXY, Node
from common.errors import InvalidRequest, NodeNotFound, Unsupported
from common.names import printable
from proxy.api.answers import body_of
from proxy.jsonbody import decode_object, string
from proxy.membership import Membership
from proxy.rebalance.reports import KIND as REBALANCE
from proxy.rebalance.reports import is_rebalance_id, rebalance_id

_WHAT = "action message"
_FLAGS = {
    "start-maintenance": FLAG_MAINTENANCE,
    "stop-maintenance": 0,
    "decommission-node": FLAG_DECOMMISSION,
    "decommission": FLAG_DECOMMISSION,
}
_EXAMPLE = {"action": "start-maintenance", "value": {"sid": "t1"}}


class MemberRoutes:
    """The handlers behind the routes."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    async def change(self, request: Request) -> Response:
        """Put a target into maintenance, take it out again (a decommission that has not ended, too), or let it go."""
        message = decode_object(await body_of(request), _WHAT)
        action = string(message, "action", _WHAT)
        if action in ("start", "stop"):
            return await self._start_or_stop(action, message.get("value"))
        if action not in _FLAGS:
            known = ", ".join((*_FLAGS, "start", "stop"))
            raise InvalidRequest(f"invalid action '{printable(action, 40)}' (known are {known})")
        await self._membership.refresh_map()
        node = self._target(action, message.get("value"))
        flags = _FLAGS[action] | self._keeping(action, message.get("value"))
        await self._membership.set_flags(node.id, flags)
        return Response()

    async def _start_or_stop(self, action: str, value: Any) -> Response:
        """Jobs of the cluster as a whole; a rebalance that is going on is started again by nobody."""
        kind = str(_field(value, "kind") or "")
        if kind != REBALANCE and not is_rebalance_id(str(_field(value, "id") or "")):
            if action == "stop":
                return Response()
            raise InvalidRequest(f"'{printable(kind, 40)}' cannot be started by this: only {REBALANCE} can")
        if action == "stop":
            raise Unsupported("a rebalance cannot be stopped: objects would stay where nobody looks for them")
        cluster_map = await self._membership.start_rebalance()
        return Response(rebalance_id(cluster_map.placement_version), media_type="text/plain")

    def _keeping(self, action: str, value: Any) -> int:
        """`skip_rebalance`: a target in maintenance keeps its objects, and they are read there while it is online."""
        if not isinstance(value, dict) or value.get("skip_rebalance") is not True or not _FLAGS[action]:
            return 0
        if action != "start-maintenance":
            raise InvalidRequest(f"{action}: with 'skip_rebalance' the objects would be lost; leave it out")
        return FLAG_KEEPS_OBJECTS

    def _target(self, action: str, value: Any) -> Node:
        node_id = value.get("sid") if isinstance(value, dict) else None
        if not isinstance(node_id, str) or not node_id:
            raise InvalidRequest(f"{action}: 'value.sid' must name a node")
        node = self._membership.map.get(node_id)
        if node is None:
            raise NodeNotFound(node_id)
        if node.role == PROXY:
            raise InvalidRequest(f'"{node_id}" is a proxy, and nothing is placed on it: just stop it')
        return node


def _field(value: Any, name: str) -> Any:
    """A field of AIStore's job messages, whose names have had capitals at times."""
    fields = value if isinstance(value, dict) else {}
    return next((content for key, content in fields.items() if key.lower() == name), None)


def router(routes: MemberRoutes) -> APIRouter:
    """The routes of the cluster's members."""
    api = APIRouter(tags=["cluster"])
    content = {"application/json": {"examples": {"one": {"value": _EXAMPLE}}}}
    body = {"requestBody": {"required": True, "content": content}}
    api.add_api_route(
        "/v1/cluster", routes.change, methods=["PUT"], summary="Change what a member is for", openapi_extra=body
    )
    return api
