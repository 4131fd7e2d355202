"""A target's place in the cluster: it reports to a proxy every few seconds and takes over what it is told in return.

Who is a member, and what follows from silence, is decided by the proxies. A target that no proxy has answered for a
while holds still (`may_work`): its tasks may be others' by now, and it asks which are before it goes on. That the
meta store is away is an answer, too, if every proxy that runs gives it: nobody is given up then. A silent one may reach
the store; one whose host refuses the connection does not run, and gives nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from common.access import Permission, check_bits
from common.backends.sources import is_outside
from common.clock import boottime
from common.clustermap import ClusterMap, Node
from common.errors import Fenced, HaulError, NotOwner, Unavailable
from common.moving import Moving
from common.names import Bucket, printable
from common.nodeclient import NodeClient, RemoteError
from target.addresses import OwnAddresses
from target.downloads.copies import Copies
from target.downloads.service import Downloads
from target.gates import Gates
from target.proxies import Proxies, StoreAway
from target.storage.store import Store

INTERVAL_SECONDS = 2.0
_TARGET_TIMEOUT_SECONDS = 1.0
_CHECK_SECONDS = 10.0
"""How often it asks whether what it holds is still its own, though nothing makes it doubt that."""
_CHECK_ENDED_SECONDS = 300.0
"""How often it asks the same about shares that have ended: what is kept of them does nothing but take space.

