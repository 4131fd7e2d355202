"""Which proxy does the housekeeping: whoever holds the leader's key, for as long as its lease surely lasts.

A lease is not a lock: a leader may be stopped at any moment and go on long after another has taken over. So it holds
itself leading only until two thirds of the lease have passed since it asked for it, every change it makes in the meta
store compares the leader's key (`Authority.compare`), and what it tells targets carries its epoch, below the highest of
which they refuse. What a leader does is left to `housekeeping`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from common import clock
from common.epochs import Epoch
from common.errors import Fenced, PeerError
from common.metastore.base import ABSENT, Compare, Delete, Lease, LeaseLost, MetaStore, TransactionResult, create

KEY = "leader"
_HELD_PART = 2 / 3
_MAX_POLL_SECONDS = 1.0
_log = structlog.get_logger("proxy.leadership")


@dataclass(frozen=True, slots=True)
class Authority:
    """What a leader shows: `epoch` to targets, `compare` in every transaction."""

    epoch: Epoch
    compare: Compare


def check_guard(result: TransactionResult, guard: Compare) -> None:
    """Raise Fenced when it was a leader's comparison that a transaction has failed for."""
    item = result.current.get(guard.key)
    if not result.succeeded and (item.mod_revision if item else ABSENT) != guard.mod_revision:
        raise Fenced("the leader that wanted this does not lead any more")


class Leadership:
    """This proxy's part in having one leader."""

    def __init__(
        self, own_id: str, store: MetaStore, ttl_seconds: float, boottime: Callable[[], float] = clock.boottime
    ) -> None:
        self._own_id = own_id
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._boottime = boottime
        self._lease: Lease | None = None
        self._revision = 0
        self._held_until = float("-inf")
        self.leader_id = ""
        """The leader as this proxy has last seen it; empty when there was none."""

    def __repr__(self) -> str:
        return f"<Leadership {self._own_id}, leader {self.leader_id or 'unknown'}, leading {self.is_leading}>"

    @property
    def is_leading(self) -> bool:
        """Whether this proxy leads, for sure and at this moment."""
        return bool(self._revision) and self._boottime() < self._held_until

    def authority(self) -> Authority:
        """What to show for acting as the leader; raises Fenced when this proxy does not lead any more."""
        if not self.is_leading:
            raise Fenced(f"proxy {self._own_id} does not lead any more")
        return Authority(Epoch(self._store.incarnation, self._revision), Compare(KEY, self._revision))

    async def run(self) -> None:
        """Try to lead, and to go on leading, for ever."""
        while True:
            try:
                await self.turn()
            except PeerError as error:
                _log.warning("leadership.uncertain", error=error.message)
            await asyncio.sleep(self._ttl_seconds / 6 if self._revision else self._poll_seconds)

    @property
    def _poll_seconds(self) -> float:
        return min(_MAX_POLL_SECONDS, self._ttl_seconds / 6)

    async def turn(self) -> None:
        """Renew what is held, or take what nobody holds; raises PeerError."""
        if self._revision:
            await self._renew()
        if not self._revision:
            await self._campaign()

    async def resign(self) -> None:
        """Let another lead at once; raises PeerError."""
        revision, self._revision, self._held_until = self._revision, 0, float("-inf")
        if revision:
            await self._store.transaction((Compare(KEY, revision),), (Delete(KEY),))
        if self._lease is not None:
            await self._store.revoke(self._lease.id)

    async def _renew(self) -> None:
        assert self._lease is not None
        asked_at = self._boottime()
        try:
            remaining = await self._store.keep_alive(self._lease.id)
        except LeaseLost:
            self._lost()
            return
        item = await self._store.get(KEY)
        if item is None or item.create_revision != self._revision:
            self._lost()
        else:
            self._held_until = asked_at + min(remaining, self._lease.ttl_seconds) * _HELD_PART

    def _lost(self) -> None:
        _log.warning("leadership.lost", epoch=self._revision)
        self._lease, self._revision, self._held_until = None, 0, float("-inf")

    async def _campaign(self) -> None:
        item = await self._store.get(KEY)
        if item is None:
            asked_at = self._boottime()
            self._lease = await self._store.grant(self._ttl_seconds)
            result = await create(self._store, KEY, self._own_id.encode(), self._lease.id)
            if result.succeeded:
                self._lead(result.revision, asked_at, self._lease)
                return
            await self._store.revoke(self._lease.id)
            item = result.current.get(KEY)
        elif self._lease is not None and item.lease_id == self._lease.id:
            # An earlier attempt that was not answered has succeeded after all.
            asked_at = self._boottime()
            await self._store.keep_alive(self._lease.id)
            self._lead(item.create_revision, asked_at, self._lease)
            return
        self.leader_id = item.value.decode() if item is not None else ""

    def _lead(self, revision: int, asked_at: float, lease: Lease) -> None:
        self._revision, self._held_until = revision, asked_at + lease.ttl_seconds * _HELD_PART
        self.leader_id = self._own_id
        _log.info("leadership.taken", epoch=revision)
