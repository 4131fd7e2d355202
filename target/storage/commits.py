"""Waiting for a commit on an event loop; how it is done is left to `committer`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from common.errors import HaulError
from target.storage.committer import Committer
from target.storage.metadata import ObjectMetadata
from target.storage.writer import Staged


async def commit(committer: Committer, staged: Staged) -> ObjectMetadata:
    """Submit a finished work file, and return what was stored once that is durable; raises the commit's error."""
    loop = asyncio.get_running_loop()
    committed: asyncio.Future[HaulError | None] = loop.create_future()

    def resolve(error: HaulError | None) -> None:
        if not committed.done():
            committed.set_result(error)

    def done(group: Sequence[tuple[Staged, HaulError | None]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed when nobody waits any more
            loop.call_soon_threadsafe(resolve, group[0][1])

    committer.submit(staged, done)
    error = await committed
    if error is not None:
        raise error
    return staged.metadata
