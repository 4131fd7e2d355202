"""The objects of a copy's source that lie here, page by page, so that memory does not grow with the bucket.

For threads. What is done with them is left to `share`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from common import bulkplacement
from common.clustermap import ClusterMap
from common.copying import CopyOrder
from common.errors import ObjectNotFound
from common.names import printable
from target.storage.listing import ListEntry
from target.storage.store import Store

_PAGE = 1_000
Page = tuple[list[ListEntry], list[str]]
"""Objects, and the names that were asked for one by one and are not here though they would have to be."""


def pages(store: Store, order: CopyOrder, cluster_map: ClusterMap, own_id: str) -> Iterator[Page]:
    """All that is this target's part by a settled map; raises DiskError, InvalidName."""
    if order.is_selection:
        yield from _selected(store, order, cluster_map, own_id)
        return
    after = ""
    while True:
        entries = store.list_objects(
            order.source,
            order.source_id,
            uuid=f"{order.id}.{order.round}",
            prefix=order.prefix,
            after=after,
            limit=_PAGE,
        )
        yield entries, []
        if len(entries) < _PAGE:
            return
        after = entries[-1].name


def _selected(store: Store, order: CopyOrder, cluster_map: ClusterMap, own_id: str) -> Iterator[Page]:
    names = order.selected()
    candidates = cluster_map.candidates
    digests = [node.digest for node in candidates]
    own = next((index for index, node in enumerate(candidates) if node.id == own_id), -1)
    while batch := list(islice(names, _PAGE)):
        owners = bulkplacement.owners(bulkplacement.digests(order.source.uname, batch), digests)
        ours = [name for name, owner in zip(batch, owners.tolist(), strict=True) if owner == own]
        entries = store.look(order.source, order.source_id, ours)
        found = {entry.name for entry in entries}
        missing = [name for name in ours if name not in found] if order.names else []
        yield entries, missing


def next_page(walk: Iterator[Page]) -> Page | None:
    """The next page, None at the end; raises as `pages` does."""
    return next(walk, None)


def missing_error(order: CopyOrder, name: str) -> ObjectNotFound:
    """What is said of an object that was named and does not exist."""
    return ObjectNotFound(f"{order.source.cname}/{printable(name)} does not exist")
