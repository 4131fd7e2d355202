"""Whether what clients saw of one key could have happened one after the other: linearizability, decided by revisions.

The store numbers all versions of the key. So it is enough that nobody saw an older version, and nobody wrote one, after
somebody was told of a newer one; and that what was read at a revision is what was written at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """A call that was answered: from when to when, and the version that it read or wrote."""

    began: float
    ended: float
    revision: int
    value: bytes
    is_write: bool
    replaced: int | None = None
    """Of a compare-and-set: the version that it has replaced."""


def violations(history: Sequence[Seen], unknown: frozenset[bytes] = frozenset()) -> list[str]:
    """What cannot be; `unknown` are values whose writing was not answered. Values are unique."""
    written = {seen.revision: seen for seen in history if seen.is_write}
    found = []
    if len(written) < sum(seen.is_write for seen in history):
        found.append("two writes have made the same version")
    known = {seen.value for seen in written.values()}
    for seen in history:
        if not seen.is_write and seen.value:
            writer = written.get(seen.revision)
            if writer is not None and writer.value != seen.value:
                found.append(f"{seen} was read where {writer} was written")
            if writer is None and (seen.value in known or seen.value not in unknown):
                found.append(f"{seen} was read and never written")
        if seen.replaced is not None:
            between = [revision for revision in written if seen.replaced < revision < seen.revision]
            found += (
                [f"{seen} has replaced version {seen.replaced} though {between} came in between"] if between else []
            )
    return found + _out_of_order(history)


def _out_of_order(history: Sequence[Seen]) -> list[str]:
    """Calls that began after a newer version was told of."""
    found = []
    by_end = sorted(history, key=lambda seen: seen.ended)
    position, newest = 0, -1
    for seen in sorted(history, key=lambda seen: seen.began):
        while position < len(by_end) and by_end[position].ended < seen.began:
            newest = max(newest, by_end[position].revision)
            position += 1
        if seen.revision < newest or (seen.is_write and seen.revision == newest):
            found.append(f"{seen} came after version {newest} was known")
    return found
