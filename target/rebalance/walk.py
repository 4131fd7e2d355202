"""Finds what lies here and belongs to another target: all objects of all mountpaths, placed by the cluster map.

It reads directories, and nothing of the objects. What is done with them is left to `mover`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from common import bulkplacement
from common.clustermap import ClusterMap, Node
from target.storage.directories import BucketDirectory
from target.storage.listing import merged_places
from target.storage.mountpaths import Slot

BATCH_NAMES = 1024


class Foreign(NamedTuple):
    """An object, where it lies, and the target that it belongs to."""

    slot: Slot
    directory: BucketDirectory
    name: str
    owner: Node


def owned_by_others(names: Sequence[str], uname: str, cluster_map: ClusterMap, own_id: str) -> list[tuple[str, Node]]:
    """Those of a bucket's objects that the map gives to other targets, with these; pure."""
    candidates = cluster_map.candidates
    if not candidates or not names:
        return []
    owners = bulkplacement.owners(bulkplacement.digests(uname, names), [node.digest for node in candidates])
    own = next((index for index, node in enumerate(candidates) if node.id == own_id), -1)
    return [(names[place], candidates[owners[place]]) for place in np.flatnonzero(owners != own).tolist()]


def foreign_objects(slots: Sequence[Slot], cluster_map: ClusterMap, own_id: str) -> Iterator[list[Foreign]]:
    """What is others', batch by batch; batches may be empty. For a thread; raises DiskError."""
    for slot in slots:
        for directory in slot.mountpath.buckets():
            yield from _in_bucket(slot, directory, cluster_map, own_id)


def _in_bucket(slot: Slot, directory: BucketDirectory, cluster_map: ClusterMap, own_id: str) -> Iterator[list[Foreign]]:
    mountpath = slot.mountpath
    places = merged_places([mountpath], [directory], b"", b"")
    while True:
        try:
            batch = list(islice(places, BATCH_NAMES))
        except OSError as error:
            raise mountpath.error(error) from None
        # A disk that has been unmounted looks like an empty one.
        mountpath.check()
        if not batch:
            return
        names = [raw.decode() for raw, _, _ in batch]
        foreign = owned_by_others(names, directory.bucket.uname, cluster_map, own_id)
        yield [Foreign(slot, directory, name, owner) for name, owner in foreign]


def next_batch(batches: Iterator[list[Foreign]]) -> list[Foreign] | None:
    """The next batch, None at the end; raises DiskError."""
    return next(batches, None)
