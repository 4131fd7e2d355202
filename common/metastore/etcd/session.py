"""Calls to an etcd cluster as a whole: tried at another member when that is harmless, and within a deadline.

A request that changes something is sent once. When no answer comes it is reported as `maybe_applied`, and not sent
again, because it may have been done already; so that this is rare, it goes only to a member that has just answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from common import clock
from common.errors import Unavailable
from common.metastore.base import WrongIncarnation
from common.metastore.etcd.failures import CallFailed, Meaning, Refused
from common.metastore.etcd.gateway import Gateway, Messages
from common.metastore.etcd.history import History
from common.metastore.etcd.login import Login
from common.metastore.etcd.members import Behind, Members
from common.metastore.etcd.timing import Timing
from common.metastore.etcd.wire import Header, Message

RANGE: Final = "/v3/kv/range"
_ATTEMPTS: Final = 4
_NO_OTHER_MEMBER_HELPS: Final = frozenset(
    {Meaning.DENIED, Meaning.NO_SPACE, Meaning.NO_LEASE, Meaning.COMPACTED, Meaning.BUSY, Meaning.INVALID}
)


class Session:
    """`check_marker` is given what a read of `marker_request` has found, and raises WrongIncarnation."""

    def __init__(
        self,
        urls: Sequence[str],
        gateway: Gateway,
        login: Login,
        timing: Timing,
        marker_request: bytes,
        check_marker: Callable[[Message], None],
    ) -> None:
        self._gateway = gateway
        self._login = login
        self._timing = timing
        self._marker_request = marker_request
        self._check_marker = check_marker
        self._members = Members(urls, self.probe, timing)
        self._broken: WrongIncarnation | None = None
        self.history = History()

    async def close(self) -> None:
        await self._members.close()
        await self._gateway.close()

    async def call(
        self, path: str, body: bytes, *, repeatable: bool, is_linearizable: bool = True, seconds: float | None = None
    ) -> Message:
        """The answer of some member; `repeatable`: doing it twice is as good as once.

        Raises Unavailable, WrongIncarnation, and Refused when asking another member would not help.
        """
        deadline = clock.monotonic() + (self._timing.call_seconds if seconds is None else seconds)
        for _ in range(_ATTEMPTS):
            url = await self.member(deadline - clock.monotonic())
            left_seconds = max(deadline - clock.monotonic(), 0.01)
            mark = self.history.mark()
            try:
                answer = await self._ask(
                    url, path, body, min(left_seconds, self._timing.attempt_seconds) if repeatable else left_seconds
                )
            except CallFailed as error:
                if isinstance(error, Refused) and error.meaning in _NO_OTHER_MEMBER_HELPS:
                    raise
                self._members.suspect(url)
                if error.may_have_acted and not repeatable:
                    raise Unavailable(
                        "the meta store did not answer, and may have done what it was asked for", maybe_applied=True
                    ) from None
                continue
            header = self._take(url, answer)
            if not is_linearizable:
                return answer
            if not self.history.is_behind(header, mark):
                self._members.heard(url)
                return answer
            self._members.suspect(url)
            if not repeatable:
                raise Unavailable("the meta store knows less than before", maybe_applied=True)
        raise Unavailable("the meta store does not answer")

    async def member(self, timeout_seconds: float | None = None) -> str:
        """A member that is there, and has a majority with it; raises Unavailable, WrongIncarnation."""
        if self._broken is not None:
            raise self._broken
        try:
            return await self._members.trusted(
                self._timing.call_seconds if timeout_seconds is None else timeout_seconds
            )
        except WrongIncarnation as error:
            self._broken = error
            raise

    def suspect(self, url: str) -> None:
        """A member has failed somebody who asked it directly."""
        self._members.suspect(url)

    async def ask(self, url: str, path: str, body: bytes) -> Message:
        """Ask one member something that changes nothing; raises CallFailed, WrongIncarnation."""
        mark = self.history.mark()
        answer = await self._ask(url, path, body, self._timing.attempt_seconds)
        header = self._take(url, answer)
        if self.history.is_behind(header, mark):
            raise Behind(
                f"the meta store is at revision {header.revision} in term {header.raft_term}, and was at "
                f"{mark.revision} in {mark.raft_term} before"
            )
        return answer

    async def probe(self, url: str) -> None:
        """Whether a member is there, has a majority with it, and is one of the store that it was."""
        answer = await self.ask(url, RANGE, self._marker_request)
        try:
            self._check_marker(answer)
        except WrongIncarnation as error:
            self._broken = error
            raise

    @asynccontextmanager
    async def stream(self, url: str, path: str, body: bytes) -> AsyncIterator[Messages]:
        """The messages of a member's answer that goes on; raises CallFailed."""
        token = await self._login.token(url, self._timing.attempt_seconds)
        async with self._gateway.stream(url, path, body, token=token) as messages:
            try:
                yield messages
            except Refused as error:
                if error.meaning is Meaning.STALE_TOKEN:
                    self._login.forget(token)
                raise

    def check_cluster(self, url: str, header: Header) -> None:
        """Raises WrongIncarnation when a message is another cluster's, and from then on for every call."""
        try:
            self.history.check_cluster(url, header)
        except WrongIncarnation as error:
            self._broken = error
            raise

    def _take(self, url: str, answer: Message) -> Header:
        header = Header.of(answer)
        self.check_cluster(url, header)
        self.history.take(header)
        return header

    async def _ask(self, url: str, path: str, body: bytes, timeout_seconds: float) -> Mapping[str, Any]:
        """Twice when the token has expired: then nothing was done the first time."""
        deadline = clock.monotonic() + timeout_seconds
        token = await self._login.token(url, timeout_seconds)
        try:
            return await self._gateway.call(url, path, body, token=token, timeout_seconds=deadline - clock.monotonic())
        except Refused as error:
            if error.meaning is not Meaning.STALE_TOKEN or not token:
                raise
        self._login.forget(token)
        token = await self._login.token(url, deadline - clock.monotonic())
        return await self._gateway.call(url, path, body, token=token, timeout_seconds=deadline - clock.monotonic())
