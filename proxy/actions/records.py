"""The record of a copy in the meta store, and its life: running, perhaps removing its source, ended; pure.

What is copied is in the order; which objects have been is known by the targets until the end, whose figures are kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgpack

from common.clustermap import ClusterMap
from common.copying import CopyFigures, CopyOrder
from common.errors import InvalidRequest
from common.versions import known_of, unknown_fields, unknown_of, with_unknown

MAX_RECORD_BYTES = 200 << 10
"""The store's limit is not far above; what makes a record large are the names of objects that were asked for."""
MAX_ROUNDS = 6
"""After so many a source that is still being written to is closed all the same, and walked over a last time."""
_MAX_ERROR_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One copy as all proxies know it; `figures` are the targets' last ones, by id, once it has ended.

    `is_removing`: everything has been moved, and the source is on its way out.
    """

    order: CopyOrder
    kind: str
    ended_ns: int = 0
    is_aborted: bool = False
    is_removing: bool = False
    error: str = ""
    figures: Mapping[str, CopyFigures] = field(default_factory=dict, hash=False)
    unknown: Mapping[str, Any] = unknown_fields()

    @property
    def id(self) -> str:
        """What clients call it."""
        return self.order.id

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return not self.ended_ns

    @property
    def broke_off(self) -> bool:
        """Whether it has ended before it was through: by an abort, or by an error that is not one of single objects."""
        return self.is_aborted or (bool(self.error) and self.error != failure_of(self, self.figures))

    def ended(
        self, now_ns: int, figures: Mapping[str, CopyFigures], error: str = "", *, is_aborted: bool = False
    ) -> ActionRecord:
        """It has ended now; an end is never changed, and what has moved everything neither fails nor is aborted."""
        if self.ended_ns or (self.is_removing and (error or is_aborted)):
            return self
        shown = error[:_MAX_ERROR_CHARACTERS]
        return replace(self, ended_ns=now_ns, figures=dict(figures), error=shown, is_aborted=is_aborted)

    def next_round(self) -> ActionRecord:
        """Everything is to be walked over once more."""
        return replace(self, order=replace(self.order, round=self.order.round + 1))

    def closing(self) -> ActionRecord:
        """Everything is to be walked over a last time, while nothing in the source can change."""
        return replace(self, order=replace(self.order, round=self.order.round + 1, is_closing=True))

    def removing(self) -> ActionRecord:
        """Everything has been moved."""
        return replace(self, is_removing=True)

    def pack(self) -> bytes:
        """The msgpack form, compressed; raises InvalidRequest when it is too large."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain["order"] = self.order.to_wire()
        plain["figures"] = {target: figures.to_wire() for target, figures in self.figures.items()}
        packed: bytes = zlib.compress(msgpack.packb(with_unknown(plain)))
        if len(packed) > MAX_RECORD_BYTES:
            raise InvalidRequest(f"{self.kind}: too many names for one request; send fewer, a template or a prefix")
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read `pack`'s form; fields of a newer proxy are only kept."""
        unpacked = msgpack.unpackb(zlib.decompress(packed))
        plain = known_of(cls.__dataclass_fields__, unpacked)
        plain["order"] = CopyOrder.from_wire(plain["order"])
        plain["figures"] = {target: CopyFigures.from_wire(one) for target, one in plain["figures"].items()}
        plain["unknown"] = unknown_of(cls.__dataclass_fields__, unpacked)
        return cls(**plain)


def is_through(record: ActionRecord, cluster_map: ClusterMap, figures: Mapping[str, CopyFigures]) -> bool:
    """Whether every target of a settled map has walked over all that lies there, in the record's round; pure."""
    return cluster_map.is_settled and all(
        (one := figures.get(node.id)) is not None
        and not one.is_running
        and (one.through_round, one.through_version) == (record.order.round, cluster_map.placement_version)
        and (one.through_closed or not record.order.is_closing)
        for node in cluster_map.targets
    )


def failure_of(record: ActionRecord, figures: Mapping[str, CopyFigures]) -> str:
    """What a copy that is through has not done, in words; empty when it has done everything."""
    errors = sum(one.errors for one in figures.values())
    return f"{errors} objects of {record.order.source.cname} could not be copied" if errors else ""
