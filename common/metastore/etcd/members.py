"""Which member of an etcd is asked: one that has shown lately that it answers, and has a majority with it.

Showing it is a linearizable read, which a member without a leader cannot answer. Only one search goes on at a time,
whoever waits for it, with growing pauses, so that a store that comes back is not overrun. What is asked, and what
an answer means, is left to `session`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from common import clock
from common.errors import HaulError, Unavailable
from common.lifecycle import TaskScope
from common.metastore.base import WrongIncarnation
from common.metastore.etcd.failures import CallFailed, Refused, as_error
from common.metastore.etcd.timing import Timing

_FIRST_PAUSE_SECONDS: Final = 0.05
_SILENT: Final = "the meta store does not answer"
_Asking = asyncio.Task[CallFailed | HaulError | None]
_log = structlog.get_logger("common.metastore.etcd")


class Behind(CallFailed):
    """A member knows less than an etcd has told already."""


class Members:
    """The members in the order of their use; `ask` raises CallFailed, or WrongIncarnation which ends the search."""

    def __init__(self, urls: Sequence[str], ask: Callable[[str], Awaitable[None]], timing: Timing) -> None:
        self._urls = list(urls)
        self._ask = ask
        self._timing = timing
        self._scope = TaskScope()
        self._heard_at = float("-inf")
        self._search: asyncio.Task[HaulError | None] | None = None
        self._waiting = 0
        self._why = _SILENT
        self._closed = False

    def heard(self, url: str) -> None:
        """A member has answered something that only a member with a majority can."""
        if url == self._urls[0]:
            self._heard_at = clock.monotonic()

    def suspect(self, url: str) -> None:
        """A member has not answered, or not as it should: the others come first now."""
        if url == self._urls[0]:
            self._heard_at = float("-inf")
        self._urls.remove(url)
        self._urls.append(url)

    async def trusted(self, timeout_seconds: float) -> str:
        """A member that has answered just now; raises Unavailable when there is none in time, WrongIncarnation."""
        if clock.monotonic() - self._heard_at <= self._timing.trust_seconds:
            return self._urls[0]
        if self._closed:
            raise Unavailable("the meta store is not open")
        self._waiting += 1
        try:
            if self._search is None or self._search.done():
                self._search = self._scope.start("search for a member of etcd", self._find())
            search = self._search  # by the time this is answered, another caller may have begun a new one
            done, _ = await asyncio.wait({search}, timeout=max(timeout_seconds, 0.0))
        finally:
            self._waiting -= 1
        if not done or search.cancelled():
            raise Unavailable(self._why)
        if (error := search.result()) is not None:
            raise error
        return self._urls[0]

    async def close(self) -> None:
        self._closed = True
        self._heard_at = float("-inf")
        await self._scope.close()

    async def _find(self) -> HaulError | None:
        """Asks again and again, for as long as somebody waits; what ends it without success."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while self._waiting:
            outcome = await self._race()
            if outcome is None or isinstance(outcome, HaulError):
                return outcome
            self._why = _reason(list(outcome.values()))
            if pause_seconds == _FIRST_PAUSE_SECONDS:
                _log.warning("metastore.no_member", reasons={url: str(error) for url, error in outcome.items()})
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads load
            pause_seconds = min(pause_seconds * 2, self._timing.max_pause_seconds)
        return Unavailable(self._why)

    async def _race(self) -> HaulError | Mapping[str, CallFailed] | None:
        """Whoever answers first comes first from now on (None); otherwise why nobody has."""
        first, *others = self._urls
        asking = {self._start(first): first}
        try:
            await asyncio.wait(asking, timeout=self._timing.head_start_seconds)
            if not all(task.done() and task.result() is None for task in asking):
                asking |= {self._start(url): url for url in others}
            return await self._winner(asking)
        finally:
            for task in asking:
                task.cancel()

    async def _winner(self, asking: Mapping[_Asking, str]) -> HaulError | Mapping[str, CallFailed] | None:
        failures: dict[str, CallFailed] = {}
        pending = set(asking)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                outcome = task.result()
                if outcome is None:
                    self._prefer(asking[task])
                if not isinstance(outcome, CallFailed):
                    return outcome
                failures[asking[task]] = outcome
        return self._gone_back(failures) or failures

    def _start(self, url: str) -> _Asking:
        return self._scope.start(f"is {url} there?", self._outcome_of_asking(url))

    async def _outcome_of_asking(self, url: str) -> CallFailed | HaulError | None:
        try:
            await self._ask(url)
        except (CallFailed, HaulError) as error:
            return error
        return None

    def _prefer(self, url: str) -> None:
        self._urls.remove(url)
        self._urls.insert(0, url)
        self._heard_at = clock.monotonic()

    def _gone_back(self, failures: Mapping[str, CallFailed]) -> WrongIncarnation | None:
        """One member may be behind for a moment, a majority that is has lost what it had told."""
        behind = [error for error in failures.values() if isinstance(error, Behind)]
        if len(behind) <= len(self._urls) // 2:
            return None
        return WrongIncarnation(
            f"{behind[0]}: it was restored from a backup, or made anew. Stop all nodes of Haul before going on with it"
        )


def _reason(failures: Sequence[CallFailed]) -> str:
    """What the store's users are told; a refusal says more than silence."""
    return next((as_error(failure).message for failure in failures if isinstance(failure, Refused)), _SILENT)
