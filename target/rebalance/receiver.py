"""Takes in objects that other targets send because this one is their owner now.

Nothing that is at least as new is replaced, nothing that was deleted since comes back, and an answer says that the
object is durable here: the sender may then let go of its copy. What is answered holds for one placement: a target that
has another cluster map than the sender takes nothing.
"""

from __future__ import annotations

import asyncio

from common import failpoints
from common.errors import ObjectNotFound, RequestError
from common.names import printable
from common.web import Receive
from target.membership import Membership
from target.rebalance.bodies import Arriving, head_of, staged_of
from target.rebalance.deletions import Deletions
from target.rebalance.figures import Tally
from target.rebalance.locks import NameLocks
from target.rebalance.messages import DELETED, KEPT, STORED, WANTED, Arrival
from target.storage.commits import commit
from target.storage.committer import Committer
from target.storage.faults import Superseded
from target.storage.incoming import in_thread
from target.storage.store import Store
from target.storage.writer import Staged


class OtherPlacement(RequestError):
    """Sender and receiver have different cluster maps, or the object is a third one's; it is tried again."""

    code = "ErrOtherPlacement"
    status = 409


class Receiver:
    """Answers the offers of other targets and stores what they send."""

    def __init__(
        self, store: Store, membership: Membership, locks: NameLocks, deletions: Deletions, tally: Tally
    ) -> None:
        self._store = store
        self._membership = membership
        self._locks = locks
        self._deletions = deletions
        self._tally = tally

    async def offer(self, arrival: Arrival) -> str:
        """Whether an object is wanted; raises OtherPlacement, DiskError."""
        await self._check_placement(arrival)
        return await self._outcome_without(arrival) or WANTED

    async def take(self, receive: Receive) -> str:
        """Store the object that a request's body is; returns what has become of it once that is durable.

        Raises OtherPlacement, BadChecksum, BucketNotFound, DiskError, and ClientGone when the body does not end.
        """
        arrival, batch, is_whole = await head_of(receive)
        await self._check_placement(arrival)
        incoming = Arriving(self._store, arrival, is_moved=True)
        staged, committer = await staged_of(incoming, receive, batch, is_whole=is_whole)
        failpoints.hit("rebalance.received")
        return await self._commit(arrival, staged, committer)

    async def _commit(self, arrival: Arrival, staged: Staged, committer: Committer) -> str:
        """Decide about a whole object while nobody else decides about its name."""
        async with self._locks.held(arrival.bucket, arrival.name):
            try:
                self._check_own(arrival)
                outcome = await self._outcome_without(arrival)
            except BaseException:
                await in_thread(staged.discard)
                raise
            if outcome is not None:
                await in_thread(staged.discard)
                return outcome
            try:
                await commit(committer, staged)
            except Superseded:
                return KEPT
        if self._store.is_misplaced(arrival.bucket, arrival.name, committer):
            await in_thread(self._store.mountpaths.unsettle)
        figures = self._tally.figures
        if figures.placement_version == arrival.placement_version:
            figures.in_objects += 1
            figures.in_bytes += arrival.metadata.size
        failpoints.hit("rebalance.stored")
        return STORED

    async def _outcome_without(self, arrival: Arrival) -> str | None:
        """What the answer is when the object is not even needed."""
        stored_ns = arrival.metadata.stored_ns
        if self._deletions.covers(arrival.bucket, arrival.name, stored_ns):
            return DELETED
        try:
            here, _ = await asyncio.to_thread(self._store.head, arrival.bucket, arrival.name, arrival.bucket_id)
        except ObjectNotFound:
            return None
        return KEPT if here.stored_ns >= stored_ns else None

    async def _check_placement(self, arrival: Arrival) -> None:
        if self._membership.cluster_map.placement_version < arrival.placement_version:
            await self._membership.refresh()
        self._check_own(arrival)

    def _check_own(self, arrival: Arrival) -> None:
        cluster_map = self._membership.cluster_map
        if cluster_map.placement_version != arrival.placement_version:
            theirs, ours = arrival.placement_version, cluster_map.placement_version
            raise OtherPlacement(f"the object is sent by placement {theirs}, and here {ours} is the latest")
        if cluster_map.owner(arrival.bucket, arrival.name).id != self._membership.node.id:
            raise OtherPlacement(f"{arrival.bucket.cname}/{printable(arrival.name)} does not belong here")
