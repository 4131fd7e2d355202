"""What the leading proxy does for the cluster: nodes that stay silent leave the map, and what follows from that.

Who leads is decided in `leadership`; what a node that has left means for jobs and objects, by the chores given. Time in
which the meta store does not answer is held against nobody: whoever is silent then may only have lost the way to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from common import clock
from common.clustermap import FLAG_DECOMMISSION, TARGET, ClusterMap, Node
from common.errors import HaulError
from proxy.leadership import Authority, Leadership
from proxy.membership import Membership

Chore = Callable[[Authority], Awaitable[None]]
"""Done again and again while this proxy leads; raises HaulError when it must be tried again."""
IsEmpty = Callable[[Node], Awaitable[bool]]
"""Whether nothing is left on a target that is to leave for good."""
_MAX_TURN_SECONDS = 1.0
_log = structlog.get_logger("proxy.housekeeping")


class _Seen(NamedTuple):
    """Since when a node is seen to be silent."""

    role: str
    at: float


class Silence:
    """How long nodes have been silent, as far as that was watched; pure, the time is an argument."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._since: dict[str, _Seen] = {}

    def forget(self, role: str | None = None) -> None:
        """Watching was interrupted, for all or for one role: everybody gets the whole time again."""
        self._since = {node_id: seen for node_id, seen in self._since.items() if role not in (None, seen.role)}

    def over(self, nodes: Sequence[Node], online: Callable[[str], bool], now: float) -> list[Node]:
        """The nodes that have been silent for longer than the grace time."""
        silent = [node for node in nodes if not online(node.id)]
        self._since = {node.id: self._since.get(node.id, _Seen(node.role, now)) for node in silent}
        return [node for node in silent if now - self._since[node.id].at >= self._grace_seconds]


def most_are_silent(cluster_map: ClusterMap, online: Callable[[str], bool]) -> bool:
    """Whether more than half of the targets are silent.

    So many do not fail at once; it is more likely that they cannot be reached, and then moving everything that they
    have would be the greater harm. Those whose time is not over yet count, too: leases do not end in the same moment.
    """
    silent = [node for node in cluster_map.targets if not online(node.id)]
    return len(silent) > len(cluster_map.targets) / 2


class Housekeeping:
    """The turns of the leader."""

    def __init__(
        self,
        leadership: Leadership,
        membership: Membership,
        grace_seconds: float,
        chores: Sequence[Chore],
        is_empty: IsEmpty,
    ) -> None:
        self._leadership = leadership
        self._membership = membership
        self._silence = Silence(grace_seconds)
        self._grace_seconds = grace_seconds
        self._turn_seconds = min(_MAX_TURN_SECONDS, membership.ttl_seconds / 6, max(0.02, grace_seconds / 4))
        self._chores = (self._give_up_silent, self._let_leave, *chores)
        self._is_empty = is_empty
        self._most_since: float | None = None
        self._told_most = False
        self._told: dict[Chore, str] = {}
        """What kept a chore from being done the last time: said once, though it is tried every second."""

    async def run(self) -> None:
        """Take turns while this proxy leads, for ever."""
        while True:
            await asyncio.sleep(self._turn_seconds)
            if not self._leadership.is_leading:
                self._silence.forget()
                continue
            await self._turn()

    async def _turn(self) -> None:
        for chore in self._chores:
            try:
                await chore(self._leadership.authority())
            except HaulError as error:
                if self._told.get(chore) != error.message:
                    _log.warning("housekeeping.not_done", error=error.message)
                self._told[chore] = error.message
            except Exception:  # noqa: BLE001 - a leader that keeps no house any more would be worse
                _log.exception("housekeeping.failed")
            else:
                self._told.pop(chore, None)

    async def _give_up_silent(self, authority: Authority) -> None:
        try:
            await self._membership.refresh_online()
        except HaulError:
            self._silence.forget()
            raise
        cluster_map = self._membership.map
        now = clock.boottime()
        over = self._silence.over(cluster_map.nodes, self._membership.is_online, now)
        if most_are_silent(cluster_map, self._membership.is_online):
            # What keeps so many away ends for all of them, though not in the same moment.
            self._silence.forget(TARGET)
            over = [node for node in over if node.role != TARGET]
            self._tell_of_most(cluster_map, now)
        else:
            self._most_since, self._told_most = None, False
        for node in over:
            _log.error("housekeeping.node_given_up", node=node.id, role=node.role)
            await self._membership.remove(node.id, authority.compare)

    def _tell_of_most(self, cluster_map: ClusterMap, now: float) -> None:
        self._most_since = now if self._most_since is None else self._most_since
        if not self._told_most and now - self._most_since >= self._grace_seconds:
            silent = [node.id for node in cluster_map.targets if not self._membership.is_online(node.id)]
            _log.error("housekeeping.too_many_silent", nodes=silent)
            self._told_most = True

    async def _let_leave(self, authority: Authority) -> None:
        for node in self._membership.map.targets:
            is_leaving = node.flags & FLAG_DECOMMISSION and self._membership.is_online(node.id)
            if is_leaving and await self._is_empty(node):
                _log.info("housekeeping.node_left", node=node.id)
                await self._membership.remove(node.id, authority.compare, is_final=True)
