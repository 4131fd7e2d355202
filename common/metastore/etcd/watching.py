"""One watch of an etcd: its changes in order, none twice and none left out, over as many streams as it takes.

A stream that is silent may be dead, so its member is asked whether it lives; and now and then what the watch has told
is compared with what there is, because a change that was lost shows in nothing else. Which member is asked, and whether
it may be trusted, is left to `session`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import structlog

from common import clock
from common.metastore.base import Change, DeleteEvent, Event, Listing, Resync
from common.metastore.etcd.failures import CallFailed, Meaning, Refused, as_error, canceled
from common.metastore.etcd.gateway import Messages
from common.metastore.etcd.session import RANGE, Session
from common.metastore.etcd.timing import Timing
from common.metastore.etcd.wire import (
    Audit,
    Keyspace,
    WatchMessage,
    audit_of,
    audit_request,
    watch_message,
    watch_request,
)

_FIRST_PAUSE_SECONDS: Final = 0.05
_log = structlog.get_logger("common.metastore.etcd")


class _Incomplete(Exception):
    """What was told is not what there is, or not all of it can be told: everything must be read anew."""


class View:
    """The keys that a watch has told of and when each was changed last; unknown until everything was told once."""

    def __init__(self) -> None:
        self._known: dict[str, int] | None = None

    def reset(self, listing: Listing) -> None:
        self._known = {item.key: item.mod_revision for item in listing.items}

    def apply(self, change: Change) -> None:
        if self._known is None:
            return
        if isinstance(change, DeleteEvent):
            self._known.pop(change.key, None)
        else:
            self._known[change.key] = change.revision

    def agrees(self, audit: Audit) -> bool:
        """Whether this is what there was at the audit's revision."""
        known = self._known
        if known is None:
            return True
        return (len(known), max(known.values(), default=0)) == (audit.count, audit.newest_revision)


class Watch:
    """The events under a prefix from a revision on; `list_all` reads everything that is there."""

    def __init__(
        self,
        session: Session,
        keys: Keyspace,
        timing: Timing,
        list_all: Callable[[str], Awaitable[Listing]],
        prefix: str,
        from_revision: int | None,
    ) -> None:
        self._session = session
        self._keys = keys
        self._timing = timing
        self._list_all = list_all
        self._prefix = prefix
        self._told_revision = None if from_revision is None else from_revision - 1
        self._view = View()
        self._audit: Audit | None = None
        self._audit_at = 0.0

    async def events(self) -> AsyncGenerator[Event, None]:
        """All of them, for ever; raises Unavailable when no member can go on with it, WrongIncarnation."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            if self._told_revision is None:
                listing = await self._list_all(self._prefix)
                self._view.reset(listing)
                self._told_revision = listing.revision
                yield Resync(listing.revision, listing.items)
            url = await self._session.member()
            try:
                async with aclosing(self._changes_of_stream(url, self._told_revision + 1)) as changes:
                    async for change in changes:
                        pause_seconds = _FIRST_PAUSE_SECONDS
                        yield change
            except _Incomplete:
                self._told_revision = None
            except (CallFailed, TimeoutError) as error:
                if isinstance(error, Refused) and error.meaning is Meaning.DENIED:
                    raise as_error(error) from None
                _log.info("metastore.stream_ended", member=url, prefix=self._prefix, reason=str(error))
                self._session.suspect(url)
                await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads load
                pause_seconds = min(pause_seconds * 2, self._timing.max_pause_seconds)

    async def _changes_of_stream(self, url: str, first_revision: int) -> AsyncGenerator[Change, None]:
        """Raises _Incomplete, CallFailed, WrongIncarnation."""
        self._plan_audit()
        request = watch_request(self._keys, self._prefix, first_revision)
        async with self._session.stream(url, "/v3/watch", request) as messages:
            await self._next(url, messages, self._timing.attempt_seconds)
            while True:
                try:
                    message = await self._next(url, messages, self._patience_seconds)
                except TimeoutError:
                    await self._check_silence(url)
                    continue
                if self._audit is None and clock.monotonic() >= self._audit_at:
                    await self._begin_audit(url)
                for change in self._new_changes(message):
                    if self._audit is not None and change.revision > self._audit.revision:
                        self._end_audit(self._audit)
                    self._view.apply(change)
                    self._told_revision = change.revision
                    yield change

    async def _next(self, url: str, messages: Messages, timeout_seconds: float) -> WatchMessage:
        message = watch_message(self._keys, await messages.next(timeout_seconds))
        self._session.check_cluster(url, message.header)
        if message.compacted_revision:
            raise _Incomplete
        if message.is_canceled:
            raise canceled(message.reason)
        return message

    def _new_changes(self, message: WatchMessage) -> list[Change]:
        """Those that were not told yet, in order; all changes of one revision come in one message."""
        assert self._told_revision is not None
        newest_revision = self._told_revision
        changes = []
        for change in message.changes:
            if change.revision > self._told_revision and change.revision >= newest_revision:
                newest_revision = change.revision
                changes.append(change)
        return changes

    @property
    def _patience_seconds(self) -> float:
        return self._timing.beat_seconds if self._audit is None else self._timing.settle_seconds

    async def _check_silence(self, url: str) -> None:
        """A stream that tells nothing is dead, or has nothing to tell."""
        if self._audit is not None:
            self._end_audit(self._audit)
        elif clock.monotonic() >= self._audit_at:
            await self._begin_audit(url)
        else:
            await self._session.probe(url)

    def _plan_audit(self) -> None:
        self._audit = None
        # Spread, so that the watches of all proxies do not ask at the same time.
        spread = random.uniform(2 / 3, 4 / 3)  # noqa: S311
        self._audit_at = clock.monotonic() + self._timing.audit_seconds * spread

    async def _begin_audit(self, url: str) -> None:
        """What is told up to the audit's revision is compared with it, once something later or nothing more comes."""
        self._audit = audit_of(await self._session.ask(url, RANGE, audit_request(self._keys, self._prefix)))

    def _end_audit(self, audit: Audit) -> None:
        if not self._view.agrees(audit):
            _log.warning("metastore.watch_has_lost_changes", prefix=self._prefix)
            raise _Incomplete
        self._plan_audit()
