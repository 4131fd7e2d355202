"""What proxies ask of a target: shares of jobs, pages of listings, buckets, the cluster map. msgpack over plain ASGI.

What the requests mean is left to `target.downloads` and `target.storage`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

from common import web
from common.epochs import Epoch, EpochGate
from common.errors import InvalidRequest, MethodNotAllowed, ObjectNotFound, RequestError
from common.names import Bucket, validate_key
from common.shares import JobSpec, TaskSpec
from target.api.mountpaths import listed, snaps
from target.api.multipart import Multipart
from target.archives.listing import ArchiveListing
from target.disks import Disks
from target.downloads.budgets import Budgets
from target.downloads.copies import Copies
from target.downloads.holds import Holds
from target.downloads.ledger import Ledger
from target.downloads.service import Downloads
from target.downloads.story import Story
from target.downloads.survey import Surveyor
from target.membership import Membership
from target.rebalance.neighbours import Neighbours
from target.storage.incoming import in_thread
from target.storage.listing import ListEntry
from target.storage.store import Store

_ARCHIVE_LISTINGS = 4
"""Pages that look into archives at the same time; each may read some of them as a whole."""
_MOST_UPLOADS = 1000
"""In one answer."""
_DELETIONS = 8
"""How many of one message are under way at once."""
_ALWAYS_TOLD = 8
"""So many of a `ListEntry`'s fields every listing has."""
_TOLD_IF_ASKED = {"sources": ListEntry._fields.index("source"), "etags": ListEntry._fields.index("etag")}
_MAX_BODY_BYTES = 64 * 1024 * 1024
PREFIX = "/intra/v1/"

Handler = Callable[[list[str], Mapping[str, str], Any], Awaitable[object]]


