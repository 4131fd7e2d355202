"""Which uploads in progress somebody is using at this moment: those are not swept, and change one request at a time.

What a request does with an upload is left to `multipart` and `appends`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import structlog

from common.names import Bucket
from target.api.object_calls import ObjectCall
from target.api.uploads import Uploads
from target.rebalance.locks import NameLocks
from target.storage.inprogress import Pieces
from target.storage.pieces import Upload

_SWEEP_SECONDS = 600.0
_log = structlog.get_logger("target.uploads")


class OpenUploads:
    """Opens uploads in threads, and sweeps those that are left. For one event loop."""

    def __init__(self, pieces: Pieces, uploads: Uploads, keep_seconds: float) -> None:
        """An upload that gets nothing for `keep_seconds` is forgotten."""
        self._pieces = pieces
        self._uploads = uploads
        self._keep_seconds = keep_seconds
        self._locks = NameLocks()
        self._in_use: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<OpenUploads {len(self._in_use)}>"

    @contextlib.asynccontextmanager
    async def alone(self, bucket: Bucket, token: str) -> AsyncIterator[None]:
        """Let nobody else complete, abort or append meanwhile."""
        async with self._locks.held(bucket, token):
            yield

    @contextlib.asynccontextmanager
    async def opened(self, call: ObjectCall, token: str) -> AsyncIterator[Upload]:
        """An upload of the object that a request is about; raises UploadNotFound, DiskError."""
        opening = self._pieces.opened(call.bucket, call.bucket_id, call.name, token)
        self._in_use[token] = self._in_use.get(token, 0) + 1
        try:
            upload = await self._uploads.in_thread(opening.__enter__)
            try:
                yield upload
            finally:
                await self._uploads.in_thread(partial(opening.__exit__, None, None, None))
        finally:
            self._in_use[token] -= 1
            if not self._in_use[token]:
                del self._in_use[token]

    async def look_after(self) -> None:
        """Forget, now and for ever, the uploads that got nothing for too long; a failure is logged."""
        while True:
            sweep = partial(self._pieces.sweep, self._keep_seconds, self._in_use.__contains__)
            swept = await self._uploads.in_thread(sweep)
            if swept:
                _log.info("uploads.given_up", uploads=swept)
            await asyncio.sleep(min(self._keep_seconds, _SWEEP_SECONDS))
