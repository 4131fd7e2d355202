"""Takes in copies of objects of other buckets, as objects that move are taken in: durable when that is answered.

A copy carries the time at which the whole began, and what is stored here since then stays; nothing has to be written
again that is here already.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from common.errors import ObjectNotFound
from common.moving import BucketMoves
from target.membership import Membership
from target.rebalance.deletions import Deletions
from target.rebalance.figures import Tally
from target.rebalance.locks import NameLocks
from target.rebalance.messages import KEPT, STORED, Arrival
from target.rebalance.neighbours import Neighbours
from target.rebalance.receiver import Receiver
from target.storage.committer import Committer
from target.storage.incoming import in_thread
from target.storage.store import Store
from target.storage.writer import Staged


class CopyReceiver(Receiver):
    """A receiver of copies; `on_stored` hears of each that has become an object here."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        locks: NameLocks,
        neighbours: Neighbours,
        on_stored: Callable[[Arrival], None],
    ) -> None:
        super().__init__(store, membership, locks, Deletions(), Tally())
        self._neighbours = neighbours
        self._gates = membership.gates
        self._on_stored = on_stored

    async def _commit(self, arrival: Arrival, staged: Staged, committer: Committer) -> str:
        if arrival.replaces_own:
            staged.replaces_job = arrival.metadata.job
        with contextlib.ExitStack() as change:
            try:
                change.enter_context(self._gates.changing(arrival.bucket, adds=True))
            except BucketMoves:
                await in_thread(staged.discard)
                raise
            outcome = await super()._commit(arrival, staged, committer)
        if outcome == STORED:
            self._on_stored(arrival)
            await self._neighbours.stored(arrival.bucket, arrival.name)
        return outcome

    async def _outcome_without(self, arrival: Arrival) -> str | None:
        """A copy is not needed where just the same is, or what was stored since the copying began.

        What a move has brought before is replaced by what the source has now.
        """
        told = arrival.metadata
        try:
            here, _ = await asyncio.to_thread(self._store.head, arrival.bucket, arrival.name, arrival.bucket_id)
        except ObjectNotFound:
            return None
        if arrival.replaces_own and here.job == told.job and here.version <= told.version:
            return KEPT if here.is_alike(told) and here.stored_ns == told.stored_ns else None
        return KEPT if here.is_alike(told) or here.stored_ns >= told.stored_ns else None
