"""What proxy and target tell each other about copying objects from bucket to bucket: the order, and the figures; pure.

A target's share of a copy is what lies there of the source. Carrying it out is left to `target.actions`, giving orders
and writing down how it ended to `proxy.actions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import msgpack

from common.names import Bucket, validate_key
from common.template import parse_template
from common.versions import known_of

DEFAULT_WORKERS = 8
MAX_WORKERS = 16


@dataclass(frozen=True, slots=True)
class CopyOrder:
    """Objects of one incarnation of a bucket, to be copied into one of another.

    Which ones: those of `names`, those that `template` gives, or else all that begin with `prefix`. What is stored
    under a copy's name since `started_ns` stays. A move keeps times and versions, and replaces what is older. With
    `dry_run` objects are only counted; with `keeps_going` one that cannot be copied does not end the whole. In each
    `round` everything is walked over anew; when it `is_closing` the source cannot change, and it is the last.
    `extensions` maps file name extensions to those that replace them.
    """

    id: str
    source: Bucket
    source_id: int
    destination: Bucket
    destination_id: int
    started_ns: int
    prefix: str = ""
    prepend: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)
    names: tuple[str, ...] = ()
    template: str = ""
    dry_run: bool = False
    keeps_going: bool = False
    is_move: bool = False
    is_closing: bool = False
    workers: int = DEFAULT_WORKERS
    round: int = 0

    @property
    def is_selection(self) -> bool:
        """Whether it names objects, instead of all of them."""
        return bool(self.names or self.template)

    def selected(self) -> Iterator[str]:
        """The names of a selection; raises InvalidName for one that the template gives and no object can have."""
        if self.names:
            yield from self.names
        elif self.template:
            for name in parse_template(self.template).expand():
                yield validate_key(name)

    def name_of(self, name: str) -> str:
        """What the copy of an object is called; raises InvalidName."""
        stem, dot, extension = name.rpartition(".")
        if dot and "/" not in extension and extension in self.extensions:
            name = f"{stem}.{self.extensions[extension]}"
        return validate_key(self.prepend + name)

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {
            "source": self.source.uname,
            "destination": self.destination.uname,
            "names": list(self.names),
            "extensions": dict(self.extensions),
        }

    @classmethod
    def from_wire(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_wire`'s form; fields of a newer peer are ignored. Raises KeyError, TypeError, InvalidRequest."""
        known = known_of(cls.__dataclass_fields__, plain)
        known["source"], known["destination"] = (Bucket.from_uname(plain[name]) for name in ("source", "destination"))
        known["names"] = tuple(plain.get("names", ()))
        return cls(**known)


@dataclass(slots=True)
class CopyFigures:
    """What one target has done of a copy: `objects` that it has copied, of which `out_objects` went to other targets.

    `kept` were there already. `through_round` and `through_version` tell the last round that has come to its end, and
    by which placement; -1 before; `through_closed`: nothing in the source could change in it. `copied_in_round` counts
    what was new in it. `error` ends it, unless it keeps going.
    """

    started_ns: int = 0
    ended_ns: int = 0
    objects: int = 0
    copied_bytes: int = 0
    kept: int = 0
    errors: int = 0
    out_objects: int = 0
    out_bytes: int = 0
    in_objects: int = 0
    in_bytes: int = 0
    error: str = ""
    waiting: str = ""
    through_round: int = -1
    through_version: int = -1
    through_closed: bool = False
    copied_in_round: int = 0
    is_running: bool = False

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        return asdict(self)

    @classmethod
    def from_wire(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_wire`'s form; fields of a newer peer are ignored."""
        return cls(**known_of(cls.__dataclass_fields__, plain))

    def pack(self) -> bytes:
        """The msgpack form."""
        packed: bytes = msgpack.packb(self.to_wire())
        return packed
