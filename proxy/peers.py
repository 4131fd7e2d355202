"""Calling several nodes at once under one deadline; what is called, and what a failure means, is left to the caller."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from common.clustermap import Node
from common.errors import HaulError
from common.nodeclient import NodeClient

_MAX_JSON_BYTES = 8 << 20


class Peers:
    """Parallel calls to nodes."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client

    async def call(self, node: Node, path: str, body: object, timeout_seconds: float) -> Any:
        """One call; raises Unavailable or the peer's error."""
        return await self._client.call(node.url, path, body, timeout_seconds=timeout_seconds)

    async def read_each(self, nodes: Iterable[Node], path: str, timeout_seconds: float) -> dict[str, Any]:
        """The JSON that each node gives for a GET of the same path, by node id; those that fail are left out."""

        async def one(node: Node) -> tuple[str, Any]:
            try:
                answer = await self._client.forward(
                    "GET", node.url + path, timeout_seconds=timeout_seconds, limit_bytes=_MAX_JSON_BYTES
                )
                return node.id, json.loads(answer.body) if answer.status == 200 else None
            except (HaulError, ValueError):
                return node.id, None

        answers = await asyncio.gather(*(one(node) for node in nodes))
        return {node_id: answer for node_id, answer in answers if answer is not None}

    async def call_each(
        self, calls: Mapping[Node, object], path: str, timeout_seconds: float
    ) -> tuple[dict[str, Any], dict[str, HaulError]]:
        """The same path on every node, each with its own body: answers and errors by node id."""

        async def one(node: Node, body: object) -> Any:
            try:
                return await self.call(node, path, body, timeout_seconds)
            except HaulError as error:
                return error

        outcomes = await asyncio.gather(*(one(node, body) for node, body in calls.items()))
        answers: dict[str, Any] = {}
        errors: dict[str, HaulError] = {}
        for node, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, HaulError):
                errors[node.id] = outcome
            else:
                answers[node.id] = outcome
        return answers, errors
