"""Who belongs to the cluster and who is alive: nodes join here, keep their leases alive, and the map follows.

Two things are kept apart: the cluster map says who is a member, and placement follows from it, so that a missed
keep-alive changes nothing in it; a lease says who is alive. What is done about a dead node is left to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgpack
import structlog

from common import clock
from common.clustermap import ClusterMap, Node
from common.errors import PeerError, Unavailable
from common.lifecycle import TaskScope
from common.metastore.base import (
    ABSENT,
    DeleteEvent,
    Event,
    LeaseLost,
    MetaStore,
    PutEvent,
    Resync,
    compare_and_set,
    delete,
    put,
)
from proxy.peers import Peers
from proxy.watching import follow

MAP_KEY = "cluster/map"
NODES_PREFIX = "nodes/"
_PUSH_SECONDS = 2.0
_ATTEMPTS = 50
_MISSED_KEEP_ALIVES = 3
_log = structlog.get_logger("proxy.membership")


@dataclass(frozen=True, slots=True)
class NodeState:
    """A member, and whether its lease is alive."""

    node: Node
    is_online: bool


class Membership:
    """This proxy's view of the cluster, and its own place in it."""

    def __init__(self, own: Node, store: MetaStore, peers: Peers, scope: TaskScope, keep_alive_seconds: float) -> None:
        self._own = own
        self._store = store
        self._peers = peers
        self._scope = scope
        self._keep_alive_seconds = keep_alive_seconds
        self._map = ClusterMap()
        self._online: set[str] = set()

    def __repr__(self) -> str:
        return f"<Membership {self._own.id}, map v{self._map.version}, online {sorted(self._online)}>"

    @property
    def own(self) -> Node:
        """This proxy."""
        return self._own

    @property
    def map(self) -> ClusterMap:
        """The cluster map as it was last seen."""
        return self._map

    def nodes(self) -> list[NodeState]:
        """All members and their states, by id."""
        return [NodeState(node, node.id in self._online) for node in self._map.nodes]

    def is_online(self, node_id: str) -> bool:
        """Whether the node's lease was alive when this proxy last looked."""
        return node_id in self._online

    def online_targets(self) -> list[Node]:
        """The targets that are alive."""
        return [node for node in self._map.targets if node.id in self._online]

    def primary_id(self) -> str:
        """The proxy that clients may rely on: the first living one."""
        return next((node.id for node in self._map.proxies if node.id in self._online), self._own.id)

    async def start(self) -> None:
        """Read the map, join it, and keep following; raises Unavailable when the store does."""
        for item in (await self._store.list(NODES_PREFIX)).items:
            self._online.add(item.key.removeprefix(NODES_PREFIX))
        await self.join(self._own)
        self._scope.start("membership keep-alive", self._keep_alive())
        self._scope.start("membership map", follow(self._store, MAP_KEY, self._on_map_event))
        self._scope.start("membership nodes", follow(self._store, NODES_PREFIX, self._on_node_event))

    async def stop(self) -> None:
        """Say that this proxy is gone, instead of letting others wait for its lease to expire."""
        try:
            await delete(self._store, NODES_PREFIX + self._own.id)
        except PeerError as error:
            _log.warning("membership.leave_failed", error=error.message)

    async def join(self, node: Node) -> None:
        """A node says that it is alive: its lease starts anew, and the map takes it up when it is new or changed."""
        item = await self._store.get(NODES_PREFIX + node.id)
        alive = False
        if item is not None and item.lease_id and Node.from_wire(msgpack.unpackb(item.value)) == node:
            alive = await self._renew(item.lease_id)
        if not alive:
            lease = await self._store.grant(self._keep_alive_seconds * _MISSED_KEEP_ALIVES + 1.0)
            await put(self._store, NODES_PREFIX + node.id, msgpack.packb(node.to_wire()), lease.id)
            _log.info("membership.node_online", node=node.id, role=node.role, url=node.url)
        self._online.add(node.id)
        if self._map.get(node.id) != node:
            await self._change_map(lambda current: current.with_node(node))

    async def refresh_map(self) -> ClusterMap:
        """Read the map anew; raises Unavailable."""
        item = await self._store.get(MAP_KEY)
        if item is not None:
            self._take_map(item.value)
        return self._map

    async def _renew(self, lease_id: int) -> bool:
        try:
            await self._store.keep_alive(lease_id)
        except LeaseLost:
            return False
        return True

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._keep_alive_seconds)
            try:
                await self.join(self._own)
            except PeerError as error:
                _log.warning("membership.keep_alive_failed", error=error.message)

    async def _change_map(self, change: Callable[[ClusterMap], ClusterMap]) -> None:
        for _ in range(_ATTEMPTS):
            item = await self._store.get(MAP_KEY)
            current = _unpack(item.value) if item else ClusterMap(created_ns=clock.unix_ns())
            changed = change(current)
            if changed is current:
                self._take(current)
                return
            revision = item.mod_revision if item else ABSENT
            result = await compare_and_set(self._store, MAP_KEY, revision, msgpack.packb(changed.to_wire()))
            if result.succeeded:
                self._take(changed)
                self._scope.start("push cluster map", self._push(changed))
                return
        raise Unavailable("the cluster map is changing too fast; try again")

    async def _push(self, cluster_map: ClusterMap) -> None:
        calls = dict.fromkeys(self.online_targets(), cluster_map.to_wire())
        _, errors = await self._peers.call_each(calls, "/intra/v1/clustermap", _PUSH_SECONDS)
        for target, error in errors.items():
            _log.warning("membership.map_not_told", target=target, error=error.message)

    async def _on_map_event(self, event: Event) -> None:
        items = event.snapshot if isinstance(event, Resync) else (event.item,) if isinstance(event, PutEvent) else ()
        for item in items:
            if item.key == MAP_KEY:
                self._take_map(item.value)

    async def _on_node_event(self, event: Event) -> None:
        match event:
            case Resync():
                self._online = {item.key.removeprefix(NODES_PREFIX) for item in event.snapshot}
            case PutEvent():
                self._online.add(event.key.removeprefix(NODES_PREFIX))
            case DeleteEvent():
                node_id = event.key.removeprefix(NODES_PREFIX)
                if node_id in self._online:
                    self._online.discard(node_id)
                    _log.warning("membership.node_offline", node=node_id)

    def _take_map(self, value: bytes) -> None:
        self._take(_unpack(value))

    def _take(self, cluster_map: ClusterMap) -> None:
        if cluster_map.version > self._map.version:
            self._map = cluster_map


def _unpack(value: bytes) -> ClusterMap:
    return ClusterMap.from_wire(msgpack.unpackb(value))
