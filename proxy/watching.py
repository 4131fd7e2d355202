"""Following a prefix of the meta store for as long as the proxy lives; what an event means is left to the follower."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from common.errors import PeerError
from common.metastore.base import Event, MetaStore

_RETRY_SECONDS = 0.5
_log = structlog.get_logger("proxy.watching")


async def follow(store: MetaStore, prefix: str, on_event: Callable[[Event], Awaitable[None]]) -> None:
    """Deliver every event under a prefix, beginning with a `Resync`; when the store fails, begin anew."""
    while True:
        try:
            async for event in store.watch(prefix):
                await on_event(event)
        except PeerError as error:
            _log.warning("metastore.watch_interrupted", prefix=prefix, error=error.message)
        await asyncio.sleep(_RETRY_SECONDS)
