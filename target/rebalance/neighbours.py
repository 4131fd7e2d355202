"""Where else an object may be while objects move: reads are answered through whoever has it, deletions reach everybody.

An object that its owner has not got yet lies where one of the earlier placements of the cluster map wants it. And a
client, or a proxy, may have come here by a map that is not the latest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from common import clock, web
from common.access import Permission
from common.clustermap import Node, NoTargets
from common.errors import DiskFailure, HaulError, NotOwner, ObjectNotFound, Unavailable
from common.names import Bucket, printable
from common.nodeclient import NodeClient, RemoteError
from common.nodestream import Answer, NodeStreams
from target.membership import Membership
from target.rebalance.deletions import Deletions
from target.rebalance.locks import NameLocks
from target.rebalance.sender import Sender
from target.storage.metadata import ObjectMetadata
from target.storage.store import Store

DROP_PATH = "/intra/v1/rebalance/drop"
DELETE_PATH = "/intra/v1/rebalance/delete"
GIVE_PATH = "/intra/v1/rebalance/give"
LOCAL_ONLY = "gfn"
"""The query parameter by which a target asks another for what lies there; AIStore's name for the same."""
_PASSED_ON = frozenset(
    {b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)
_NOT_PASSED_ON = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"date", b"server"})
_CALL_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
"""For an object that lies there to be opened."""
_GIVE_SECONDS = 600.0
"""For an object of any size to come."""
_WATCH_BYTES = 8 << 20
_SAFE = bytes(range(0x21, 0x7F)).translate(None, b'"<>\\^`{|}').decode()


