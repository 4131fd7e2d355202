"""The tasks of a share in the order of their positions, piece by piece: read from the journal, or expanded.

A cursor is where the next piece begins: a position of the template, or the number of a batch. What is done with the
tasks is left to `feeder` and `ledger`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from common.shares import TaskSpec
from target.downloads import journal as records
from target.downloads.expansion import Expansion
from target.downloads.journal import Journal
from target.downloads.share import Share

CHUNK_NAMES = 4096


class Piece(NamedTuple):
    """Some tasks, whose positions are in [begin, end); `cursor` is where the next piece begins."""

    tasks: Sequence[TaskSpec]
    begin: int
    end: int
    cursor: int
    is_last: bool


class TaskLists:
    """Pieces of all shares' lists; used by one thread."""

    def __init__(self, target_id: str, journal: Journal) -> None:
        self._target_id = target_id
        self._journal = journal
        self._expansions: dict[str, Expansion] = {}

    def piece(self, share: Share, cursor: int) -> Piece:
        """The piece at a cursor; it may be empty. Raises DiskError."""
        return self._expanded(share, cursor) if share.spec.template else self._read(share, cursor)

    def forget(self, share: Share) -> None:
        """No more pieces of this share will be wanted."""
        self._expansions.pop(share.id, None)

    def _expanded(self, share: Share, begin: int) -> Piece:
        expansion = self._expansions.get(share.id)
        if expansion is None:
            expansion = self._expansions[share.id] = Expansion(share.spec, self._target_id)
        end = min(begin + CHUNK_NAMES, expansion.count)
        return Piece(expansion.own_tasks(begin, end), begin, end, end, end == expansion.count)

    def _read(self, share: Share, seq: int) -> Piece:
        is_sealed, next_batch = share.sealed, share.next_batch
        if seq >= next_batch:
            return Piece((), 0, 0, seq, is_sealed)
        tasks = self._journal.call(lambda connection: records.read_batch(connection, share.number, seq))
        begin, end = (tasks[0].position, tasks[-1].position + 1) if tasks else (0, 0)
        return Piece(tasks, begin, end, seq + 1, is_sealed and seq + 1 >= next_batch)
