"""One lock a name: what is decided about an object that two targets have, is decided in turn. For one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from common.names import Bucket


class NameLocks:
    """Locks that are there only while somebody holds or wants them."""

    def __init__(self) -> None:
        self._locks: dict[tuple[Bucket, str], tuple[asyncio.Lock, int]] = {}

    def __repr__(self) -> str:
        return f"<NameLocks {len(self._locks)} in use>"

    @contextlib.asynccontextmanager
    async def held(self, bucket: Bucket, name: str) -> AsyncIterator[None]:
        """Hold the lock of one object."""
        key = bucket, name
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            users = self._locks[key][1]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1
