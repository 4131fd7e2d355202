"""Moves a target's objects to the mountpaths that they belong to; when that is to be done is left to `target.disks`.

A pass looks at every object once. One that lies elsewhere is copied, its checksum compared, and committed like any
other object, but never over something as new as itself; only then does the old copy go. So a reader finds it at every
moment, and a pass that was cut off, by a crash too, is simply made again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import structlog

from common import bulkplacement, clock
from common.errors import BucketNotFound, DiskError
from target.storage import reader
from target.storage.directories import BucketDirectory
from target.storage.faults import Superseded
from target.storage.listing import merged_places
from target.storage.metadata import Damaged
from target.storage.mountpaths import Slot, View
from target.storage.reader import OpenObject
from target.storage.store import Store
from target.storage.writer import Staged

_LOOK_AT_ONCE = 1024
_MOVE_AT_ONCE = 64
_MOVE_BYTES_AT_ONCE = 8 << 20
_READ_BYTES = 1 << 20
_LEAST_BYTES = 16 << 10
"""What the smallest object counts for: a file costs more than its bytes."""
_log = structlog.get_logger("target.resilver")


@dataclass(slots=True)
class Figures:
    """What has been done so far, in all passes of one run; `misplaced` and `failed` of the last pass alone."""

    moved: int = 0
    moved_bytes: int = 0
    misplaced: int = 0
    failed: int = 0
    error: str = ""


class _Move(NamedTuple):
    """An object on its way; without `staged` there is nothing to copy, because its place has it."""

    found: OpenObject
    destination: Slot
    name: str
    staged: Staged | None


class Resilver:
    """One pass at a time, on a thread of the caller's."""

    def __init__(self, store: Store, bytes_per_second: int) -> None:
        self._store = store
        self._bytes_per_second = bytes_per_second
        self._stopping = threading.Event()
        self._free_at = 0.0
        self.moved = self.moved_bytes = 0
        """In all runs since the start."""

    def stop(self) -> None:
        """End the pass under way soon; none follows. Any thread."""
        self._stopping.set()

    def walk(self, view: View, figures: Figures) -> bool:
        """Look at every object, and move what does not belong where it lies; False when the pass was cut off.

        It is when mountpaths have come or gone since `view`. What cannot be moved stays, and is counted.
        """
        figures.misplaced = figures.failed = 0
        figures.error = ""
        newest = self._store.bucket_ids()
        for slot in view.readable:
            for directory in slot.mountpath.buckets():
                if directory.bucket_id != newest.get(directory.bucket):
                    continue  # of a destroyed bucket: not to be brought back
                try:
                    if not self._walk_bucket(view, slot, directory, figures):
                        return False
                except (DiskError, OSError) as error:
                    self._failed(figures, slot, error)
        return not self._is_over(view)

    def _is_over(self, view: View) -> bool:
        return self._stopping.is_set() or self._store.mountpaths.view.placed != view.placed

    def _walk_bucket(self, view: View, slot: Slot, directory: BucketDirectory, figures: Figures) -> bool:
        slot.mountpath.check()
        names = (raw.decode() for raw, _, _ in merged_places([slot.mountpath], [directory], b"", b""))
        while some := list(islice(names, _LOOK_AT_ONCE)):
            digests = bulkplacement.digests(directory.bucket.uname, some)
            owners = bulkplacement.owners(digests, view.digests).tolist() if view.placed else [None] * len(some)
            away = ((name, view.placed[owner]) for name, owner in zip(some, owners, strict=True) if owner is not None)
            misplaced = iter([(name, owner) for name, owner in away if owner is not slot])
            while batch := list(islice(misplaced, _MOVE_AT_ONCE)):
                figures.misplaced += len(batch)
                if self._is_over(view):
                    return False
                self._move(slot, directory, batch, figures)
        slot.mountpath.check()  # else it may have looked empty only because it was not there
        return True

    def _move(self, source: Slot, directory: BucketDirectory, batch: list[tuple[str, Slot]], figures: Figures) -> None:
        moves: list[_Move] = []
        size_bytes = 0
        with contextlib.ExitStack() as opened:
            for name, destination in batch:
                try:
                    move = self._copy(directory, name, destination)
                except BucketNotFound:
                    continue
                except (DiskError, OSError, Damaged) as error:
                    self._failed(figures, source, error)
                    continue
                if move is None:
                    continue
                opened.callback(move.found.close)
                moves.append(move)
                size_bytes += move.found.size
                if size_bytes >= _MOVE_BYTES_AT_ONCE:
                    self._finish(source, directory, moves, figures)
                    moves, size_bytes = [], 0
            self._finish(source, directory, moves, figures)

    def _copy(self, directory: BucketDirectory, name: str, destination: Slot) -> _Move | None:
        """Bring an object's bytes to where it belongs; None when it is gone. Raises DiskError, OSError, Damaged."""
        found = reader.find(directory, name)
        if found is None:
            return None
        try:
            return _Move(found, destination, name, self._stage(directory, name, destination, found))
        except BaseException:
            found.close()
            raise

    def _stage(self, directory: BucketDirectory, name: str, destination: Slot, found: OpenObject) -> Staged | None:
        there = destination.mountpath.stored_metadata(directory.bucket, directory.bucket_id, name)
        if there is not None and there.stored_ns >= found.metadata.stored_ns:
            return None
        with destination.mountpath.writer(directory.bucket, directory.bucket_id, name, found.size) as writer:
            while writer.size < found.size:
                data = found.read(writer.size, _READ_BYTES)
                writer.write(data)
                self._pace(len(data))
            self._pace(max(0, _LEAST_BYTES - found.size))
            if writer.checksum != found.metadata.checksum:
                raise Damaged("its bytes are not those of its checksum")
            staged = writer.finish(found.metadata._replace(name=""))
        staged.is_moved = True
        return staged

    def _finish(self, source: Slot, directory: BucketDirectory, moves: list[_Move], figures: Figures) -> None:
        """Make the copies objects, then remove what they were made of."""
        if not moves:
            return
        bucket = directory.bucket
        arrived: list[_Move] = []
        with self._store.holding(bucket, *(move.name for move in moves)):
            for destination, group in _by_destination(moves):
                present = [move for move in group if reader.is_at(directory, move.found.path, move.found)]
                for move in group:
                    if move not in present and move.staged is not None:
                        move.staged.discard()  # deleted or replaced meanwhile
                failed = destination.committer.commit([move.staged for move in present if move.staged is not None])
                for move in present:
                    error = failed.get(move.staged) if move.staged is not None else None
                    if error is None or isinstance(error, Superseded):
                        arrived.append(move)
                    else:
                        self._failed(figures, source, error)
        with self._store.removing_moved(), source.committer.held():
            for move in arrived:
                reader.remove_same(directory, move.found.path, move.found)
        size_bytes = sum(move.found.size for move in arrived)
        figures.moved += len(arrived)
        figures.moved_bytes += size_bytes
        self.moved += len(arrived)
        self.moved_bytes += size_bytes

    def _pace(self, size_bytes: int) -> None:
        """Wait as long as the limit wants for so many bytes."""
        now = clock.monotonic()
        self._free_at = max(now - 0.1, self._free_at) + size_bytes / self._bytes_per_second
        if self._free_at > now:
            self._stopping.wait(self._free_at - now)

    def _failed(self, figures: Figures, source: Slot, error: Exception) -> None:
        figures.misplaced += 1
        figures.failed += 1
        text = source.mountpath.error(error).message if isinstance(error, OSError) else str(error)
        if text != figures.error:
            _log.warning("resilver.not_moved", mountpath=source.mountpath.id, error=text)
        figures.error = text


def _by_destination(moves: list[_Move]) -> Iterator[tuple[Slot, list[_Move]]]:
    groups: dict[Slot, list[_Move]] = {}
    for move in moves:
        groups.setdefault(move.destination, []).append(move)
    yield from groups.items()
