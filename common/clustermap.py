"""The cluster map: an immutable, versioned picture of the nodes, its form for peers and AIStore's Smap; pure.

Who joins and who is alive is left to `proxy.membership`; the map changes only when the set of nodes or one of them
does, never with a missed keep-alive, because placement follows from it. While a placement is not settled, objects may
still lie where earlier ones have put them; moving them is left to `target.rebalance`. Source: wire.md §4.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

from common.errors import InvalidRequest, Unavailable
from common.names import Bucket
from common.placement import choose, digest
from common.versions import unknown_fields, unknown_of

PROXY = "proxy"
TARGET = "target"
FLAG_MAINTENANCE = 4
FLAG_DECOMMISSION = 8
FLAG_KEEPS_OBJECTS = 1 << 16
"""Ours: a target in maintenance whose objects stay where they are until it is back."""
_FLAG_IC_MEMBER = 2
_LEAVING = FLAG_MAINTENANCE | FLAG_DECOMMISSION


@dataclass(frozen=True, slots=True)
class Node:
    """One node: `url` is where peers reach it, `public_url` where clients do (empty: the same).

    `incarnation` grows with every start of the process, `data_id` names its data directory (`common.identity`),
    `digest` is what its id is hashed to.
    """

    id: str
    role: str
    url: str
    public_url: str = ""
    incarnation: int = 0
    mountpaths: tuple[str, ...] = ()
    flags: int = 0
    data_id: str = ""
    unknown: Mapping[str, Any] = unknown_fields()
    digest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.role not in (PROXY, TARGET):
            raise InvalidRequest(f'node "{self.id}": role "{self.role}" is neither proxy nor target')
        if not self.id or not self.id.replace("-", "").replace("_", "").isalnum() or not self.id.isascii():
            raise InvalidRequest(f'node id "{self.id}": letters, digits, dashes and underscores only')
        object.__setattr__(self, "digest", digest(self.id))

    @property
    def client_url(self) -> str:
        """Where clients are sent."""
        return self.public_url or self.url

    @property
    def is_leaving(self) -> bool:
        """Nothing new is placed on it."""
        return bool(self.flags & _LEAVING)

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack and JSON."""
        return {
            **self.unknown,
            "id": self.id,
            "role": self.role,
            "url": self.url,
            "public_url": self.public_url,
            "incarnation": self.incarnation,
            "mountpaths": list(self.mountpaths),
            "flags": self.flags,
            "data_id": self.data_id,
        }

    @classmethod
    def from_wire(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_wire`'s form; fields of a newer peer are only kept. Raises InvalidRequest when it is none."""
        try:
            return cls(
                str(plain["id"]),
                str(plain["role"]),
                str(plain["url"]),
                str(plain.get("public_url", "")),
                int(plain.get("incarnation", 0)),
                tuple(str(path) for path in plain.get("mountpaths", ())),
                int(plain.get("flags", 0)),
                str(plain.get("data_id", "")),
                unknown_of(cls.__dataclass_fields__, plain),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"not a node: {type(error).__name__} {error}") from None

    def to_snode(self, *, is_smap_member: bool = True) -> dict[str, Any]:
        """AIStore's Snode; the membership flag shows only inside an Smap, as it does there."""
        parts = urlsplit(self.client_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        net = {"node_ip_addr": parts.hostname or "", "daemon_port": str(port), "direct_url": self.client_url}
        ic_member = _FLAG_IC_MEMBER if self.role == PROXY and is_smap_member else 0
        return {
            "public_net": net,
            "intra_data_net": net,
            "intra_control_net": net,
            "daemon_type": self.role,
            "daemon_id": self.id,
            "flags": self.flags | ic_member,
            "id_digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """All nodes at one version; `created_ns` is when the cluster was made. Use `with_node` to get the next version.

    `placement_version` is the version in which objects were last placed anew. It is settled when `settled_version` has
    reached it: every object lies with its owner then. Until then it may lie where one of the `earlier` placements (ids
    of targets) wants it.
    """

    version: int = 0
    created_ns: int = 0
    nodes: tuple[Node, ...] = ()
    placement_version: int = 0
    settled_version: int = 0
    earlier: tuple[tuple[str, ...], ...] = ()
    unknown: Mapping[str, Any] = unknown_fields()
    targets: tuple[Node, ...] = field(init=False, repr=False, compare=False)
    proxies: tuple[Node, ...] = field(init=False, repr=False, compare=False)
    _candidates: tuple[Node, ...] = field(init=False, repr=False, compare=False)
    _digests: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _earlier_digests: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.nodes, key=lambda node: node.id))
        targets = tuple(node for node in ordered if node.role == TARGET)
        candidates = tuple(node for node in targets if not node.is_leaving)
        for name, value in (
            ("nodes", ordered),
            ("targets", targets),
            ("proxies", tuple(node for node in ordered if node.role == PROXY)),
            ("_candidates", candidates),
            ("_digests", tuple(node.digest for node in candidates)),
            ("_earlier_digests", tuple(tuple(digest(one) for one in placed) for placed in self.earlier)),
        ):
            object.__setattr__(self, name, value)

    @property
    def candidates(self) -> tuple[Node, ...]:
        """The targets that objects are placed on, by id."""
        return self._candidates

    @property
    def placement(self) -> tuple[str, ...]:
        """The ids of the targets that objects are placed on."""
        return tuple(node.id for node in self._candidates)

    @property
    def is_settled(self) -> bool:
        """Whether every object lies with its owner, as far as the cluster can know."""
        return self.settled_version >= self.placement_version

    def get(self, node_id: str) -> Node | None:
        """The node of that id."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def owner(self, bucket: Bucket, name: str) -> Node:
        """The target that an object belongs to; raises Unavailable when there is none."""
        if not self._candidates:
            raise NoTargets
        return self._candidates[choose(digest(bucket.uname + name), self._digests)]

    def holders(self, bucket: Bucket, name: str) -> list[Node]:
        """Where an object may lie: with its owner, then with those that earlier placements gave it to, latest first.

        Those that have left are left out. Raises Unavailable when nothing can be placed.
        """
        found = [self.owner(bucket, name)]
        if self.earlier:
            object_digest = digest(bucket.uname + name)
            for placed, digests in zip(reversed(self.earlier), reversed(self._earlier_digests), strict=True):
                node = self.get(placed[choose(object_digest, digests)])
                if node is not None and node not in found:
                    found.append(node)
        return found

    def with_node(self, node: Node) -> ClusterMap:
        """The map with this node added or replaced, one version later; itself when nothing changes."""
        if self.get(node.id) == node:
            return self
        return self._with_nodes((*(other for other in self.nodes if other.id != node.id), node))

    def without_node(self, node_id: str) -> ClusterMap:
        """The map without this node, one version later; itself when it is not there."""
        others = tuple(other for other in self.nodes if other.id != node_id)
        return self if len(others) == len(self.nodes) else self._with_nodes(others)

    def unsettled(self, placements: Iterable[tuple[str, ...]] = ()) -> ClusterMap:
        """The map, one version later, in which all objects are to be looked for anew, these placements' among them."""
        version = self.version + 1
        earlier = _distinct((*self.earlier, *placements), self.placement)
        return replace(self, version=version, placement_version=version, earlier=earlier)

    def settled(self) -> ClusterMap:
        """The map, one version later, in which every object lies with its owner."""
        return replace(self, version=self.version + 1, settled_version=self.placement_version, earlier=())

    def _with_nodes(self, nodes: tuple[Node, ...]) -> ClusterMap:
        changed = replace(self, version=self.version + 1, nodes=nodes)
        if changed.placement == self.placement:
            return changed
        earlier = _distinct((*self.earlier, self.placement), changed.placement)
        return replace(changed, placement_version=changed.version, earlier=earlier)

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack and JSON."""
        return {
            **self.unknown,
            "version": self.version,
            "created_ns": self.created_ns,
            "nodes": [node.to_wire() for node in self.nodes],
            "placement_version": self.placement_version,
            "settled_version": self.settled_version,
            "earlier": [list(placed) for placed in self.earlier],
        }

    @classmethod
    def from_wire(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_wire`'s form; fields of a newer peer are only kept. Raises InvalidRequest when it is none."""
        try:
            nodes = tuple(Node.from_wire(node) for node in plain["nodes"])
            earlier = tuple(tuple(str(one) for one in placed) for placed in plain.get("earlier", ()))
            placement_version, settled_version = plain.get("placement_version", 0), plain.get("settled_version", 0)
            return cls(
                *(int(plain["version"]), int(plain["created_ns"]), nodes),
                *(int(placement_version), int(settled_version), earlier),
                unknown_of(cls.__dataclass_fields__, plain),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"not a cluster map: {type(error).__name__} {error}") from None

    def to_smap(self, primary_id: str, cluster_id: str) -> dict[str, Any]:
        """AIStore's Smap JSON; clients move to the URL of `primary_id`, so it should be a living proxy."""
        proxies = {node.id: node.to_snode() for node in self.proxies}
        created = datetime.fromtimestamp(self.created_ns // 1_000_000_000, UTC)
        return {
            "pmap": proxies,
            "proxy_si": proxies.get(primary_id),
            "tmap": {node.id: node.to_snode() for node in self.targets},
            "uuid": cluster_id,
            "creation_time": created.strftime("%Y-%m-%d %H:%M:%S"),
            "version": str(self.version),
        }


def _distinct(placements: Iterable[tuple[str, ...]], current: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Each placement once, at its last occurrence, without the current one and those over nobody."""
    latest_first = dict.fromkeys(placed for placed in reversed(tuple(placements)) if placed and placed != current)
    return tuple(reversed(latest_first))


class NoTargets(Unavailable):
    """Nothing can be placed."""

    code = "ErrNoNodes"

    def __init__(self) -> None:
        super().__init__("no storage targets in the cluster")
