"""What one rebalance has done at one target, as proxies and operators are told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


@dataclass(slots=True)
class Figures:
    """Of the placement of one version; `ended_ns` 0 while the target is not through.

    `kept` objects were sent or offered and the owner had them already, `failed` counts attempts, `waiting` tells in
    words why it is not through though nothing moves.
    """

    placement_version: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    passes: int = 0
    out_objects: int = 0
    out_bytes: int = 0
    in_objects: int = 0
    in_bytes: int = 0
    kept: int = 0
    damaged: int = 0
    failed: int = 0
    error: str = ""
    waiting: str = ""

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        return asdict(self)


class Moved(NamedTuple):
    """What has gone out and come in."""

    out_objects: int = 0
    out_bytes: int = 0
    in_objects: int = 0
    in_bytes: int = 0


class Tally:
    """The figures of the latest rebalance; each new placement begins anew."""

    def __init__(self) -> None:
        self.figures = Figures()
        self._before = Moved()

    def __repr__(self) -> str:
        return f"<Tally {self.figures}>"

    def begin(self, placement_version: int, now_ns: int) -> Figures:
        """The figures of that placement."""
        if self.figures.placement_version != placement_version:
            self._before = self.totals()
            self.figures = Figures(placement_version, now_ns)
        return self.figures

    def totals(self) -> Moved:
        """What has been moved in all rebalances since the start."""
        now, before = self.figures, self._before
        return Moved(
            before.out_objects + now.out_objects,
            before.out_bytes + now.out_bytes,
            before.in_objects + now.in_objects,
            before.in_bytes + now.in_bytes,
        )
