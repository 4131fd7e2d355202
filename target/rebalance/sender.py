"""Sends objects to their owners, and lets go of them once the owner has answered that they are durable there.

A copy is kept for a while after that, because a listing may have looked at the owner before the object came and look
here only now. Whatever happened to its name meanwhile, and whichever placement is in force by then, is looked at again
before it goes. Which objects are sent is decided by `mover`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import structlog

from common import clock, failpoints
from common.errors import BucketNotFound, DiskError, HaulError, ObjectNotFound
from common.names import Bucket, printable
from common.nodeclient import NodeClient, RemoteError
from target.membership import Membership
from target.rebalance import messages
from target.rebalance.bodies import body_of, handed_over
from target.rebalance.figures import Tally
from target.rebalance.locks import NameLocks
from target.rebalance.messages import Arrival
from target.rebalance.pace import Pace
from target.rebalance.receiver import OtherPlacement
from target.rebalance.walk import Foreign
from target.storage import reader
from target.storage.metadata import Damaged, ObjectMetadata
from target.storage.mountpath import Durability
from target.storage.reader import OpenObject
from target.storage.store import Store

_PATHS = messages.OFFER_PATH, messages.OBJECT_PATH
_log = structlog.get_logger("target.rebalance")


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A copy that the owner's answer has made superfluous, by the placement of this version."""

    foreign: Foreign
    metadata: ObjectMetadata
    placement_version: int
    due_at: float


