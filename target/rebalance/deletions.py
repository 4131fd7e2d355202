"""What was deleted lately, so that a copy that was on its way here when it was deleted does not bring it back; pure."""

from __future__ import annotations

from collections import OrderedDict

from common.names import Bucket

MAX_KEPT = 65_536


class Deletions:
    """The latest deletions, by name. In memory: what was on its way to a process ends with the process."""

    def __init__(self) -> None:
        self._deleted: OrderedDict[tuple[Bucket, str], int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Deletions {len(self._deleted)}>"

    def note(self, bucket: Bucket, name: str, deleted_ns: int) -> None:
        """Whatever was stored under this name up to then is to be gone."""
        key = bucket, name
        self._deleted[key] = max(deleted_ns, self._deleted.pop(key, 0))
        if len(self._deleted) > MAX_KEPT:
            self._deleted.popitem(last=False)

    def covers(self, bucket: Bucket, name: str, stored_ns: int) -> bool:
        """Whether an object that was stored then has been deleted since."""
        return self._deleted.get((bucket, name), -1) >= stored_ns
