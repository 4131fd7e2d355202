"""`PUT /v1/cluster`: what an operator does with members: maintenance and back, decommission. Source: wire.md §4.7.

What follows is left to others: objects move away, and a decommissioned target that has become empty is taken out of the
map for good by the leader (`proxy.housekeeping`).
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from common.clustermap import FLAG_DECOMMISSION, FLAG_MAINTENANCE, PROXY, Node
from common.errors import InvalidRequest, NodeNotFound
from common.names import printable
from proxy.api.answers import body_of
from proxy.jsonbody import decode_object, string
from proxy.membership import Membership

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
        if action not in _FLAGS:
            known = ", ".join(_FLAGS)
            raise InvalidRequest(f"invalid action '{printable(action, 40)}' (known are {known})")
        await self._membership.refresh_map()
        node = self._target(action, message.get("value"))
        flags = _FLAGS[action]
        if flags and not any(other.id != node.id for other in self._membership.map.candidates):
            raise InvalidRequest(f'target "{node.id}" is the last one that objects can be placed on')
        await self._membership.set_flags(node.id, flags)
        return Response()

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


def router(routes: MemberRoutes) -> APIRouter:
    """The routes of the cluster's members."""
    api = APIRouter(tags=["cluster"])
    content = {"application/json": {"examples": {"one": {"value": _EXAMPLE}}}}
    body = {"requestBody": {"required": True, "content": content}}
    api.add_api_route(
        "/v1/cluster", routes.change, methods=["PUT"], summary="Change what a member is for", openapi_extra=body
    )
    return api