class Sender:
    """What is on its way from here, and what is about to go."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        client: NodeClient,
        locks: NameLocks,
        tally: Tally,
        pace: Pace,
        keep_seconds: float,
    ) -> None:
        """A copy is kept for `keep_seconds` after the owner has answered."""
        self._store = store
        self._membership = membership
        self._client = client
        self._locks = locks
        self._tally = tally
        self._pace = pace
        self._keep_seconds = keep_seconds
        self._sending: dict[tuple[Bucket, str], asyncio.Task[object]] = {}
        self._leaving: deque[_Leaving] = deque()

    def __repr__(self) -> str:
        return f"<Sender: {len(self._sending)} on their way, {len(self._leaving)} leaving>"

    async def move(self, foreign: Foreign, placement_version: int) -> bool:
        """Send an object to its owner by that placement; False when it must be tried again."""
        key = foreign.directory.bucket, foreign.name
        task = asyncio.current_task()
        assert task is not None
        self._sending[key] = task
        try:
            return await self._move(foreign, placement_version)
        except RemoteError as error:
            if error.code == OtherPlacement.code:
                await self._membership.refresh()
            elif error.code != BucketNotFound.code:
                self._failed(foreign, error)
            return False
        except HaulError as error:
            self._failed(foreign, error)
            return False
        finally:
            if self._sending.get(key) is task:
                del self._sending[key]

    async def deliver(self, bucket: Bucket, name: str) -> bool:
        """Send an object that lies here to its owner, which is another; False when that must be tried again."""
        cluster_map = self._membership.cluster_map
        owner = cluster_map.owner(bucket, name)
        for slot in self._store.mountpaths.view.readable:
            directory = slot.mountpath.bucket(bucket)
            if directory is None:
                continue
            async with asyncio.TaskGroup() as group:  # a task of its own: a deletion cancels it, and not the caller
                foreign = Foreign(slot, directory, name, owner)
                moving = group.create_task(self.move(foreign, cluster_map.placement_version))
            if not moving.cancelled() and not moving.result():
                return False
        return True

    async def drop(self, bucket: Bucket, name: str, bucket_id: int | None) -> int | None:
        """The owner deletes an object: stop sending it, remove it; returns when it was stored, None if it is not here.

        Raises DiskError.
        """
        task = self._sending.get((bucket, name))
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        async with self._locks.held(bucket, name):
            return await asyncio.to_thread(self._delete, bucket, name, bucket_id)

    def _delete(self, bucket: Bucket, name: str, bucket_id: int | None) -> int | None:
        try:
            stored_ns = self._store.head(bucket, name, bucket_id)[0].stored_ns
        except ObjectNotFound:
            stored_ns = 0
        try:
            self._store.delete(bucket, name, bucket_id)
        except ObjectNotFound:
            return None
        return stored_ns

    async def let_go(self, *, wait: bool = False) -> bool:
        """Remove the copies whose time has come, or with `wait` all; False when one of them must be sent again."""
        all_went = True
        while self._leaving:
            left_seconds = self._leaving[0].due_at - clock.monotonic()
            if self._leaving[0].placement_version != self._membership.cluster_map.placement_version:
                left_seconds = 0.0
            if left_seconds > 0 and not wait:
                break
            if left_seconds > 0:
                await asyncio.sleep(left_seconds)
            all_went = await self._remove(self._leaving.popleft()) and all_went
        return all_went

    async def _move(self, foreign: Foreign, placement_version: int) -> bool:
        figures = self._tally.figures
        bucket, name = foreign.directory.bucket, foreign.name
        try:
            found = await asyncio.to_thread(reader.find, foreign.directory, name)
        except Damaged as error:
            figures.damaged += 1
            figures.error = f"{bucket.cname}/{printable(name)} is damaged and stays where it is: {error}"
            return True
        except OSError as error:
            raise foreign.slot.mountpath.error(error) from None
        if found is None:
            return True
        with found:
            arrival = Arrival(placement_version, bucket, foreign.directory.bucket_id, name, found.metadata)
            body = self._body(foreign, arrival, found)
            outcome = await handed_over(self._client, foreign.owner.url, _PATHS, arrival, body)
        failpoints.hit("rebalance.acknowledged")
        if outcome == messages.STORED:
            figures.out_objects += 1
            figures.out_bytes += found.size
        else:
            figures.kept += 1
        keep_seconds = 0.0 if outcome == messages.DELETED else self._keep_seconds
        leaving = _Leaving(foreign, found.metadata, placement_version, clock.monotonic() + keep_seconds)
        if keep_seconds:
            self._leaving.append(leaving)
            return True
        return await self._remove(leaving)

    async def _body(self, foreign: Foreign, arrival: Arrival, found: OpenObject) -> AsyncIterator[bytes]:
        async for chunk in body_of(arrival, found, foreign.slot.mountpath):
            await self._pace.wait(len(chunk))
            yield chunk
            failpoints.hit("rebalance.sent_chunk")

    async def _remove(self, leaving: _Leaving) -> bool:
        bucket, name = leaving.foreign.directory.bucket, leaving.foreign.name
        async with self._locks.held(bucket, name):
            # By another placement it may belong here again, or the owner that answered may be sending it on.
            if self._membership.cluster_map.placement_version != leaving.placement_version:
                return False
            try:
                return await asyncio.to_thread(partial(self._remove_unchanged, leaving))
            except DiskError as error:
                self._failed(leaving.foreign, error)
                return False

    def _remove_unchanged(self, leaving: _Leaving) -> bool:
        """Remove the copy; False when something else has been stored under its name since it was sent."""
        slot, directory, name, _ = leaving.foreign
        mountpath = slot.mountpath
        durable = mountpath.durability is Durability.POWER_LOSS
        try:
            with self._store.holding(directory.bucket, name), slot.committer.held():
                found = reader.find(directory, name)
                if found is None:
                    return True
                found.close()
                return found.metadata == leaving.metadata and reader.remove(directory, name, durable=durable)
        except Damaged:
            return True
        except OSError as error:
            raise mountpath.error(error) from None

    def _failed(self, foreign: Foreign, error: HaulError) -> None:
        figures = self._tally.figures
        figures.failed += 1
        figures.error = error.message
        _log.warning("rebalance.not_moved", object=printable(foreign.name), to=foreign.owner.id, error=error.message)
