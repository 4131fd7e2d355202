"""Asks backends from an event loop: in threads of their own, so that a slow service holds up nobody else.

What is asked is left to the callers, which backend a bucket has to `sources`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from common.backends.base import Backend
from common.backends.sources import NO_CREDENTIALS, Sources
from common.names import Bucket

T = TypeVar("T")
_THREADS = 16


class Asking:
    """Backends as coroutines see them."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="backends")

    async def ask(
        self, bucket: Bucket, question: Callable[[Backend], T], credentials: Mapping[str, str] = NO_CREDENTIALS
    ) -> T:
        """What `question` gives for the backend of a bucket that is outside; raises as both do.

        Even to find the backend may take as long as its library takes to load.
        """

        def answer() -> T:
            return question(self._sources.backend(bucket, credentials))

        return await asyncio.get_running_loop().run_in_executor(self._threads, answer)

    def close(self) -> None:
        """Let go of the threads; what is being asked is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
