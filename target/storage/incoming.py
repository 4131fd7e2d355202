"""The synchronous half of an object that comes over a connection: a writer that is opened with the first batch.

Every method may wait for a disk and runs in a thread, by `in_thread`. What the bytes must be, and what becomes of them
when they are whole, is left to who receives them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from target.storage.committer import Committer
from target.storage.writer import ObjectWriter

T = TypeVar("T")


class Incoming:
    """One object on its way; `open_writer` gives its writer and who commits it, None if nobody does."""

    def __init__(self, open_writer: Callable[[], tuple[ObjectWriter, Committer | None]]) -> None:
        self._open_writer = open_writer
        self._opened: tuple[ObjectWriter, Committer | None] | None = None

    @property
    def committer(self) -> Committer:
        """Who commits the object; there once something was written."""
        assert self._opened is not None
        assert self._opened[1] is not None
        return self._opened[1]

    def write(self, chunks: Sequence[bytes]) -> ObjectWriter:
        """Write a batch, perhaps an empty one; raises DiskError."""
        if self._opened is None:
            self._opened = self._open_writer()
        writer = self._opened[0]
        for chunk in chunks:
            writer.write(chunk)
        return writer

    def discard(self) -> None:
        """Leave nothing; harmless when it was finished."""
        if self._opened is not None:
            self._opened[0].discard()


async def in_thread(work: Callable[[], T], threads: Executor | None = None) -> T:
    """Run in a thread, to its end even when this request is cancelled: nobody else may touch the writer before."""
    future = asyncio.get_running_loop().run_in_executor(threads, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
