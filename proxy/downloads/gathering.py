"""Asking all targets of a job for its figures, in parallel and under a deadline, and remembering what they said last.

Putting the figures together is left to `proxy.downloads.aggregate`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import structlog

from common.clustermap import Node
from common.shares import ShareStatus
from proxy.downloads.aggregate import Answers
from proxy.downloads.records import JobRecord
from proxy.membership import Membership
from proxy.peers import Peers

_DEADLINE_SECONDS = 2.0
_MAX_REMEMBERED = 10_000
_log = structlog.get_logger("proxy.downloads.gathering")


class Gathering:
    """Collects figures of shares; those of targets that do not answer are the last ones that this proxy has seen."""

    def __init__(self, membership: Membership, peers: Peers) -> None:
        self._membership = membership
        self._peers = peers
        self._remembered: OrderedDict[tuple[str, str], ShareStatus] = OrderedDict()

    async def ask(
        self, records: Sequence[JobRecord], *, tasks: bool = False, limit: int = 0, after: int = -1
    ) -> dict[str, Answers]:
        """What is known of each job now, by job id; one call per target, whatever the number of jobs."""
        wanted = self._wanted(records)
        calls: dict[Node, object] = {
            node: {"ids": ids, "tasks": tasks, "limit": limit, "after": after} for node, ids in wanted.items()
        }
        replies, errors = await self._peers.call_each(calls, "/intra/v1/shares/status", _DEADLINE_SECONDS)
        for target, error in errors.items():
            _log.warning("downloads.target_is_silent", target=target, error=error.message)
        fresh: dict[tuple[str, str], ShareStatus] = {}
        for target, reply in replies.items():
            for plain in reply["shares"]:
                status = ShareStatus.from_wire(plain)
                fresh[status.share_id, target] = status
                self._remember(target, status)
        return {record.id: self._answers(record, fresh) for record in records}

    def forget(self, shares: Iterable[tuple[str, str]]) -> None:
        """The shares' job has been removed."""
        for key in shares:
            self._remembered.pop(key, None)

    def _wanted(self, records: Sequence[JobRecord]) -> dict[Node, list[str]]:
        """The living targets to ask, and for which jobs."""
        online = {node.id: node for node in self._membership.online_targets()}
        wanted: dict[Node, list[str]] = {}
        for record in records:
            for share_id, target in record.shares:
                if target in online:
                    wanted.setdefault(online[target], []).append(share_id)
        return wanted

    def _answers(self, record: JobRecord, fresh: dict[tuple[str, str], ShareStatus]) -> Answers:
        shares: dict[tuple[str, str], ShareStatus] = {}
        stale: list[tuple[str, str]] = []
        for key in record.shares:
            status = fresh.get(key)
            if status is None:
                stale.append(key)
                status = self._remembered.get(key)
            if status is not None:
                shares[key] = status
        return Answers(shares, stale)

    def _remember(self, target: str, status: ShareStatus) -> None:
        key = status.share_id, target
        self._remembered[key] = replace(status, current_tasks=(), finished_tasks=(), error_tasks=())
        self._remembered.move_to_end(key)
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)
