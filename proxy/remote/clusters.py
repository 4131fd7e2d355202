"""The other clusters that this one reaches, as AIStore's RemAisVec (wire.md §4.3); each is asked for its map.

Which there are is left to `common.backends.settings`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from common import clock
from common.backends.settings import ClusterSettings
from common.errors import HaulError

_KEPT_SECONDS = 30.0
"""Clients ask again and again, and a cluster's map seldom changes."""
_log = structlog.get_logger("proxy.remote.clusters")


class RemoteClusters:
    """What is known of them; belongs to the event loop."""

    def __init__(self, clusters: Mapping[str, ClusterSettings]) -> None:
        self._clusters = clusters
        self._asking = asyncio.Lock()
        self._known: list[dict[str, Any]] = []
        self._asked_at = float("-inf")

    async def described(self) -> dict[str, Any]:
        """AIStore's RemAisVec; a cluster that does not answer has neither map nor uuid."""
        if not self._clusters:
            return {"a": None, "ver": 0}
        async with self._asking:
            if clock.monotonic() - self._asked_at > _KEPT_SECONDS:
                looks = (_look(alias, settings) for alias, settings in sorted(self._clusters.items()))
                self._known = list(await asyncio.gather(*looks))
                self._asked_at = clock.monotonic()
        return {"a": self._known, "ver": 1}


async def _look(alias: str, settings: ClusterSettings) -> dict[str, Any]:
    from common.backends.cluster import read_smap  # noqa: PLC0415 - what is not used need not be loaded

    smap: dict[str, Any] | None
    try:
        smap = await asyncio.to_thread(read_smap, alias, settings)
    except HaulError as error:
        _log.warning("remote_cluster.not_reached", alias=alias, error=error.message)
        smap = None
    return {"smap": smap, "url": settings.url, "alias": alias, "uuid": str((smap or {}).get("uuid", ""))}
