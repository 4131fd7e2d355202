"""Files of `haul.filesystem` that are open: read by ranges of one and the same object, written as one stream.

What is written becomes an object when the file is closed; it is sent meanwhile, in blocks, a few of them in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from fsspec.asyn import sync
from fsspec.spec import AbstractBufferedFile

from haul.objects import ObjectInfo


class _Upload:
    """An object on its way from a file that another thread writes; its methods run on fsspec's loop."""

    def __init__(self, filesystem: Any, path: str, if_absent: bool) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        storing = filesystem._store(path, self._stream(), if_absent=if_absent)
        self._sending = asyncio.get_running_loop().create_task(storing)

    async def _stream(self) -> AsyncIterator[bytes]:
        while chunk := await self._chunks.get():
            yield chunk

    async def add(self, chunk: bytes) -> None:
        """Take a block, empty at the end; raises what the sending has raised."""
        adding = asyncio.get_running_loop().create_task(self._chunks.put(chunk))
        await asyncio.wait({adding, self._sending}, return_when=asyncio.FIRST_COMPLETED)
        if not adding.done():
            adding.cancel()
            await self._sending

    async def finish(self) -> None:
        """Wait until the object is stored."""
        await self.add(b"")
        await self._sending

    async def discard(self) -> None:
        """Break off; nothing of it is stored."""
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)


async def _begin(filesystem: Any, path: str, if_absent: bool) -> _Upload:
    return _Upload(filesystem, path, if_absent)


class HaulFile(AbstractBufferedFile):  # type: ignore[misc]
    """An object that is read (`rb`), or will be one when it is closed (`wb`, `xb`)."""

    def __init__(self, fs: Any, path: str, mode: str, *arguments: Any, **kwargs: Any) -> None:
        if mode not in {"rb", "wb", "xb"}:
            raise ValueError(f"mode {mode!r}: objects are read (rb) or written whole (wb, xb)")
        self._upload: _Upload | None = None
        self._if_absent = mode == "xb"
        self._last = b""
        self._first: ObjectInfo | None = None
        super().__init__(fs, path, mode, *arguments, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Store what was written, or nothing after an error."""
        if kind is not None and self.writable():
            self.discard()
            self.closed = True
        self.close()

    def _fetch_range(self, start: int, end: int) -> bytes:
        if self._first is None:
            known = self.details.get("object") or sync(self.fs.loop, self.fs._info, self.path)["object"]
            self._first = known
        data: bytes = sync(
            self.fs.loop, self.fs._cat_file, self.path, start=start, end=end, unchanged_since=self._first
        )
        return data

    def _upload_chunk(self, final: bool = False) -> bool:
        data = self.buffer.getvalue()
        if not final:
            if self._upload is None:
                self._upload = sync(self.fs.loop, _begin, self.fs, self.path, self._if_absent)
            sync(self.fs.loop, self._upload.add, data)
            return True
        self._last = data
        if self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Make an object of what was written; raises FileExistsError (`xb`) when one was stored meanwhile."""
        if self._upload is None:
            sync(self.fs.loop, self.fs._store, self.path, self._last, if_absent=self._if_absent)
            return
        if self._last:
            sync(self.fs.loop, self._upload.add, self._last)
        sync(self.fs.loop, self._upload.finish)

    def discard(self) -> None:
        """Forget what was written."""
        if self._upload is not None:
            sync(self.fs.loop, self._upload.discard)
