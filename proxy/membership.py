"""Who belongs to the cluster and who is alive: nodes join here, keep their leases alive, and the map follows.

Two things are kept apart: the cluster map says who is a member, and placement follows from it, so that a missed
keep-alive changes nothing in it; a lease says who is alive. What is done about a node that stays silent is left to
`housekeeping`. What is remembered of nodes for good is `identities`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgpack
import structlog

from common import clock, failpoints
from common.clustermap import ClusterMap, Node
from common.errors import Fenced, HaulError, InvalidRequest, PeerError, Unavailable
from common.lifecycle import TaskScope
from common.metastore.base import (
    ABSENT,
    Compare,
    Delete,
    DeleteEvent,
    Event,
    KeyValue,
    LeaseLost,
    MetaStore,
    Put,
    PutEvent,
    Resync,
    WrongIncarnation,
    delete,
)
from proxy import identities
from proxy.identities import Remembered
from proxy.leadership import check_guard
from proxy.peers import Peers
from proxy.watching import follow

MAP_KEY = "cluster/map"
NODES_PREFIX = "nodes/"
_PUSH_SECONDS = 2.0
_PROBE_SECONDS = 2.0
_STORE_SECONDS = 3.0
"""A node that reports is answered before it gives up waiting; that the store is away is an answer, too."""
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
        self.ttl_seconds = keep_alive_seconds * _MISSED_KEEP_ALIVES + 1.0

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

    def other_proxies(self) -> list[Node]:
        """The proxies that are alive, but for this one."""
        return [node for node in self._map.proxies if node.id in self._online and node.id != self._own.id]

    def first_online_proxy(self) -> str:
        """A living proxy of the map, the same one wherever this is asked; any of the map when none is known to live."""
        known = [node.id for node in self._map.proxies] or [self._own.id]
        return next((node_id for node_id in known if node_id in self._online), known[0])

    async def start(self) -> None:
        """Read the map, join it, and keep following; raises Fenced, and Unavailable when the store does."""
        await self.refresh_online()
        await self.join(self._own)
        self._scope.start("membership map", follow(self._store, MAP_KEY, self._on_map_event))
        self._scope.start("membership nodes", follow(self._store, NODES_PREFIX, self._on_node_event))

    async def stop(self) -> None:
        """Say that this proxy is gone, instead of letting others wait for its lease to expire."""
        try:
            await self.leave(self._own)
        except PeerError as error:
            _log.warning("membership.leave_failed", error=error.message)

    async def keep_alive(self) -> None:
        """Keep this proxy's own lease alive for ever.

        Raises Fenced when it is not the node any more, WrongIncarnation when the meta store is another one.
        """
        while True:
            await asyncio.sleep(self._keep_alive_seconds)
            try:
                await self.join(self._own)
            except (Fenced, WrongIncarnation):
                raise
            except PeerError as error:
                _log.warning("membership.keep_alive_failed", error=error.message)

    async def join(self, node: Node) -> None:
        """A node says that it is alive: its lease starts anew, and the map takes it up when it is new or changed.

        Raises Fenced when that id is another process's, or the data directory is not the node's any more; Unavailable.
        """
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await self._join(node)
        except TimeoutError:
            raise Unavailable("the meta store does not answer", maybe_applied=True) from None

    async def leave(self, node: Node) -> None:
        """A node ends: it is not alive any more, and stays a member. Raises Unavailable."""
        item = await self._store.get(NODES_PREFIX + node.id)
        if item is not None and _unpack_node(item).incarnation == node.incarnation:
            await self._store.transaction((_unchanged(item.key, item),), (Delete(item.key),))

    async def refresh_map(self) -> ClusterMap:
        """Read the map anew; raises Unavailable."""
        item = await self._store.get(MAP_KEY)
        if item is not None:
            self._take_map(item.value)
        return self._map

    async def refresh_online(self) -> None:
        """Look anew who is alive; raises Unavailable."""
        listing = await self._store.list(NODES_PREFIX)
        self._online = {item.key.removeprefix(NODES_PREFIX) for item in listing.items}

    async def remove(self, node_id: str, guard: Compare, *, is_final: bool = False) -> None:
        """Take a node out of the map; `is_final`: its data directory may not come back. For the leader only.

        Raises Fenced when the guard does not hold, Unavailable.
        """
        await self._remember_end(node_id, guard, is_final=is_final)
        if is_final:
            await delete(self._store, NODES_PREFIX + node_id)
        await self._change_map(lambda current: current.without_node(node_id), guard)

    async def set_flags(self, node_id: str, flags: int) -> ClusterMap:
        """Mark a member (maintenance, decommission) or take the marks away.

        Raises InvalidRequest when nothing could be placed any more, Unavailable.
        """

        def change(current: ClusterMap) -> ClusterMap:
            node = current.get(node_id)
            if node is None:
                return current
            changed = current.with_node(replace(node, flags=flags))
            if flags and not changed.candidates:
                raise InvalidRequest(f'target "{node_id}" is the last one that objects can be placed on')
            return changed

        await self._change_map(change)
        return self._map

    async def start_rebalance(self) -> ClusterMap:
        """Have all objects looked for anew, unless that is being done; raises Unavailable."""
        await self._change_map(lambda current: current.unsettled() if current.is_settled else current)
        return self._map

    async def change_map(self, change: Callable[[ClusterMap], ClusterMap], guard: Compare) -> None:
        """Change the map as the leader; raises Fenced when the guard does not hold, Unavailable."""
        await self._change_map(change, guard)

    async def _join(self, node: Node) -> None:
        for _ in range(_ATTEMPTS):
            item = await self._store.get(NODES_PREFIX + node.id)
            known = _unpack_node(item) if item is not None else None
            if item is not None and known == node and await self._renew(item.lease_id):
                break
            if await self._register(node, item, known):
                _log.info("membership.node_online", node=node.id, role=node.role, url=node.url)
                break
        self._online.add(node.id)
        member = self._map.get(node.id)
        if member is None or replace(node, flags=member.flags) != member:
            _, remembered = await self._remembered(node.id)
            if member is None:
                remembered.check(node)
            await self._change_map(lambda current: _with_member(current, node, remembered.flags))

    async def _register(self, node: Node, item: KeyValue | None, known: Node | None) -> bool:
        """Give a node a lease; False when somebody has changed its record meanwhile. Raises Fenced."""
        identity, remembered = await self._remembered(node.id)
        if known is None or known.incarnation != node.incarnation:
            remembered.check(node)
            await self._check_is_only(node, known)
        lease = await self._store.grant(self.ttl_seconds)
        node_key, identity_key = NODES_PREFIX + node.id, identities.PREFIX + node.id
        result = await self._store.transaction(
            (_unchanged(node_key, item), _unchanged(identity_key, identity)),
            (
                Put(node_key, msgpack.packb(node.to_wire()), lease.id),
                Put(identity_key, remembered.started(node).pack()),
            ),
        )
        if not result.succeeded:
            await self._store.revoke(lease.id)
        return result.succeeded

    async def _remembered(self, node_id: str) -> tuple[KeyValue | None, Remembered]:
        item = await self._store.get(identities.PREFIX + node_id)
        return item, Remembered.unpack(None if item is None else item.value)

    async def _remember_end(self, node_id: str, guard: Compare, *, is_final: bool) -> None:
        node = self._map.get(node_id)
        for _ in range(_ATTEMPTS):
            item, remembered = await self._remembered(node_id)
            at_end = replace(
                remembered,
                has_left=remembered.has_left or is_final,
                flags=node.flags if node is not None else remembered.flags,
            )
            if at_end == remembered:
                return
            key = identities.PREFIX + node_id
            result = await self._store.transaction((guard, _unchanged(key, item)), (Put(key, at_end.pack()),))
            if result.succeeded:
                return
            check_guard(result, guard)
        raise Unavailable(f"the record of node {node_id} is changing too fast; try again")

    async def _check_is_only(self, node: Node, known: Node | None) -> None:
        """Raise Fenced when another process of this id answers."""
        if known is not None and known.url != node.url and await self._still_runs(known):
            raise Fenced(
                f"{node.role} {node.id} runs at {known.url} already, and {node.url} is a second one: "
                "every node needs its own id and data directory"
            )

    async def _still_runs(self, node: Node) -> bool:
        try:
            answer = await self._peers.call(node, "/intra/v1/identity", None, _PROBE_SECONDS)
        except HaulError:
            return False
        return bool(answer["incarnation"] == node.incarnation)

    async def _renew(self, lease_id: int | None) -> bool:
        if lease_id is None:
            return False
        try:
            await self._store.keep_alive(lease_id)
        except LeaseLost:
            return False
        return True

    async def _change_map(self, change: Callable[[ClusterMap], ClusterMap], guard: Compare | None = None) -> None:
        for _ in range(_ATTEMPTS):
            item = await self._store.get(MAP_KEY)
            current = _unpack(item.value) if item else ClusterMap(created_ns=clock.unix_ns())
            changed = change(current)
            if changed is current:
                self._take(current)
                return
            compares = (_unchanged(MAP_KEY, item), *((guard,) if guard else ()))
            if guard is not None:
                failpoints.hit("leader.before_map_write")
            result = await self._store.transaction(compares, (Put(MAP_KEY, msgpack.packb(changed.to_wire())),))
            if result.succeeded:
                self._take(changed)
                failpoints.hit("map.before_push")
                self._scope.start("push cluster map", self._push(changed))
                return
            if guard is not None:
                check_guard(result, guard)
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


def _unchanged(key: str, item: KeyValue | None) -> Compare:
    return Compare(key, ABSENT if item is None else item.mod_revision)


def _with_member(current: ClusterMap, node: Node, flags: int) -> ClusterMap:
    """The marks that an operator gave a member outlive its process; a node that was given up has `flags` again."""
    member = current.get(node.id)
    return current.with_node(replace(node, flags=flags if member is None else member.flags))


def _unpack_node(item: KeyValue) -> Node:
    return Node.from_wire(msgpack.unpackb(item.value))


def _unpack(value: bytes) -> ClusterMap:
    return ClusterMap.from_wire(msgpack.unpackb(value))
