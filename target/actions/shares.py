"""The shares of copies at this target: begun, reported, stopped and forgotten, as proxies say.

In memory only: who restarts a target begins its shares again, and what is copied already is not copied twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from common.copying import CopyFigures, CopyOrder
from common.lifecycle import TaskScope
from common.names import Bucket
from common.nodeclient import NodeClient
from target.actions.receiver import CopyReceiver
from target.actions.sender import CopySender
from target.actions.share import CopyShare
from target.membership import Membership
from target.rebalance.locks import NameLocks
from target.rebalance.messages import Arrival
from target.rebalance.neighbours import Neighbours
from target.storage.store import Store

_MAX_STOPPED = 1_000


class CopyShares:
    """All shares that are not over."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        client: NodeClient,
        locks: NameLocks,
        neighbours: Neighbours,
        is_fetched_into: Callable[[Bucket], bool],
        scope: TaskScope,
    ) -> None:
        """`is_fetched_into`: whether downloads store something in a bucket at this moment."""
        self._store = store
        self._membership = membership
        self._gates = membership.gates
        self._is_fetched_into = is_fetched_into
        self._scope = scope
        self.receiver = CopyReceiver(store, membership, locks, neighbours, self._stored)
        own = CopyReceiver(store, membership, locks, neighbours, lambda _: None)  # of what is not from others
        self._sender = CopySender(store, membership, client, own)
        self._shares: dict[str, CopyShare] = {}
        self._stopped: OrderedDict[str, CopyFigures] = OrderedDict()
        """So that an order that comes late begins nothing again."""

    def __repr__(self) -> str:
        return f"<CopyShares {list(self._shares.values())}>"

    def begin(self, order: CopyOrder) -> CopyFigures:
        """Begin a share, or its next round; harmless when that has been done, and when it was stopped."""
        if order.id in self._stopped:
            return self._stopped[order.id]
        share = self._shares.get(order.id)
        if share is None:
            share = CopyShare(order, self._store, self._membership, self._sender, self._is_still, self._scope)
            self._shares[order.id] = share
        share.begin(order)
        return share.figures

    async def _is_still(self, order: CopyOrder) -> str:
        """Wait until no change is under way that the order excludes; why that cannot be said, empty when it can."""
        mark = self._gates.mark(order.source)
        if mark is None or mark.job != order.id or mark.is_closed < order.is_closing:
            await self._membership.refresh()
            return "this target has not heard of the rename yet"
        if self._membership.backend_of(order.source) is None and self._is_fetched_into(order.source):
            return f"something is being downloaded into {order.source.cname}"
        await self._gates.calm(order.source)
        return ""

    def report(self, ids: Collection[str]) -> dict[str, CopyFigures]:
        """The figures of these, as far as they are known here, and of all others that are not over."""
        known = {share_id: share.figures for share_id, share in self._shares.items()}
        return known | {share_id: self._stopped[share_id] for share_id in ids if share_id in self._stopped}

    async def stop(self, share_id: str) -> CopyFigures | None:
        """End a share, whether it has been begun or not; its figures, None when it never was here."""
        share = self._shares.get(share_id)
        if share is not None:
            await share.stop()
        self._shares.pop(share_id, None)
        figures = share.figures if share is not None else self._stopped.get(share_id)
        self._stopped[share_id] = figures or CopyFigures()
        self._stopped.move_to_end(share_id)
        if len(self._stopped) > _MAX_STOPPED:
            self._stopped.popitem(last=False)
        return figures

    def _stored(self, arrival: Arrival) -> None:
        share = self._shares.get(arrival.metadata.job)
        if share is not None:
            share.figures.in_objects += 1
            share.figures.in_bytes += arrival.metadata.size
