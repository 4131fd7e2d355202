"""`/v1/reverse/daemon…`: what a client asks of one node, asked there by a proxy. Source: wire.md §4.2.

Requests are passed on rather than redirected, as AIStore does: peers reach each other where clients may not. What a
node answers is left to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from common.clustermap import TARGET, Node
from common.errors import InvalidRequest, NodeNotFound, Unavailable
from common.nodeclient import NodeClient
from common.nodestatus import standing
from common.operations import refuse
from proxy.api.answers import body_of, json_response, query_parameters
from proxy.api.ownnode import OwnNode
from proxy.membership import Membership

_PATH = "/v1/reverse/daemon"
_PASSED_ON = ("", "/mountpaths")
_MAX_BODY_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 16 << 20
_SECONDS = 5.0
_CHANGE_SECONDS = 120.0
"""An operation on a mountpath opens a disk, or ends what goes on there."""


class ReverseRoutes:
    """The handlers behind the routes."""

    def __init__(
        self,
        own: OwnNode,
        membership: Membership,
        client: NodeClient,
        daemon: Callable[[Request], Awaitable[Response]],
    ) -> None:
        """`daemon` answers what is asked of this proxy itself."""
        self._own = own
        self._membership = membership
        self._client = client
        self._daemon = daemon

    async def pass_on(self, request: Request) -> Response:
        """`/v1/daemon…` of the node that the header `Ais-Node-Id` names."""
        node_id = request.headers.get("ais-node-id", "")
        if not node_id:
            raise InvalidRequest("missing node ID")
        body = await body_of(request, _MAX_BODY_BYTES)
        path = request.url.path.removeprefix(_PATH).rstrip("/")
        if node_id == self._own.identity.node_id and not path and request.method == "GET":
            return await self._daemon(request)
        node = self._membership.map.get(node_id)
        if node is None:
            raise NodeNotFound(node_id)
        if path == "/mountpaths" and node.role != TARGET:
            raise InvalidRequest(f'node "{node_id}" is a proxy, and has no mountpaths')
        if request.method != "GET" and path != "/mountpaths":
            refuse(path.strip("/"), body)
        if path not in _PASSED_ON:
            raise InvalidRequest(f"invalid request URI: '{request.method} {request.url.path}'")
        return await self._ask(request, node, path, body)

    async def _ask(self, request: Request, node: Node, path: str, body: bytes) -> Response:
        is_online = self._membership.is_online(node.id)
        query = f"?{request.url.query}" if request.url.query else ""
        seconds = _SECONDS if request.method == "GET" else _CHANGE_SECONDS
        try:
            if not is_online:
                raise Unavailable(f'node "{node.id}" is offline')
            answer = await self._client.forward(
                request.method,
                f"{node.url}/v1/daemon{path}{query}",
                body,
                timeout_seconds=seconds,
                limit_bytes=_MAX_ANSWER_BYTES,
            )
        except Unavailable:
            if request.method == "GET" and query_parameters(request).get("what") == "node_status":
                # A list of nodes has a row for this one, too.
                return json_response(self._own.absent(node, standing(node, is_online=False)))
            raise
        kept = {name: value for name, value in answer.headers.items() if name in _KEPT_HEADERS}
        return Response(answer.body, answer.status, headers=kept)


_KEPT_HEADERS = frozenset({"content-type", "x-content-type-options", "retry-after"})


def router(routes: ReverseRoutes) -> APIRouter:
    """The routes that lead to one node."""
    api = APIRouter(tags=["cluster"])
    api.add_api_route(_PATH, routes.pass_on, methods=["GET"], summary="Ask one node")
    changing = ["PUT", "POST", "DELETE"]
    api.add_api_route(_PATH, routes.pass_on, methods=changing, include_in_schema=False)
    path = f"{_PATH}/{{rest:path}}"
    api.add_api_route(path, routes.pass_on, methods=["GET", *changing], include_in_schema=False)
    return api
