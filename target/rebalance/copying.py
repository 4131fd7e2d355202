"""Copies of objects under other names: this target reads, the owner of the new name stores.

A copy is a new object, with the bytes, custom metadata, ETag and digests of the old one; it belongs to no job and comes
from no link. It travels as all objects do between targets (`bodies`), here, too. Who may ask for it is left to
`target.api`.
"""

from __future__ import annotations

from typing import NamedTuple

from common import clock
from common.errors import NotOwner
from common.moving import BucketMoves
from common.names import Bucket
from common.nodeclient import NodeClient, RemoteError
from common.web import Receive
from target.membership import Membership
from target.rebalance.bodies import Arriving, body_of, head_of, received, staged_of
from target.rebalance.messages import Arrival
from target.rebalance.neighbours import Neighbours
from target.storage.commits import commit
from target.storage.incoming import in_thread
from target.storage.mountpath import Mountpath
from target.storage.reader import OpenObject
from target.storage.store import Store

PATH = "/intra/v1/rebalance/copy"


class Place(NamedTuple):
    """Where a copy goes."""

    bucket: Bucket
    bucket_id: int
    name: str


class Copier:
    """Sends copies, and stores those that others send."""

    def __init__(self, store: Store, membership: Membership, client: NodeClient, neighbours: Neighbours) -> None:
        self._store = store
        self._gates = membership.gates
        self._membership = membership
        self._client = client
        self._neighbours = neighbours

    async def copy(self, found: OpenObject, mountpath: Mountpath, place: Place) -> None:
        """Have a copy of an open object stored, durably; raises BucketNotFound, DiskError, PeerError, NotOwner."""
        metadata = found.metadata._replace(
            name="", version=1, stored_ns=clock.unix_ns(), source="", job="", link_digest=0
        )
        arrival = Arrival(0, *place, metadata)
        for is_last in (False, True):
            owner = self._membership.cluster_map.owner(place.bucket, place.name)
            body = body_of(arrival, found, mountpath)
            if owner.id == self._membership.node.id:
                await self.take(received(body))
                return
            try:
                await self._client.send(owner.url, PATH, body)
            except RemoteError as error:
                if is_last or error.code != NotOwner.code:
                    raise
                await self._membership.refresh()
            else:
                return

    async def take(self, receive: Receive) -> None:
        """Store a copy that another target sends.

        Raises NotOwner, BadChecksum, BucketNotFound, BucketMoves, DiskError.
        """
        arrival, batch, is_whole = await head_of(receive)
        bucket, name = arrival.bucket, arrival.name
        await self._neighbours.check_owned(bucket, name)
        incoming = Arriving(self._store, arrival, is_moved=False)
        self._gates.check(bucket, adds=True)
        staged, committer = await staged_of(incoming, receive, batch, is_whole=is_whole)
        try:
            with self._gates.changing(bucket, adds=True):
                await commit(committer, staged)
        except BucketMoves:
            await in_thread(staged.discard)
            raise
        if self._store.is_misplaced(bucket, name, committer):
            await in_thread(self._store.mountpaths.unsettle)
        await self._neighbours.stored(bucket, name)
