"""Sends one object as a copy to the target that owns it, which may be this one; what is copied is left to `share`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from common.clustermap import Node
from common.copying import CopyOrder
from common.errors import InvalidName
from common.nodeclient import NodeClient
from target.actions.receiver import CopyReceiver
from target.membership import Membership
from target.rebalance.bodies import body_of, handed_over, received
from target.rebalance.messages import Arrival
from target.storage.listing import ListEntry
from target.storage.mountpath import Mountpath
from target.storage.reader import OpenObject
from target.storage.store import Store

_LOOK_PATH = "/intra/v1/objects/look"
_PATHS = "/intra/v1/actions/offer", "/intra/v1/actions/object"


class CopySender:
    """The way of a copy to its owner."""

    def __init__(self, store: Store, membership: Membership, client: NodeClient, receiver: CopyReceiver) -> None:
        self._store = store
        self._membership = membership
        self._client = client
        self._receiver = receiver

    async def missing(self, order: CopyOrder, entries: Sequence[ListEntry]) -> list[str]:
        """Those of these objects whose copies are not at their owners, or are others; raises PeerError, RemoteError.

        To ask for a page of them at once costs next to nothing, and spares most of the work of doing a share again.
        """
        cluster_map, wanted = self._membership.cluster_map, {}
        owned: dict[Node, list[str]] = {}
        missing = []
        for entry in entries:
            try:
                copied_name = order.name_of(entry.name)
            except InvalidName:
                missing.append(entry.name)  # `send` says what is wrong with it
                continue
            wanted[copied_name] = entry
            owned.setdefault(cluster_map.owner(order.destination, copied_name), []).append(copied_name)
        for owner, names in owned.items():
            here = {found[0]: found for found in await self._look(owner, order, names)}
            missing += [
                wanted[name].name
                for name in names
                if name not in here or not _is_copied(order, wanted[name], here[name])
            ]
        return missing

    async def _look(self, owner: Node, order: CopyOrder, names: Sequence[str]) -> Sequence[Sequence[Any]]:
        if owner.id == self._membership.node.id:
            return await asyncio.to_thread(self._store.look, order.destination, order.destination_id, names)
        body = {"bucket": order.destination.uname, "bucket_id": order.destination_id, "names": names, "complete": True}
        answer = await self._client.call(owner.url, _LOOK_PATH, body)
        return list(answer["entries"])

    async def send(self, order: CopyOrder, name: str) -> tuple[str, int, bool]:
        """Copy an object that lies here; what has become of it, its size in bytes, whether it is another target's.

        Raises ObjectNotFound when it is gone, InvalidName when its copy cannot have a name, OtherPlacement (or
        RemoteError of that code), BucketNotFound, Unavailable, DiskError.
        """
        copied_name = order.name_of(name)
        cluster_map = self._membership.cluster_map
        owner = cluster_map.owner(order.destination, copied_name)
        found, mountpath = await asyncio.to_thread(self._store.open, order.source, name, order.source_id)
        with found:
            metadata = found.metadata._replace(name="", job=order.id)
            if not order.is_move:
                metadata = metadata._replace(version=1, stored_ns=order.started_ns)
            version = cluster_map.placement_version
            arrival = Arrival(version, order.destination, order.destination_id, copied_name, metadata, order.is_move)
            is_others = owner.id != self._membership.node.id
            outcome = await self._sent(owner, arrival, (found, mountpath), is_others=is_others)
        return outcome, found.size, is_others

    async def _sent(
        self, owner: Node, arrival: Arrival, opened: tuple[OpenObject, Mountpath], *, is_others: bool
    ) -> str:
        body = body_of(arrival, *opened)
        if is_others:
            return await handed_over(self._client, owner.url, _PATHS, arrival, body)
        return await self._receiver.take(received(body))


def _is_copied(order: CopyOrder, entry: ListEntry, here: Sequence[Any]) -> bool:
    """Whether what lies at the destination, as a listing shows it, is the copy, or stays in its place.

    A move keeps times, and who stores an object again gives it another. A PATCH does not, but other metadata.
    """
    fields = ListEntry._fields
    if len(here) < len(fields):  # a target of an earlier version tells less
        return False
    found = ListEntry(*here[: len(fields)])
    is_same_time = found.stored_ns == entry.stored_ns
    is_alike = (found.size, found.checksum, found.etag) == (entry.size, entry.checksum, entry.etag)
    is_alike = is_alike and (found.custom or {}) == (entry.custom or {})
    return is_alike and is_same_time if order.is_move else is_alike or found.stored_ns >= order.started_ns
