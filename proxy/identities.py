"""What is remembered of every node for good: its data directory, its latest start, an operator's marks; pure.

So a second process, or a copy of a data directory, is never taken for the node, and a mark outlives even the node's
place in the map. Where the records are kept is left to `membership`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import msgpack

from common.clustermap import Node
from common.errors import Fenced
from common.identity import start_of
from common.versions import unknown_fields, unknown_of, with_unknown

PREFIX = "identities/"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A node as it was last: `flags` are those that it had when it was taken out of the map."""

    data_id: str = ""
    incarnation: int = 0
    has_left: bool = False
    flags: int = 0
    unknown: Mapping[str, Any] = unknown_fields()

    def started(self, node: Node) -> Remembered:
        """The node has started; an empty data directory makes it a new one."""
        if self.data_id != node.data_id:
            return Remembered(node.data_id, node.incarnation)
        return Remembered(node.data_id, node.incarnation, flags=self.flags, unknown=self.unknown)

    def check(self, node: Node) -> None:
        """Raise Fenced when this start cannot follow the one that is remembered."""
        if self.data_id != node.data_id:
            return
        if self.has_left:
            raise Fenced(
                f"{node.role} {node.id} has been decommissioned: start it with an empty data directory to add it"
            )
        if node.incarnation != self.incarnation and start_of(node.incarnation) <= start_of(self.incarnation):
            raise Fenced(
                f"the data directory of {node.role} {node.id} is an old copy: a later state of it has been in use "
                "since; go on with that one"
            )

    def pack(self) -> bytes:
        """The record's value."""
        return bytes(msgpack.packb(with_unknown(asdict(self))))

    @classmethod
    def unpack(cls, value: bytes | None) -> Self:
        """Read a record's value, of a newer proxy's fields nothing is lost; None: nothing is known of the node."""
        plain: dict[str, Any] = {} if value is None else msgpack.unpackb(value)
        return cls(
            str(plain.get("data_id", "")),
            int(plain.get("incarnation", 0)),
            bool(plain.get("has_left", False)),
            int(plain.get("flags", 0)),
            unknown_of(cls.__dataclass_fields__, plain),
        )
