"""Epochs: which of two leaders is the later one, so that what the earlier one says late can be refused.

An epoch is the meta store's history and the revision at which the leader's key was made in it. Where a node keeps the
highest that it has seen is decided by who builds an `EpochGate`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from common.errors import DiskFailure, Fenced, InvalidRequest
from common.identity import write_durably


@dataclass(frozen=True, slots=True)
class Epoch:
    """`number` grows with every leader within one `history` of a meta store."""

    history: str
    number: int

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack and JSON."""
        return {"history": self.history, "number": self.number}

    @classmethod
    def from_wire(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_wire`'s form; raises InvalidRequest when it is none."""
        try:
            return cls(str(plain["history"]), int(plain["number"]))
        except (KeyError, TypeError, ValueError):
            raise InvalidRequest("not an epoch") from None


class EpochGate:
    """Lets pass what comes from the latest leader; the highest epoch seen is in a file, durably. Any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._highest: Epoch | None = None
        self.refused = 0
        """How many messages of earlier leaders have come since the start."""

    def start(self) -> None:
        """Read what was seen before; raises DiskFailure."""
        try:
            self._highest = Epoch.from_wire(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            self._highest = None
        except (OSError, ValueError, InvalidRequest) as error:
            raise DiskFailure(f"the highest epoch seen cannot be read ({type(error).__name__})") from None

    def check(self, epoch: Epoch) -> None:
        """Take note of an epoch; raises Fenced when a later one, or another history, was seen; DiskFailure."""
        with self._lock:
            highest = self._highest
            if highest == epoch:
                return
            if highest is not None and (epoch.history != highest.history or epoch.number < highest.number):
                self.refused += 1
                why = "another meta store" if epoch.history != highest.history else f"epoch {highest.number} leads"
                raise Fenced(f"epoch {epoch.number} is refused: {why}")
            try:
                write_durably(self._path, json.dumps(epoch.to_wire()))
            except OSError as error:
                raise DiskFailure(f"the epoch cannot be recorded: {error.strerror}") from None
            self._highest = epoch
