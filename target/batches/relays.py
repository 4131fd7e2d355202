"""The entries of a batch that another target has: all in one request to it, read in order as they come.

One that has broken off, or never came, is not asked again: whoever wants its entries opens them one by one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import msgpack

from common.errors import HaulError, Unavailable
from common.nodestream import NodeStreams
from target.batches.frames import LENGTH, MAX_HEAD_BYTES, PATH, Head, pack_entries, unpack_head
from target.batches.requests import Entry

_ANSWER_SECONDS = 30.0


class Relay:
    """One owner's entries; `take` one after the other, each is read to its end before the next."""

    def __init__(self, streams: NodeStreams, url: str, entries: Sequence[Entry]) -> None:
        self._streams = streams
        self._url = url
        self._entries = entries
        self._held = AsyncExitStack()
        self._chunks: AsyncIterator[bytes] | None = None
        self._received = bytearray()
        self.is_broken = False

    async def take(self) -> Head | None:
        """The head of the next entry, whose `pieces` come then; None when the owner does not send it."""
        try:
            if self._chunks is None and not self.is_broken:
                await self._ask()
            if self.is_broken:
                return None
            (size,) = LENGTH.unpack(await self._read(LENGTH.size))
            if size > MAX_HEAD_BYTES:
                raise ValueError("a head is too large")
            return unpack_head(await self._read(size))
        except (HaulError, ValueError, TypeError, IndexError, msgpack.UnpackException):
            self.is_broken = True
            await self.close()
            return None

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        """The bytes of the entry whose head was taken; raises Unavailable when they break off."""
        left = size
        try:
            while left > 0:
                if not self._received:
                    await self._more()
                piece = bytes(self._received[:left])
                del self._received[: len(piece)]
                left -= len(piece)
                yield piece
        finally:
            self.is_broken = self.is_broken or left > 0

    async def close(self) -> None:
        """End the request."""
        self._received.clear()
        await self._held.aclose()

    async def _ask(self) -> None:
        body = pack_entries(self._entries)
        exchange = self._streams.exchange("POST", self._url, PATH, body=body, answer_seconds=_ANSWER_SECONDS)
        answer = await self._held.enter_async_context(exchange)
        if answer.status != 200:
            raise Unavailable(f"{self._url} answers {answer.status}")
        self._chunks = answer.chunks()

    async def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            await self._more()
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def _more(self) -> None:
        assert self._chunks is not None
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise Unavailable(f"{self._url} has ended its answer too early")
        self._received += chunk
