"""How much is in buckets: counted here in the background, page by page, and told to whoever asks, for some minutes.

A summary is known by the id that a proxy has given it. Adding up what the targets say is left to `proxy.actions`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from common import clock
from common.backends.asking import Asking
from common.backends.base import Backend, ObjectPage
from common.errors import DiskError, HaulError
from common.lifecycle import TaskScope
from common.names import Bucket
from target.storage.store import Store

_MAX_KEPT = 64
_KEPT_SECONDS = 600.0
_AT_ONCE = 2
_PAGE = 1_000
_log = structlog.get_logger("target.actions")


@dataclass(slots=True)
class Sizes:
    """Objects counted: how many, and their sizes in bytes."""

    count: int = 0
    total: int = 0
    smallest: int = 0
    largest: int = 0

    def add(self, sizes: Sequence[int]) -> None:
        """Count some more."""
        if sizes:
            self.smallest = min(self.smallest if self.count else sizes[0], *sizes)
            self.largest = max(self.largest, *sizes)
            self.count += len(sizes)
            self.total += sum(sizes)

    def to_wire(self) -> list[int]:
        """Plain values for msgpack."""
        return [self.count, self.total, self.smallest, self.largest]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One bucket to be counted; with a backend what is there, too, by one of the targets."""

    bucket: Bucket
    bucket_id: int
    backend: Bucket | None = None


@dataclass(slots=True)
class _Summary:
    prefix: str
    counts_remote: bool
    asked_at: float
    here: dict[str, Sizes] = field(default_factory=dict)
    remote: dict[str, Sizes] = field(default_factory=dict)
    error: str = ""
    is_done: bool = False
    task: asyncio.Task[None] | None = None


class Summaries:
    """The summaries that are being made here, or have been lately."""

    def __init__(self, store: Store, asking: Asking, scope: TaskScope) -> None:
        self._store = store
        self._asking = asking
        self._scope = scope
        self._known: OrderedDict[str, _Summary] = OrderedDict()
        self._room = asyncio.Semaphore(_AT_ONCE)

    def __repr__(self) -> str:
        return f"<Summaries {len(self._known)}>"

    async def begin(self, summary_id: str, wanted: Sequence[Wanted], prefix: str, *, counts_remote: bool) -> Any:
        """Begin to count, unless that has been done; anew, if what is outside has not been counted and is to be."""
        self._forget_old()
        known = self._known.get(summary_id)
        if known is not None and counts_remote and not known.counts_remote:
            self._drop(summary_id)
            known = None
        if known is None:
            summary = self._known[summary_id] = _Summary(prefix, counts_remote, clock.monotonic())
            summary.task = self._scope.start(f"summary {summary_id}", self._run(summary, wanted))
        return await self.report(summary_id)

    async def report(self, summary_id: str) -> dict[str, Any] | None:
        """What has been counted so far; None when the summary is not known here."""
        summary = self._known.get(summary_id)
        if summary is None:
            return None
        summary.asked_at = clock.monotonic()
        self._known.move_to_end(summary_id)
        return {
            "is_done": summary.is_done,
            "prefix": summary.prefix,
            "counts_remote": summary.counts_remote,
            "here": {uname: sizes.to_wire() for uname, sizes in summary.here.items()},
            "remote": {uname: sizes.to_wire() for uname, sizes in summary.remote.items()},
            "error": summary.error,
            "disk_bytes": await asyncio.to_thread(self._disk_bytes),
        }

    async def _run(self, summary: _Summary, wanted: Sequence[Wanted]) -> None:
        async with self._room:
            for one in wanted:
                sizes = summary.here.setdefault(one.bucket.uname, Sizes())
                await self._surely(summary, self._count_here(one, summary.prefix, sizes))
                if summary.counts_remote and one.backend is not None:
                    remote = summary.remote.setdefault(one.bucket.uname, Sizes())
                    await self._surely(summary, self._count_remote(one.backend, summary.prefix, remote))
        summary.is_done = True

    async def _surely(self, summary: _Summary, counting: Coroutine[Any, Any, None]) -> None:
        try:
            await counting
        except HaulError as error:
            summary.error = error.message
            _log.warning("summary.incomplete", error=error.message)

    async def _count_here(self, wanted: Wanted, prefix: str, sizes: Sizes) -> None:
        after, walk_id = "", f"summary.{secrets.token_hex(8)}"
        while True:
            listing = partial(self._store.list_objects, wanted.bucket, wanted.bucket_id, uuid=walk_id, limit=_PAGE)
            page = await asyncio.to_thread(listing, prefix=prefix, after=after)
            sizes.add([entry.size for entry in page])
            if len(page) < _PAGE:
                return
            after = page[-1].name

    async def _count_remote(self, backend: Bucket, prefix: str, sizes: Sizes) -> None:
        token = ""
        while True:
            page = await self._asking.ask(backend, partial(_page, prefix, token))
            sizes.add([found.size_bytes or 0 for found in page.objects])
            token = page.token
            if not token:
                return

    def _disk_bytes(self) -> int:
        total = 0
        for mountpath in self._store.usable:
            with contextlib.suppress(DiskError):
                total += mountpath.space().total_bytes
        return total

    def _forget_old(self) -> None:
        now = clock.monotonic()
        old = [key for key, one in self._known.items() if now - one.asked_at > _KEPT_SECONDS]
        for key in old + list(self._known)[: max(0, len(self._known) - len(old) - _MAX_KEPT + 1)]:
            if key in self._known:
                self._drop(key)

    def _drop(self, summary_id: str) -> None:
        task = self._known.pop(summary_id).task
        if task is not None:
            task.cancel()


def _page(prefix: str, token: str, backend: Backend) -> ObjectPage:
    return backend.page(prefix, token)
