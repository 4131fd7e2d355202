"""Takes in objects that other targets send because this one is their owner now.

Nothing that is at least as new is replaced, nothing that was deleted since comes back, and an answer says that the
object is durable here: the sender may then let go of its copy. What is answered holds for one placement: a target that
has another cluster map than the sender takes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from common import failpoints
from common.errors import BadChecksum, ObjectNotFound, RequestError
from common.names import printable
from common.web import ClientGone, Receive
from target.membership import Membership
from target.rebalance.deletions import Deletions
from target.rebalance.figures import Tally
from target.rebalance.locks import NameLocks
from target.rebalance.messages import DELETED, KEPT, STORED, WANTED, Arrival, split
from target.storage.commits import commit
from target.storage.committer import Committer
from target.storage.faults import Superseded
from target.storage.incoming import Incoming, in_thread
from target.storage.store import Store
from target.storage.writer import Staged

_BATCH_BYTES = 1 << 20


class OtherPlacement(RequestError):
    """Sender and receiver have different cluster maps, or the object is a third one's; it is tried again."""

    code = "ErrOtherPlacement"
    status = 409


class _Arriving(Incoming):
    """An object that is compared with what its sender says of it."""

    def __init__(self, store: Store, arrival: Arrival) -> None:
        super().__init__(partial(store.writer, arrival.bucket, arrival.bucket_id, arrival.name, arrival.metadata.size))
        self._arrival = arrival

    def finish(self, chunks: Sequence[bytes]) -> tuple[Staged, Committer]:
        """Write the last batch and compare; raises BadChecksum."""
        writer = self.write(chunks)
        told = self._arrival.metadata
        if (writer.size, writer.checksum) != (told.size, told.checksum):
            raise BadChecksum(
                f"{self._arrival.bucket.cname}/{printable(self._arrival.name)} has not come as it was sent, or is "
                f"damaged where it comes from: {writer.size} bytes, xxh64 {writer.checksum}; "
                f"should be {told.size}, {told.checksum}"
            )
        staged = writer.finish(told._replace(name=""))
        staged.is_moved = True
        return staged, self.committer


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
        arrival, batch, is_whole = await _head_of(receive)
        await self._check_placement(arrival)
        incoming = _Arriving(self._store, arrival)
        try:
            while not is_whole:
                chunk, is_whole = await _more(receive)
                batch.append(chunk)
                if not is_whole and sum(map(len, batch)) >= _BATCH_BYTES:
                    full, batch = batch, []
                    await in_thread(partial(incoming.write, full))
            staged, committer = await in_thread(partial(incoming.finish, batch))
        except BaseException:
            await in_thread(incoming.discard)
            raise
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


async def _head_of(receive: Receive) -> tuple[Arrival, list[bytes], bool]:
    """The head, what has come behind it, and whether that is all."""
    received, is_whole = b"", False
    while True:
        parts = split(received)
        if parts is not None:
            return Arrival.unpack(parts[0]), [parts[1]], is_whole
        if is_whole:
            raise ClientGone
        chunk, is_whole = await _more(receive)
        received += chunk


async def _more(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), not message.get("more_body", False)