class ShareNotFound(RequestError):
    """Neither such a share nor a whole copy of it is here."""

    code = "ErrNotFound"
    status = 404


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a target that others may ask something of."""

    downloads: Downloads
    stories: Story
    ledgers: Ledger
    budgets: Budgets
    holds: Holds
    surveyor: Surveyor
    copies: Copies
    store: Store
    archives: ArchiveListing
    membership: Membership
    epochs: EpochGate
    disks: Disks
    neighbours: Neighbours
    multipart: Multipart


class IntraApi:
    """Dispatches `POST /intra/v1/…`."""

    def __init__(self, parts: Parts) -> None:
        self._downloads = parts.downloads
        self._stories = parts.stories
        self._ledgers = parts.ledgers
        self._budgets = parts.budgets
        self._holds = parts.holds
        self._surveyor = parts.surveyor
        self._copies = parts.copies
        self._store = parts.store
        self._archives = parts.archives
        self._archive_threads = ThreadPoolExecutor(_ARCHIVE_LISTINGS, thread_name_prefix="archives-listed")
        self._membership = parts.membership
        self._epochs = parts.epochs
        self._disks = parts.disks
        self._neighbours = parts.neighbours
        self._multipart = parts.multipart

    async def __call__(self, scope: web.Scope, receive: web.Receive, send: web.Send) -> None:
        if scope["method"] != "POST":
            raise MethodNotAllowed("POST")
        path = scope["path"].removeprefix(PREFIX).split("/")
        handler = self._handler(path)
        value_of = partial(handler, path, web.query_of(scope))
        await web.answer_call(scope, receive, send, _MAX_BODY_BYTES, value_of)

    def _handler(self, path: list[str]) -> Handler:
        routes: dict[tuple[str, ...], Handler] = {
            ("shares", "batches"): self._accept,
            ("shares", "copies"): self._accept_copy,
            ("shares", "list"): self._share_list,
            ("shares", "known"): self._known,
            ("shares", "uncopy"): self._uncopy,
            ("identity",): self._identity,
            ("holdings",): self._holdings,
            ("shares", "status"): self._status,
            ("shares", "start"): self._act,
            ("shares", "drop"): self._act,
            ("shares", "abort"): self._act,
            ("shares", "remove"): self._act,
            ("shares", "pause"): self._change,
            ("shares", "resume"): self._change,
            ("shares", "story"): self._story,
            ("shares", "ledger"): self._ledger,
            ("shares", "lease"): self._lease,
            ("hosts", "lease"): self._lease,
            ("hosts", "hold"): self._hold,
            ("shares", "survey"): self._survey,
            ("objects", "list"): self._list,
            ("objects", "look"): self._look,
            ("objects", "read"): self._read,
            ("objects", "remove"): self._remove,
            ("objects", "delete"): self._delete,
            ("uploads", "list"): self._uploads,
            ("mountpaths",): self._mountpaths,
            ("buckets",): self._buckets,
            ("buckets", "destroy"): self._destroy_bucket,
            ("clustermap",): self._cluster_map,
        }
        key = (path[0], path[2]) if len(path) > 2 else tuple(path)
        if key not in routes:
            raise InvalidRequest(f"no such intra-cluster call: {'/'.join(path)}")
        return routes[key]

    async def _accept(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        tasks, spec = self._batch(body)
        await self._downloads.accept(spec, int(path[3]), tasks, last=query.get("last") == "1")

    def _batch(self, body: Any) -> tuple[list[TaskSpec], JobSpec]:
        """A batch and its spec; one that takes over what others held must come from the latest leader."""
        if body.get("epoch") is not None:
            self._epochs.check(Epoch.from_wire(body["epoch"]))
        return [TaskSpec.from_plain(task) for task in body["tasks"]], JobSpec.unpack(body["spec"])

    async def _accept_copy(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        tasks, spec = self._batch(body)
        await self._copies.add(spec, path[3], int(path[4]), tasks, last=query.get("last") == "1")

    async def _share_list(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        """One batch of a share's list, by who holds the share or by who keeps the copy."""
        share_id, holder, seq = path[1], body["holder"], int(body["seq"])
        if holder == self._membership.node.id:
            part = await self._downloads.read_list(share_id, seq)
        else:
            part = await self._copies.read(share_id, holder, seq)
        if part is None:
            raise ShareNotFound(f'share "{share_id}" of {holder} is not known here')
        return {"spec": part.spec.pack(), "tasks": part.tasks, "is_last": part.is_last}

    async def _known(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        copies = set(await self._copies.kept()) if body["copies"] else set()
        return {
            "shares": [share_id for share_id in body["shares"] if self._downloads.find(share_id) is not None],
            "copies": [[share_id, holder] for share_id, holder in body["copies"] if (share_id, holder) in copies],
        }

    async def _uncopy(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        await self._copies.forget((path[1], holder) for holder in body["holders"])

    async def _identity(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        node = self._membership.node
        return {"id": node.id, "incarnation": node.incarnation, "refused_epochs": self._epochs.refused}

    async def _holdings(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        return {
            "shares": len(self._downloads.running()) + len(self._downloads.undecided()),
            "is_empty": await asyncio.to_thread(self._store.is_empty),
        }

    async def _mountpaths(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        return {"mountpaths": listed(self._store.mountpaths.states()), "resilver": snaps(self._disks.last_run)}

    async def _act(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        _, share_id, action = path
        actions = {
            "start": self._downloads.start_share,
            "drop": self._downloads.drop,
            "abort": self._downloads.abort,
            "remove": self._downloads.remove,
        }
        await actions[action](share_id)

    async def _change(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        _, share_id, action = path
        change = self._downloads.pause if action == "pause" else self._downloads.resume
        await change(share_id, int(body["change"]))

    async def _status(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        shares = await self._downloads.status(
            body["ids"], tasks=body.get("tasks", False), limit=body.get("limit", 1000), after=body.get("after", -1)
        )
        return {"shares": [share.to_wire() for share in shares]}

    async def _story(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        share = self._downloads.find(path[1])
        return {"lines": [] if share is None else await asyncio.to_thread(self._stories.read, share)}

    async def _ledger(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        share = self._downloads.find(path[1])
        if share is None:
            return {"lines": [], "cursor": None}
        lines, cursor = await asyncio.to_thread(
            self._ledgers.page, share, int(body["cursor"]), failed_only=bool(body["failed_only"])
        )
        return {"lines": lines, "cursor": cursor}

    async def _survey(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        spec, tasks = JobSpec.unpack(body["spec"]), [TaskSpec.from_plain(task) for task in body["tasks"]]
        return (await asyncio.to_thread(self._surveyor.survey, spec, tasks, int(body["ask"]))).to_wire()

    async def _lease(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        return self._budgets.ask(path[1], body)

    async def _hold(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        self._holds.take(body)

    async def _list(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        placement_version = self._membership.cluster_map.placement_version
        if body.get("archives"):
            asked = (body["bucket_id"], body["uuid"], body["prefix"], body["after"], body["limit"])
            listing = partial(self._archives.page, Bucket.from_uname(body["bucket"]), *asked)
            page = await in_thread(listing, self._archive_threads)
            return {
                "entries": [entry[:_ALWAYS_TOLD] for entry in page.entries],
                "flags": page.flags,
                "has_more": page.has_more,
                "placement_version": placement_version,
            }
        entries = await asyncio.to_thread(
            self._store.list_objects,
            Bucket.from_uname(body["bucket"]),
            body["bucket_id"],
            uuid=body["uuid"],
            prefix=body["prefix"],
            after=body["after"],
            limit=body["limit"],
        )
        columns = [column for name, column in _TOLD_IF_ASKED.items() if body.get(name)]
        told = list(map(itemgetter(*range(_ALWAYS_TOLD), *columns), entries))
        return {"entries": told, "placement_version": placement_version}

    async def _look(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        bucket, bucket_id = Bucket.from_uname(body["bucket"]), int(body["bucket_id"])
        placement_version = self._membership.cluster_map.placement_version
        entries = await asyncio.to_thread(self._store.look, bucket, bucket_id, body["names"])
        told = entries if body.get("complete") else [entry[:_ALWAYS_TOLD] for entry in entries]
        return {"entries": told, "placement_version": placement_version}

    async def _read(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        return await asyncio.to_thread(
            self._read_piece, Bucket.from_uname(body["bucket"]), body["name"], body["offset"], body["limit"]
        )

    def _read_piece(self, bucket: Bucket, name: str, offset: int, limit: int) -> object:
        found, mountpath = self._store.open(bucket, name)
        with found:
            try:
                data = found.read(offset, min(limit, max(0, found.size - offset)))
            except OSError as error:
                raise mountpath.error(error) from None
        return {"data": data, "size": found.size, "checksum": found.metadata.checksum}

    async def _remove(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        with contextlib.suppress(ObjectNotFound):
            await asyncio.to_thread(self._store.delete, Bucket.from_uname(body["bucket"]), body["name"])

    async def _delete(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        """Delete objects, wherever else they may lie, too; those that are nowhere are passed over."""
        bucket, bucket_id = Bucket.from_uname(body["bucket"]), int(body["bucket_id"])
        room = asyncio.Semaphore(_DELETIONS)

        async def delete(name: str) -> int:
            async with room:
                with contextlib.suppress(ObjectNotFound):
                    await self._neighbours.delete(bucket, validate_key(name), bucket_id)
                    return 1
            return 0

        return {"deleted": sum(await asyncio.gather(*(delete(name) for name in body["names"])))}

    async def _uploads(self, path: list[str], query: Mapping[str, str], body: Any) -> object:
        """A page of the uploads in parts of a bucket that are in progress here; without a limit all of them."""
        marker = str(body.get("name_after", "")), str(body.get("upload_id_after", ""))
        uploads, has_more = await self._multipart.in_progress(
            *(Bucket.from_uname(body["bucket"]), int(body["bucket_id"]), str(body.get("prefix", "")), marker),
            limit=min(int(body["limit"]), _MOST_UPLOADS) if "limit" in body else sys.maxsize - 1,
        )
        return {"uploads": uploads, "has_more": has_more}

    async def _destroy_bucket(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        bucket = Bucket.from_uname(body["bucket"])
        await asyncio.to_thread(self._store.destroy_bucket, bucket, body["bucket_id"])
        if self._membership.bucket_id(bucket) is None:
            self._membership.gates.forget(bucket)

    async def _buckets(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        await self._membership.apply_buckets(body)

    async def _cluster_map(self, path: list[str], query: Mapping[str, str], body: Any) -> None:
        self._membership.apply_cluster_map(body)