Once it asks as soon as they have: an order that came late may have ended what a late order had brought back.
"""
_CHECKED_AT_ONCE = 200
"""A proxy may have to read as many records for one answer."""
_log = structlog.get_logger("target.membership")


class Membership:
    """Keeps this target joined; `is_ready` once a proxy has accepted it."""

    def __init__(
        self,
        node: Node,
        proxies: Proxies,
        client: NodeClient,
        store: Store,
        addresses: OwnAddresses,
        gates: Gates,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._node = node
        self._proxies = proxies
        self._client = client
        self._store = store
        self._addresses = addresses
        self._interval_seconds = interval_seconds
        self._swept = False
        self._heard_at = float("-inf")
        self._checked_at = float("-inf")
        self._ended_check = (0, float("-inf"))
        self._asked_ended: set[int] = set()
        self._still_after_seconds = float("inf")
        self._is_checked = False
        self._silences = 0
        self._reported = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._buckets_version = 0
        self._bucket_ids: Mapping[Bucket, int] = {}
        self._backends: Mapping[Bucket, Bucket] = {}
        self._access: Mapping[Bucket, int] = {}
        self.gates = gates
        """Of the buckets that are being renamed."""
        self.cluster_map = ClusterMap()
        self.changed = asyncio.Event()
        """Set with every new cluster map; who waits for it clears it."""
        self.is_ready = False

    @property
    def node(self) -> Node:
        """This target."""
        return self._node

    @property
    def may_work(self) -> bool:
        """Whether what this target holds is surely still its own, so that it may begin to fetch it."""
        return self._is_checked and self._is_heard

    @property
    def _is_heard(self) -> bool:
        return boottime() - self._heard_at < self._still_after_seconds

    async def run(self) -> None:
        """Report for ever, to whichever proxy answers. Raises Fenced: it must end.

        Nothing here waits for a disk: a slow one must not look like a dead node.
        """
        while True:
            try:
                await self._turn()
            except Fenced:
                raise
            except HaulError as error:
                _log.warning("membership.not_reported", error=error.message)
            except Exception:  # noqa: BLE001 - logged; a target that stops reporting is lost
                _log.exception("membership.not_reported")
            await asyncio.sleep(self._interval_seconds)

    async def _turn(self) -> None:
        if not self._store.mountpaths.view.placed:
            await self._stand_back()
            return
        await self.report_once()
        self._reported.set()

    async def look_after(self, downloads: Downloads, copies: Copies) -> None:
        """Ask, after reports and for ever, what of all that is held here is still its own, and what was decided."""
        while True:
            await self._reported.wait()
            self._reported.clear()
            try:
                if not self._is_checked or boottime() - self._checked_at >= _CHECK_SECONDS:
                    await self._check(downloads, copies)
                await self._settle_undecided(downloads)
                await self._check_ended(downloads)
            except HaulError as error:
                _log.warning("membership.not_checked", error=error.message)
            except Exception:  # noqa: BLE001 - logged; what is held must go on being asked about
                _log.exception("membership.not_checked")

    async def report_once(self) -> None:
        """One report to one proxy; raises PeerError when no proxy answers, Fenced when this is not the node any more.

        The meta store being away for all proxies is counted as heard, and raised as their error.
        """
        body = {
            "node": self._node.to_wire(),
            "mountpaths": self._store.mountpaths.describe(),
            "map_version": self.cluster_map.version,
        }
        asked_at = boottime()
        try:
            answer = await self._proxies.ask("/intra/v1/nodes", body)
        except StoreAway:
            self._heard(asked_at)
            raise
        except RemoteError as error:
            if error.code == Fenced.code:
                raise Fenced(error.message) from None
            raise
        self._heard(asked_at)
        self._still_after_seconds = float(answer.get("still_after_seconds", "inf"))
        self.apply_cluster_map(answer["clustermap"])
        await self.apply_buckets(answer["buckets"])
        self.is_ready = True

    def _heard(self, asked_at: float) -> None:
        """What was asked then is answered now. If it was silent before for too long, its shares may be others'."""
        if not self._is_heard:
            self._is_checked = False
            self._silences += 1
        self._heard_at = max(self._heard_at, asked_at)

    async def _stand_back(self) -> None:
        """Without a single disk it is as good as dead: its part of the jobs is others', until it has one again."""
        if self.is_ready:
            _log.error("membership.no_mountpath", reasons=list(self._store.mountpaths.reasons.values()))
            self.is_ready = False
            await self.leave()
            self._heard_at = float("-inf")  # from now on others may be given its part, however soon it comes back

    async def leave(self) -> None:
        """Say that this target ends, instead of letting others wait for its lease to expire; a failure is logged."""
        try:
            await self._proxies.ask("/intra/v1/nodes/leave", {"node": self._node.to_wire()})
        except HaulError as error:
            _log.warning("membership.leave_failed", error=error.message)

    def check_owned(self, bucket: Bucket, name: str) -> None:
        """Raise NotOwner unless the cluster map gives the object to this target; Unavailable before there is a map."""
        owner = self.cluster_map.owner(bucket, name)
        if owner.id != self._node.id:
            raise NotOwner(
                f"{bucket.cname}/{printable(name)} belongs to target {owner.id} by cluster map "
                f"v{self.cluster_map.version}, not to {self._node.id}: send the request to a proxy"
            )

    async def refresh(self) -> None:
        """Ask for the latest cluster map, because somebody acts by another one; a failure is logged."""
        version = self.cluster_map.version
        async with self._refreshing:
            if self.cluster_map.version != version:
                return
            try:
                await self.report_once()
            except HaulError as error:
                _log.warning("membership.not_refreshed", error=error.message)

    def apply_cluster_map(self, plain: Mapping[str, Any]) -> None:
        """Take over a cluster map, unless it is older than ours; downloads may never reach the cluster's own nodes."""
        cluster_map = ClusterMap.from_wire(plain)
        if cluster_map.version < self.cluster_map.version:
            return
        is_newer = cluster_map.version > self.cluster_map.version
        if is_newer:
            self._addresses.take(cluster_map.nodes)
        self.cluster_map = cluster_map
        if is_newer:
            self.changed.set()

    async def apply_buckets(self, table: Mapping[str, Any]) -> None:
        """Once after the start, let go of the buckets that were destroyed while this target was away.

        A bucket whose id is above the table's `last_id` is newer than the table, or belongs to another store: kept.
        """
        known = {Bucket.from_uname(uname): bucket_id for uname, bucket_id in table["buckets"].items()}
        if table["version"] >= self._buckets_version:
            self._buckets_version, self._bucket_ids = table["version"], known
            backends = table.get("backends", {}).items()  # a proxy of an earlier version tells none
            self._backends = {Bucket.from_uname(uname): Bucket.from_uname(backend) for uname, backend in backends}
            self._access = {Bucket.from_uname(uname): bits for uname, bits in table.get("access", {}).items()}
            if "moving" in table:  # else nothing is known of that, and what is closed stays closed
                moving = table["moving"].items()
                self.gates.take({Bucket.from_uname(uname): Moving.from_wire(mark) for uname, mark in moving}, known)
        self._store.note_buckets(known, table["last_id"])
        if not self._swept:
            self._swept = True
            await asyncio.to_thread(self._store.retain_buckets, known, table["last_id"])

    @property
    def buckets_version(self) -> int:
        """Of the table of buckets that this target was told last."""
        return self._buckets_version

    def backend_of(self, bucket: Bucket) -> Bucket | None:
        """Where a bucket's objects come from, None if they are only in this cluster, as far as this target knows."""
        return bucket if is_outside(bucket) else self._backends.get(bucket)

    def bucket_id(self, bucket: Bucket) -> int | None:
        """The bucket's incarnation, None if there is none, as far as this target knows."""
        return self._bucket_ids.get(bucket)

    def check_access(self, bucket: Bucket, wanted: Permission) -> None:
        """Raise AccessDenied when the bucket's `access` has not these bits, as far as this target knows."""
        if bucket in self._access:
            check_bits(bucket, self._access[bucket], wanted)

    async def call_target(self, target_id: str, path: str, body: object) -> Any:
        """Ask another target something; raises PeerError."""
        node = self.cluster_map.get(target_id)
        if node is None:
            raise Unavailable(f"target {target_id} is not in the cluster map")
        return await self._client.call(node.url, path, body, timeout_seconds=_TARGET_TIMEOUT_SECONDS)

    async def announce_end(self, share_id: str) -> None:
        """Hint to a proxy that this target's share of a job has ended; a lost hint costs nothing but time."""
        try:
            await self._proxies.ask(f"/intra/v1/shares/{share_id}/finished", {"target": self._node.id})
        except HaulError as error:
            _log.warning("membership.end_not_announced", share=share_id, error=error.message)

    async def _check(self, downloads: Downloads, copies: Copies) -> None:
        """Ask which of the shares and copies here are still wanted here, and let go of the others."""
        silences = self._silences
        shares, kept = downloads.running(), await copies.kept()
        if shares or kept:
            body = {"target": self._node.id, "shares": shares, "copies": kept}
            answer = await self._proxies.ask("/intra/v1/shares/check", body)
            if answer["shares"]:
                _log.warning("membership.shares_given_up", shares=answer["shares"])
            await downloads.give_up(answer["shares"])
            await copies.forget((share_id, holder) for share_id, holder in answer["copies"])
        if silences != self._silences:  # nobody has heard of this target since it asked: what it was told may be old
            return
        self._is_checked, was_checked = True, self._is_checked
        self._checked_at = boottime()
        if not was_checked:
            downloads.wake()

    async def _check_ended(self, downloads: Downloads) -> None:
        """Ask, at their end, after each silence and now and then, which ended shares nobody wants the results of."""
        silences, at = self._ended_check
        now = boottime()
        ended = downloads.ended()
        is_complete = silences != self._silences or now - at >= _CHECK_ENDED_SECONDS
        asked = set() if is_complete else self._asked_ended & ended.keys()
        silences = self._silences
        shares = [share_id for number, share_id in ended.items() if number not in asked]
        for begin in range(0, len(shares), _CHECKED_AT_ONCE):
            body = {"target": self._node.id, "shares": shares[begin : begin + _CHECKED_AT_ONCE], "copies": []}
            answer = await self._proxies.ask("/intra/v1/shares/check", body)
            if answer["shares"]:
                _log.info("membership.ended_shares_forgotten", shares=answer["shares"])
            await downloads.give_up(answer["shares"])
        self._asked_ended = set(ended)
        if is_complete:
            self._ended_check = silences, now

    async def _settle_undecided(self, downloads: Downloads) -> None:
        """Ask about shares that nobody has started: the proxy that assigned them may have died."""
        for share_id in downloads.undecided():
            try:
                answer = await self._proxies.ask(f"/intra/v1/jobs/{share_id}/decision", {"target": self._node.id})
            except RemoteError as error:
                _log.info("membership.undecided", share=share_id, answer=error.message)
                continue
            if answer["decision"] == "start":
                await downloads.start_share(share_id)
            else:
                await downloads.drop(share_id)
