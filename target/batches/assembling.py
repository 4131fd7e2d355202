"""Putting a batch together: entries are opened ahead of their turn, taken in order, and written as one archive.

Of what is here a bounded number of entries is open ahead, of this batch and of all together; small ones are read at
once. Each other target sends what is there in one answer, so that many small objects do not cost a round trip each.
Sending what comes out is left to `target.api.batches`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field

from common.clustermap import Node
from common.errors import HaulError, Unavailable
from target.archives.packing import compressor, packer
from target.batches.frames import pack_head
from target.batches.relays import Relay
from target.batches.requests import BatchRequest, Entry, describe
from target.batches.sources import Source, Sources

_AHEAD = 24
"""Entries of one batch that are open before it is their turn."""
_AHEAD_OF_ALL = 128
"""Of all batches; so that those whose turn it is always find a connection."""
_SMALL_BYTES = 256 * 1024
_WRITE_BYTES = 256 * 1024
_MAX_SHOWN_ERROR = 1024


@dataclass(slots=True)
class _Ready:
    """An entry whose turn may come: its size and its bytes, or why there are none."""

    entry: Entry
    size: int = 0
    data: bytes | None = None
    source: Source | None = None
    error: HaulError | None = None
    held: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def pieces(self) -> AsyncIterator[bytes]:
        if self.data is not None:
            yield self.data
        elif self.source is not None:
            async for piece in self.source.pieces:
                yield piece


class Assembler:
    """Assembles batches; one for a target, because what is open ahead is bounded for all."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._ahead = 0

    async def assemble(
        self, request: BatchRequest, write: Callable[[bytes], Awaitable[None]]
    ) -> list[dict[str, object]]:
        """Write the archive piece by piece; returns what a MossResp says of each entry.

        Raises what an entry that is not read raises, unless the request continues without; and always when an entry
        fails after a part of it has been written: then the archive is worth nothing. Raises BucketNotFound
        and AccessDenied before anything is read, when a bucket is not there or may not be read.
        """
        await self._sources.check_buckets(request.entries)
        output, described = _Output(request, write, self._sources), []
        async with aclosing(self._in_order(request.entries)) as entries:
            async for ready in entries:
                if ready.error is not None and not request.continues:
                    raise ready.error
                await output.add(ready)
                if not request.streams:
                    told = str(ready.error)[:_MAX_SHOWN_ERROR] if ready.error is not None else ""
                    described.append(describe(ready.entry, ready.size, told))
        await output.finish()
        return described

    async def serve(self, entries: Sequence[Entry], write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write entries as `frames` for the target that puts a batch together; what breaks off raises."""
        output = _Buffered(write)
        async with aclosing(self._own_in_order(entries)) as own:
            async for ready in own:
                await output.add(pack_head(ready.size, ready.error))
                await output.add_all(ready)
        await output.flush()

    async def _in_order(self, entries: Sequence[Entry]) -> AsyncGenerator[_Ready, None]:
        """All entries: what is here is opened ahead, each other target sends what is there in one answer."""
        owners = await self._sources.in_thread(lambda: [self._sources.owner(entry) for entry in entries])
        theirs: dict[Node, list[Entry]] = {}
        ours = []
        for entry, owner in zip(entries, owners, strict=True):
            if owner is None:
                ours.append(entry)
            else:
                theirs.setdefault(owner, []).append(entry)
        async with AsyncExitStack() as held:
            relays = {owner: self._sources.relay(owner, wanted) for owner, wanted in theirs.items()}
            for relay in relays.values():
                held.push_async_callback(relay.close)
            own = await held.enter_async_context(aclosing(self._own_in_order(ours)))
            for entry, owner in zip(entries, owners, strict=True):
                if owner is None:
                    yield await anext(own)
                    continue
                ready = await _relayed(entry, relays[owner])
                if ready is None:
                    ready = await self._prepare(entry)
                try:
                    yield ready
                finally:
                    await ready.held.aclose()

    async def _own_in_order(self, entries: Iterable[Entry]) -> AsyncGenerator[_Ready, None]:
        coming, window = iter(entries), deque[asyncio.Task[_Ready]]()
        try:
            while True:
                self._fill(window, coming)
                if not window:
                    return
                ready = await window[0]
                try:
                    yield ready
                finally:
                    window.popleft()
                    self._ahead -= 1
                    await ready.held.aclose()
        finally:
            await self._let_go(window)

    def _fill(self, window: deque[asyncio.Task[_Ready]], coming: Iterator[Entry]) -> None:
        while not window or (len(window) < _AHEAD and self._ahead < _AHEAD_OF_ALL):
            entry = next(coming, None)
            if entry is None:
                return
            self._ahead += 1
            # They end with the batch: `_let_go` waits for all of them.
            window.append(asyncio.get_running_loop().create_task(self._prepare(entry)))

    async def _let_go(self, window: deque[asyncio.Task[_Ready]]) -> None:
        self._ahead -= len(window)
        for task in window:
            task.cancel()
        for outcome in await asyncio.gather(*window, return_exceptions=True):
            if isinstance(outcome, _Ready):
                await outcome.held.aclose()

    async def _prepare(self, entry: Entry) -> _Ready:
        """Open an entry, and read it if it is small; once more when a target did not answer."""
        try:
            return await self._open(entry)
        except Unavailable:
            pass
        except HaulError as error:
            return _Ready(entry, error=error)
        try:
            return await self._open(entry)
        except HaulError as error:
            return _Ready(entry, error=error)

    async def _open(self, entry: Entry) -> _Ready:
        ready = _Ready(entry)
        try:
            source = await ready.held.enter_async_context(self._sources.opened(entry))
            ready.size = source.size
            if source.size > _SMALL_BYTES:
                ready.source = source
                return ready
            ready.data = b"".join([piece async for piece in source.pieces])
            if len(ready.data) != ready.size:
                raise Unavailable(f"{entry.shown}: {len(ready.data)} bytes came, not {ready.size}")
        except BaseException:
            await ready.held.aclose()
            raise
        await ready.held.aclose()
        return ready


async def _relayed(entry: Entry, relay: Relay) -> _Ready | None:
    """The next entry of a relay, None when it has to be opened by itself: also one that was silent there."""
    head = await relay.take()
    if head is None or (head.error is not None and head.error.status == Unavailable.status):
        return None
    if head.error is not None:
        return _Ready(entry, error=head.error)
    return _Ready(entry, head.size, source=Source(head.size, relay.pieces(head.size)))


class _Buffered:
    """Bytes on their way, in pieces of some size."""

    def __init__(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._write = write
        self._waiting = bytearray()

    async def add(self, data: bytes) -> None:
        if len(data) >= _WRITE_BYTES:
            if self._waiting:
                await self.flush()
            await self._write(data)
            return
        self._waiting += data
        if len(self._waiting) >= _WRITE_BYTES:
            await self.flush()

    async def add_all(self, ready: _Ready, packed: Callable[[bytes], bytes] = bytes) -> None:
        """The bytes of an entry; raises Unavailable unless they are as many as they should be."""
        left = ready.size
        async for piece in ready.pieces():
            left -= len(piece)
            if left < 0:
                break
            await self.add(packed(piece))
        if left:
            raise Unavailable(f"{ready.entry.shown}: {ready.size - left} bytes came, not {ready.size}")

    async def flush(self) -> None:
        data = bytes(self._waiting)
        self._waiting.clear()
        await self._write(data)


class _Output:
    """The archive being written."""

    def __init__(self, request: BatchRequest, write: Callable[[bytes], Awaitable[None]], sources: Sources) -> None:
        self._request = request
        self._write = write
        self._in_thread = sources.in_thread
        self._packer = packer(request.format)
        self._compressor = compressor(request.format)
        self._buffered = _Buffered(self._pass)

    async def add(self, ready: _Ready) -> None:
        """One member; raises Unavailable when it does not come whole."""
        name = self._request.packed_name(ready.entry, is_missing=ready.error is not None)
        await self._buffered.add(self._packer.begin(name, ready.size))
        await self._buffered.add_all(ready, self._packer.add)
        await self._buffered.add(self._packer.end())

    async def finish(self) -> None:
        await self._buffered.add(self._packer.finish())
        await self._buffered.flush()
        if self._compressor is not None:
            await self._write(self._compressor.flush())

    async def _pass(self, data: bytes) -> None:
        compressor = self._compressor
        if compressor is not None:
            data = await self._in_thread(lambda: compressor.compress(data))
        if data:
            await self._write(data)
