"""`PUT /v1/cluster`: what an operator does with members and jobs: maintenance and back, decommission, start, stop.

What follows is left to others: objects move, and a decommissioned target that has become empty is taken out of the
map for good by the leader (`proxy.housekeeping`); jobs are left to `jobs`. Source: wire.md §4.7.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from common.clustermap import FLAG_DECOMMISSION, FLAG_KEEPS_OBJECTS, FLAG_MAINTENANCE, PROXY, Node
from common.errors import InvalidRequest, NodeNotFound
from common.names import printable
from common.operations import explain
from proxy.api.answers import body_of
from proxy.api.jobs import JobRoutes
from proxy.jsonbody import boolean, check_known, decode_object, lower_keys, string
from proxy.membership import Membership

_WHAT = "action message"
_FLAGS = {
    "start-maintenance": FLAG_MAINTENANCE,
    "stop-maintenance": 0,
    "decommission-node": FLAG_DECOMMISSION,
    "decommission": FLAG_DECOMMISSION,
}
_OPTIONS = frozenset({"skip_rebalance", "rm_user_data", "keep_initial_config", "no_shutdown"})
_EXAMPLE = {"action": "start-maintenance", "value": {"sid": "t1"}}


class MemberRoutes:
    """The handlers behind the routes."""

    def __init__(self, membership: Membership, jobs: JobRoutes) -> None:
        self._membership = membership
        self._jobs = jobs

    async def change(self, request: Request) -> Response:
        """Put a target into maintenance, take it out again (a decommission that has not ended, too), or let it go."""
        message = decode_object(await body_of(request), _WHAT)
        action = string(message, "action", _WHAT)
        if action in ("start", "stop"):
            act = self._jobs.start if action == "start" else self._jobs.stop
            return await act(message.get("value"))
        explain(action)
        if action not in _FLAGS:
            known = ", ".join((*_FLAGS, "start", "stop"))
            raise InvalidRequest(f"invalid action '{printable(action, 40)}' (known are {known})")
        await self._membership.refresh_map()
        fields = _fields(action, message.get("value"))
        node = self._target(action, fields)
        flags = _FLAGS[action] | self._keeping(action, fields)
        await self._membership.set_flags(node.id, flags)
        return Response()

    async def change_by_path(self, request: Request) -> Response:
        """AIStore's forms with the action in the path, `set-config?…` among them: says how each is done here."""
        action = request.url.path.removeprefix("/v1/cluster").strip("/").partition("/")[0]
        explain(action)
        raise InvalidRequest(f"invalid action '{printable(action, 40)}'")

    def _keeping(self, action: str, fields: dict[str, Any]) -> int:
        """`skip_rebalance`: a target in maintenance keeps its objects, and they are read there while it is online."""
        if not fields.get("skip_rebalance") or not _FLAGS[action]:
            return 0
        if action != "start-maintenance":
            raise InvalidRequest(f"{action}: with 'skip_rebalance' the objects would be lost; leave it out")
        return FLAG_KEEPS_OBJECTS

    def _target(self, action: str, fields: dict[str, Any]) -> Node:
        node_id = fields.get("sid")
        if not isinstance(node_id, str) or not node_id:
            raise InvalidRequest(f"{action}: 'value.sid' must name a node")
        node = self._membership.map.get(node_id)
        if node is None:
            raise NodeNotFound(node_id)
        if node.role == PROXY:
            raise InvalidRequest(f'"{node_id}" is a proxy, and nothing is placed on it: just stop it')
        return node


def _fields(action: str, value: Any) -> dict[str, Any]:
    """AIStore's ActValRmNode, its keys in lower case; what it says of a node's files and process changes nothing."""
    fields = lower_keys(value) if isinstance(value, dict) else {}
    check_known(fields, _OPTIONS | {"sid"}, action)
    for option in _OPTIONS:
        boolean(fields, option, action)
    return fields


def router(routes: MemberRoutes) -> APIRouter:
    """The routes of the cluster's members."""
    api = APIRouter(tags=["cluster"])
    content = {"application/json": {"examples": {"one": {"value": _EXAMPLE}}}}
    body = {"requestBody": {"required": True, "content": content}}
    api.add_api_route(
        "/v1/cluster", routes.change, methods=["PUT"], summary="Change what a member is for", openapi_extra=body
    )
    path = "/v1/cluster/{rest:path}"
    api.add_api_route(path, routes.change_by_path, methods=["PUT", "POST", "DELETE"], include_in_schema=False)
    return api