class Neighbours:
    """What this target does about objects that are, or may be, at others."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        client: NodeClient,
        streams: NodeStreams,
        locks: NameLocks,
        deletions: Deletions,
        sender: Sender,
        look_again: Callable[[], None],
    ) -> None:
        """`look_again` is called when another's object may have been left here."""
        self._store = store
        self._membership = membership
        self._client = client
        self._streams = streams
        self._locks = locks
        self._deletions = deletions
        self._sender = sender
        self._look_again = look_again
        self._gates = membership.gates

    def may_answer_first(self, bucket: Bucket, name: str) -> bool:
        """Whether a read may be answered with what lies here, without asking the owner before."""
        return self._membership.cluster_map.is_settled or self._is_owner(bucket, name)

    def others(self, bucket: Bucket, name: str) -> list[Node]:
        """Other targets where an object may lie, the owner before the rest; nobody before there is a map."""
        cluster_map, own_id = self._membership.cluster_map, self._membership.node.id
        if not cluster_map.candidates:
            return []
        return [node for node in cluster_map.holders(bucket, name) if node.id != own_id]

    def check_permitted(self, bucket: Bucket, wanted: Permission) -> None:
        """Raise AccessDenied when the bucket's `access` does not let clients do this, as far as this target knows."""
        self._membership.check_access(bucket, wanted)

    async def check_owned(self, bucket: Bucket, name: str) -> None:
        """Raise NotOwner unless the cluster map gives the object to this target, or did so a moment ago; Unavailable.

        Who comes by an earlier placement is served: `stored` sends the object on. Who has just joined may be asked
        before it has heard from a proxy.
        """
        try:
            self._membership.check_owned(bucket, name)
        except (NotOwner, NoTargets):
            await self._membership.refresh()
            holders = self._membership.cluster_map.holders(bucket, name)
            if all(node.id != self._membership.node.id for node in holders):
                self._membership.check_owned(bucket, name)

    async def relay(self, scope: web.Scope, receive: web.Receive, send: web.Send, bucket: Bucket, name: str) -> bool:
        """Answer a GET or HEAD as one of the others answers it; False when none of them has the object.

        Raises Unavailable when one that may have it does not answer, DiskFailure when it cannot read it.
        """
        await self._learn_owner(bucket, name)
        failure: HaulError | None = None
        headers = [(key, value) for key, value in scope["headers"] if key in _PASSED_ON]
        for node in self.others(bucket, name):
            answers = False
            try:
                async with self._streams.exchange(
                    scope["method"], node.url, _target_of(scope), headers, answer_seconds=_ANSWER_SECONDS
                ) as answer:
                    answers = answer.status < 500 and answer.status != 404
                    if answers:
                        await _pass_on(receive, send, answer)
                        return True
                    if answer.status >= 500:
                        failure = DiskFailure(f"target {node.id} cannot read {bucket.cname}/{printable(name)}")
            except Unavailable:
                if answers:
                    raise
                failure = Unavailable(f"{bucket.cname}/{printable(name)} may be at target {node.id}, which is silent")
        if failure is not None:
            raise failure
        return False

    async def delete(self, bucket: Bucket, name: str, bucket_id: int | None) -> None:
        """Delete an object here and wherever else it may lie; raises ObjectNotFound, Unavailable, DiskError.

        BucketMoves while the bucket is being renamed.
        """
        await self._learn_owner(bucket, name)
        others = self.others(bucket, name)
        if others and not self._is_owner(bucket, name):
            with self._gates.changing(bucket, adds=False):
                was_there = await self._delete_at_owner(others[0], bucket, name, bucket_id)
                async with self._locks.held(bucket, name):
                    await self._remove(bucket, name, bucket_id, was_elsewhere=was_there)
        else:
            await self.delete_as_owner(bucket, name, bucket_id)

    async def delete_as_owner(self, bucket: Bucket, name: str, bucket_id: int | None) -> None:
        """`delete`, asked by one that takes this target for the owner."""
        with self._gates.changing(bucket, adds=False):
            await self._delete_as_owner(bucket, name, bucket_id)

    async def _delete_as_owner(self, bucket: Bucket, name: str, bucket_id: int | None) -> None:
        async with self._locks.held(bucket, name):
            was_elsewhere = False
            for node in self.others(bucket, name):
                self._deletions.note(bucket, name, clock.unix_ns())
                stored_ns = await self._ask(node, DROP_PATH, bucket, name, bucket_id)
                if stored_ns is not None:
                    was_elsewhere = True
                    self._deletions.note(bucket, name, int(stored_ns))
            await self._remove(bucket, name, bucket_id, was_elsewhere=was_elsewhere)

    async def bring(self, bucket: Bucket, name: str) -> None:
        """Have an object here that other targets may still have; raises PeerError, also where it belongs to another.

        Who is sent here by an earlier placement would decide by what lies here, and the owner may have something newer.
        """
        if self._membership.cluster_map.is_settled:
            return
        if not self._is_owner(bucket, name):
            raise Unavailable(f"{bucket.cname}/{printable(name)} belongs to another target since a moment; try again")
        for node in self.others(bucket, name):
            body = {"bucket": bucket.uname, "name": name, "bucket_id": None}
            try:
                answer = await self._client.call(node.url, GIVE_PATH, body, timeout_seconds=_GIVE_SECONDS)
            except RemoteError as error:
                raise Unavailable(f"target {node.id} does not give {bucket.cname}/{printable(name)}: {error}") from None
            if not answer["is_given"]:
                raise Unavailable(f"{bucket.cname}/{printable(name)} is on its way from target {node.id}; try again")

    async def remove_unchanged(self, bucket: Bucket, name: str, bucket_id: int, known: ObjectMetadata) -> None:
        """Remove an object wherever it lies; what has been stored here since it was `known` stays.

        One that is gone already is no error. Raises Unavailable, DiskError.
        """
        async with self._locks.held(bucket, name):
            for node in self.others(bucket, name):
                self._deletions.note(bucket, name, known.stored_ns)  # it may be on its way here once more
                await self._ask(node, DROP_PATH, bucket, name, bucket_id)
            identity = known.link_digest, known.stored_ns
            await asyncio.to_thread(self._store.delete_if, bucket, bucket_id, name, *identity)

    async def give(self, bucket: Bucket, name: str) -> bool:
        """Send what lies here of an object to its owner; False when that must be tried again."""
        return self._is_owner(bucket, name) or await self._sender.deliver(bucket, name)

    def _is_owner(self, bucket: Bucket, name: str) -> bool:
        cluster_map = self._membership.cluster_map
        return bool(cluster_map.candidates) and cluster_map.owner(bucket, name).id == self._membership.node.id

    async def _learn_owner(self, bucket: Bucket, name: str) -> None:
        """Somebody takes this target for the owner: where it knows nothing of that, it may have missed a new map."""
        if not self._is_owner(bucket, name):
            await self._membership.refresh()

    async def _delete_at_owner(self, owner: Node, bucket: Bucket, name: str, bucket_id: int | None) -> bool:
        try:
            await self._ask(owner, DELETE_PATH, bucket, name, bucket_id)
        except RemoteError as error:
            if error.status != ObjectNotFound.status:
                raise
            return False
        return True

    async def _remove(self, bucket: Bucket, name: str, bucket_id: int | None, *, was_elsewhere: bool) -> None:
        try:
            await asyncio.to_thread(self._store.delete, bucket, name, bucket_id)
        except ObjectNotFound:
            if not was_elsewhere:
                raise

    async def stored(self, bucket: Bucket, name: str) -> None:
        """An object has been uploaded here: if it has become another's meanwhile, it is sent there at once."""
        if self._membership.cluster_map.candidates and not self._is_owner(bucket, name):
            await self._sender.deliver(bucket, name)
            self._look_again()

    async def _ask(self, node: Node, path: str, bucket: Bucket, name: str, bucket_id: int | None) -> Any:
        body = {"bucket": bucket.uname, "name": name, "bucket_id": bucket_id}
        answer = await self._client.call(node.url, path, body, timeout_seconds=_CALL_SECONDS)
        return answer["stored_ns"] if answer is not None else None


def _target_of(scope: web.Scope) -> str:
    """What was asked for, of what lies at the other."""
    path, query = (quote(raw, safe=_SAFE) for raw in (scope["raw_path"], scope["query_string"]))
    return f"{path}?{query}&{LOCAL_ONLY}=true" if query else f"{path}?{LOCAL_ONLY}=true"


async def _pass_on(receive: web.Receive, send: web.Send, answer: Answer) -> None:
    headers = [(key, value) for key, value in answer.headers if key not in _NOT_PASSED_ON]
    size = int(answer.header(b"content-length") or 0)
    sending = _send_body(send, answer, headers)
    if size > _WATCH_BYTES:
        await web.unless_gone(receive, sending)
    else:
        await sending


async def _send_body(send: web.Send, answer: Answer, headers: list[web.Header]) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for chunk in answer.chunks():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})
