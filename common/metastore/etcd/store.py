"""The meta store on an etcd cluster: what `MetaStore` promises, in etcd's calls.

How calls find a member and what their failures mean is left to `session`, how watches go on to `watching`.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from common.errors import HaulError, Unavailable
from common.metastore.base import (
    ABSENT,
    Compare,
    Event,
    KeyValue,
    Lease,
    LeaseLost,
    Listing,
    Operation,
    Put,
    TransactionResult,
    WrongIncarnation,
    check_key,
    check_lease_id,
    check_prefix,
    check_transaction,
    check_ttl,
    check_watch,
    is_lease_id,
)
from common.metastore.etcd import wire
from common.metastore.etcd.failures import Meaning, Refused, as_error
from common.metastore.etcd.gateway import Gateway
from common.metastore.etcd.login import Credentials, Login
from common.metastore.etcd.session import RANGE, Session
from common.metastore.etcd.timing import Timing
from common.metastore.etcd.watching import Watch

_PAGE_KEYS: Final = 128
_LISTING_ATTEMPTS: Final = 3
_MARKER: Final = "history"


class EtcdStore:
    """A `MetaStore` in an etcd that may have other users, too: everything is under `/haul/<cluster_id>/`.

    The member whose URL comes first is asked first. `incarnation` is etcd's cluster id and a random number that is made
    with the first start, because an etcd that is set up anew with the same members has the same id again.
    """

    def __init__(
        self,
        urls: Sequence[str],
        cluster_id: str,
        *,
        credentials: Credentials | None = None,
        tls: ssl.SSLContext | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._urls = urls
        self._credentials = credentials
        self._tls = tls
        self._timing = timing or Timing()
        self._markers = wire.Keyspace(f"/haul/{cluster_id}/")
        self._keys = wire.Keyspace(f"/haul/{cluster_id}/keys/")
        self._session: Session | None = None
        self._marker = b""
        self._incarnation = ""

    @property
    def incarnation(self) -> str:
        return self._incarnation

    async def start(self) -> None:
        """Raises Unavailable, and WrongIncarnation when another etcd has taken the place of the one before."""
        gateway = Gateway(self._tls, self._timing.attempt_seconds)
        login = Login(gateway, self._credentials)
        marker_request = wire.get_request(self._markers, _MARKER)
        session = Session(self._urls, gateway, login, self._timing, marker_request, self._check_marker)
        try:
            await session.member(self._timing.start_seconds)
            marker = await self._mark(session)
        except BaseException:
            await session.close()
            raise
        self._marker = marker
        self._incarnation = f"{session.history.cluster_id:x}.{marker.decode(errors='replace')}"
        self._session = session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, key: str) -> KeyValue | None:
        check_key(key)
        answer = await self._call(RANGE, wire.get_request(self._keys, key), repeatable=True)
        return wire.item_of(self._keys, answer)

    async def list(self, prefix: str) -> Listing:
        check_prefix(prefix)
        for _ in range(_LISTING_ATTEMPTS):
            listing = await self._list(prefix)
            if listing is not None:
                return listing
        raise Unavailable("the meta store forgets faster than it can be read")

    async def transaction(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TransactionResult:
        check_transaction(compares, operations)
        request = wire.transaction_request(self._keys, compares, operations)
        try:
            answer = await self._ask("/v3/kv/txn", request, repeatable=not operations)
        except Refused as refused:
            if refused.meaning is Meaning.NO_LEASE:
                raise await self._lost_lease(operations) from None
            raise as_error(refused) from None
        return wire.transaction_result(self._keys, compares, answer)

    async def grant(self, ttl_seconds: float) -> Lease:
        check_ttl(ttl_seconds)
        # A lease that was granted without an answer has no keys, and ends by itself.
        answer = await self._call("/v3/lease/grant", wire.grant_request(ttl_seconds), repeatable=True)
        return Lease(wire.lease_id_of(answer), wire.ttl_of(answer))

    async def keep_alive(self, lease_id: int) -> float:
        check_lease_id(lease_id)
        answer = await self._call(
            "/v3/lease/keepalive", wire.lease_request(lease_id), repeatable=True, is_linearizable=False
        )
        remaining_seconds = wire.ttl_of(answer)
        if not remaining_seconds:
            raise LeaseLost(lease_id)
        return remaining_seconds

    async def revoke(self, lease_id: int) -> None:
        if not is_lease_id(lease_id):
            return
        try:
            await self._ask("/v3/lease/revoke", wire.lease_request(lease_id), repeatable=True)
        except Refused as refused:
            if refused.meaning is not Meaning.NO_LEASE:
                raise as_error(refused) from None

    async def watch(self, prefix: str, from_revision: int | None = None) -> AsyncGenerator[Event, None]:
        check_watch(prefix, from_revision)
        session = self._opened()
        watch = Watch(session, self._keys, self._timing, self.list, prefix, from_revision)
        try:
            async with aclosing(watch.events()) as events:
                async for event in events:
                    yield event
        except Unavailable:
            if session is self._session:
                raise

    def _opened(self) -> Session:
        if self._session is None:
            raise Unavailable("the meta store is not open")
        return self._session

    async def _ask(self, path: str, request: bytes, *, repeatable: bool, is_linearizable: bool = True) -> wire.Message:
        session = self._opened()
        return await session.call(path, request, repeatable=repeatable, is_linearizable=is_linearizable)

    async def _call(self, path: str, request: bytes, *, repeatable: bool, is_linearizable: bool = True) -> wire.Message:
        try:
            return await self._ask(path, request, repeatable=repeatable, is_linearizable=is_linearizable)
        except Refused as refused:
            raise as_error(refused) from None

    async def _list(self, prefix: str) -> Listing | None:
        """All pages at the revision of the first; None when that was compacted in the meantime."""
        pages: list[wire.Page] = []
        while not pages or pages[-1].has_more:
            after, revision = (pages[-1].items[-1].key, pages[0].revision) if pages else (None, 0)
            request = wire.page_request(self._keys, prefix, after, revision, _PAGE_KEYS)
            try:
                pages.append(wire.page_of(self._keys, await self._ask(RANGE, request, repeatable=True)))
            except Refused as refused:
                if refused.meaning is Meaning.COMPACTED:
                    return None
                raise as_error(refused) from None
        return wire.joined(pages)

    async def _lost_lease(self, operations: Sequence[Operation]) -> HaulError:
        """Which lease of a refused transaction it was."""
        leases = [put.lease_id for put in operations if isinstance(put, Put) and put.lease_id is not None]
        for lease_id in dict.fromkeys(leases):
            answer = await self._call(
                "/v3/lease/timetolive", wire.lease_request(lease_id), repeatable=True, is_linearizable=False
            )
            if not wire.ttl_of(answer):
                return LeaseLost(lease_id)
        return Unavailable("a lease was not there for a moment")

    async def _mark(self, session: Session) -> bytes:
        """What names this etcd's history: made by who comes first."""
        candidate = secrets.token_hex(8).encode()
        request = wire.transaction_request(self._markers, (Compare(_MARKER, ABSENT),), (Put(_MARKER, candidate),))
        try:
            # Doing it twice is harmless: the second time it is there.
            await session.call("/v3/kv/txn", request, repeatable=True)
            answer = await session.call(RANGE, wire.get_request(self._markers, _MARKER), repeatable=True)
        except Refused as refused:
            raise as_error(refused) from None
        found = wire.item_of(self._markers, answer)
        if found is None:
            raise Unavailable("the meta store is being emptied")
        if self._marker and found.value != self._marker:
            raise _other_history()
        return found.value

    def _check_marker(self, answer: wire.Message) -> None:
        found = wire.item_of(self._markers, answer)
        if self._marker and (found is None or found.value != self._marker):
            raise _other_history()


def _other_history() -> WrongIncarnation:
    return WrongIncarnation(
        "what this cluster had in its etcd is gone, or another state of it has taken its place. "
        "Restore it, or stop all nodes of Haul and start anew"
    )
