"""The HTTP surface of a target: which part answers which path. What the parts answer is left to `target.api`."""

from __future__ import annotations

from dataclasses import dataclass

from common import web
from common.errors import InvalidRequest
from common.metrics import PATH as METRICS_PATH
from target.api.actions import PREFIX as ACTIONS_PREFIX
from target.api.actions import ActionsApi
from target.api.batches import PREFIX as BATCHES_PREFIX
from target.api.batches import BatchesApi
from target.api.intra import PREFIX as INTRA_PREFIX
from target.api.intra import IntraApi
from target.api.metrics import MetricsApi
from target.api.node import NodeApi
from target.api.rebalance import PREFIX as REBALANCE_PREFIX
from target.api.rebalance import RebalanceApi
from target.batches.frames import PATH as BATCH_PATH
from target.rebalance.neighbours import LOCAL_ONLY


@dataclass(frozen=True, slots=True)
class Surface:
    """The ASGI application; errors are answered by who guards it."""

    objects: web.Application
    batches: BatchesApi
    rebalance: RebalanceApi
    actions: ActionsApi
    intra: IntraApi
    node: NodeApi
    metrics: MetricsApi

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        """Raises HaulError for what no part answers."""
        path: str = scope["path"]
        if path.startswith("//"):  # as AIStore's documentation writes it
            path = "/" + path.lstrip("/")
            scope = {**scope, "path": path}
        if path.startswith("/v1/objects/"):
            await self.objects(scope, receive, send)
        elif path == BATCHES_PREFIX or path.startswith(BATCHES_PREFIX + "/"):
            await self.batches(scope, receive, send)
        elif path == BATCH_PATH:
            await self.batches.serve(scope, receive, send)
        elif path.startswith(REBALANCE_PREFIX):
            await self.rebalance(scope, receive, send)
        elif path.startswith(ACTIONS_PREFIX):
            await self.actions(scope, receive, send)
        elif path.startswith(INTRA_PREFIX):
            await self.intra(scope, receive, send)
        elif path.startswith(("/v1/health", "/v1/daemon")):
            await self.node(scope, receive, send)
        elif path == METRICS_PATH:
            await self.metrics(scope, receive, send)
        else:
            host, port = scope.get("client") or ("", 0)
            raise InvalidRequest(f"invalid request URI: '{scope['method']} {path}' from {host}:{port}")


def is_by_client(scope: web.Scope) -> bool:
    """Other targets ask for objects, too, while they move."""
    return LOCAL_ONLY not in web.query_of(scope)
