"""What targets have written down of a job, put together: its story, and its ledger as a stream of lines.

Its figures are left to `proxy.downloads.gathering`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from common.clustermap import Node
from common.errors import Unavailable
from common.units import format_time
from proxy.downloads.jobstore import JobStore
from proxy.downloads.records import JobRecord
from proxy.membership import Membership
from proxy.peers import Peers

_STORY_SECONDS = 2.0
_PAGE_SECONDS = 30.0


class Reports:
    """Stories and ledgers of all jobs."""

    def __init__(self, jobs: JobStore, membership: Membership, peers: Peers) -> None:
        self._jobs = jobs
        self._membership = membership
        self._peers = peers

    async def story(self, job_id: str) -> dict[str, Any]:
        """What was decided while a job ran, in the order of time; raises JobNotFound.

        `origin` is empty for what is not about one. Targets that do not answer are named in `stale_targets`.
        """
        record = await self._jobs.look(job_id)
        lines = [(at_ns, "", (at_ns, "", 0, 0, note)) for at_ns, note in record.notes]
        told: set[str] = set()
        for share_id, nodes in self._online(record).items():
            path = f"/intra/v1/shares/{share_id}/story"
            answers, _ = await self._peers.call_each(dict.fromkeys(nodes), path, _STORY_SECONDS)
            told.update(answers)
            lines += [(line[0], target, line) for target, answer in answers.items() for line in answer["lines"]]
        lines.sort()
        shown: dict[str, Any] = {"id": job_id, "decisions": [_decision(target, *line) for _, target, line in lines]}
        if late := sorted(set(record.targets) - told):
            shown["stale_targets"] = late
        return shown

    async def ledger(self, job_id: str, *, failed_only: bool) -> AsyncIterator[bytes]:
        """One JSON line for each object that has ended, target by target; raises JobNotFound, Unavailable.

        It begins only when all targets of the job answer. When one falls silent later the stream breaks off: a ledger
        that ends is whole.
        """
        record = await self._jobs.look(job_id)
        online = self._online(record)
        missing = set(record.targets) - {node.id for nodes in online.values() for node in nodes}
        body = {"cursor": 0, "failed_only": failed_only}
        first_pages: dict[tuple[str, Node], Any] = {}
        for share_id, nodes in online.items():
            path = _ledger_path(share_id)
            pages, errors = await self._peers.call_each(dict.fromkeys(nodes, body), path, _PAGE_SECONDS)
            missing.update(errors)
            first_pages |= {(path, node): pages[node.id] for node in nodes if node.id in pages}
        for target in sorted(missing):
            raise Unavailable(f'target "{target}" does not answer, and the ledger would be incomplete without it')
        return self._lines(first_pages, failed_only=failed_only)

    async def _lines(self, pages: dict[tuple[str, Node], Any], *, failed_only: bool) -> AsyncIterator[bytes]:
        for (path, node), first in pages.items():
            page = first
            yield _jsonl(page["lines"])
            while page["cursor"] is not None:
                body = {"cursor": page["cursor"], "failed_only": failed_only}
                page = await self._peers.call(node, path, body, _PAGE_SECONDS)
                yield _jsonl(page["lines"])

    def _online(self, record: JobRecord) -> dict[str, list[Node]]:
        """The living targets of a job, by the shares that they hold."""
        online = {node.id: node for node in self._membership.online_targets()}
        nodes: dict[str, list[Node]] = {}
        for share_id, target in record.shares:
            if target in online:
                nodes.setdefault(share_id, []).append(online[target])
        return nodes


def _ledger_path(share_id: str) -> str:
    return f"/intra/v1/shares/{share_id}/ledger"


def _decision(target: str, at_ns: int, origin: str, before: int, after: int, why: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"time": format_time(at_ns), "target": target, "origin": origin}
    if origin:
        fields |= {"connections_before": before, "connections": after}
    return fields | {"reason": why}


def _jsonl(lines: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(_shown(line), ensure_ascii=False) + "\n" for line in lines).encode("utf-8", "replace")


def _shown(line: dict[str, Any]) -> dict[str, Any]:
    times = {"start_time": format_time(line.pop("started_ns")), "end_time": format_time(line.pop("ended_ns"))}
    return line | times
