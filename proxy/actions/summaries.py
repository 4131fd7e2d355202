"""How much is in buckets, as the public API tells it: targets count in the background, every proxy can add that up.

A proxy keeps nothing: the id is given to the targets with the question, and a target that does not know it begins.
What is counted while objects move between targets may be counted twice.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.buckets import BucketRecord
from common.clustermap import Node, NoTargets
from common.errors import InvalidRequest
from proxy.membership import Membership
from proxy.peers import Peers

_REPORT_PATH = "/intra/v1/actions/summary"
_BEGIN_PATH = "/intra/v1/actions/summarise"
_CALL_SECONDS = 5.0
_ID = re.compile(r"[A-Za-z0-9_\-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Summary:
    """What has been counted; `results` in the dialect's form. It has only begun while no target has ended."""

    is_done: bool
    has_begun: bool
    results: list[dict[str, Any]]


class Summaries:
    """Asks the targets for summaries."""

    def __init__(self, membership: Membership, peers: Peers) -> None:
        self._membership = membership
        self._peers = peers

    async def start(self, records: Sequence[BucketRecord], prefix: str, *, remote: bool) -> str:
        """Have these buckets counted; returns the summary's id. Raises NoTargets."""
        targets = self._membership.online_targets()
        if not targets:
            raise NoTargets
        summary_id = "s" + secrets.token_urlsafe(8)
        await self._begin(summary_id, records, prefix, targets, counts_remote=targets[0] if remote else None)
        return summary_id

    async def ask(self, summary_id: str, records: Sequence[BucketRecord], prefix: str, *, remote: bool) -> Summary:
        """How far a summary is; raises InvalidRequest, NoTargets."""
        if not _ID.match(summary_id):
            raise InvalidRequest("'uuid' is none that a summary has been given")
        targets = self._membership.online_targets()
        if not targets:
            raise NoTargets
        question = {"id": summary_id}
        answers, _ = await self._peers.call_each(dict.fromkeys(targets, question), _REPORT_PATH, _CALL_SECONDS)
        known = {target: answer for target, answer in answers.items() if answer is not None}
        prefix = next((answer["prefix"] for answer in known.values()), prefix)
        unknown = [node for node in targets if node.id in answers and node.id not in known]
        lister = None
        if remote and not any(answer["counts_remote"] for answer in known.values()):
            lister = next(iter((*unknown, *(node for node in targets if node.id in known))), None)
        begun = await self._begin(summary_id, records, prefix, unknown, counts_remote=lister)
        known |= begun
        is_whole = all(node.id in known for node in self._membership.map.targets)
        ended = [answer["is_done"] for answer in known.values()]
        disk_bytes = sum(answer["disk_bytes"] for answer in known.values())
        results = [_result(record, list(known.values()), disk_bytes) for record in records]
        return Summary(is_whole and all(ended), not any(ended), results)

    async def _begin(
        self,
        summary_id: str,
        records: Sequence[BucketRecord],
        prefix: str,
        targets: Sequence[Node],
        *,
        counts_remote: Node | None,
    ) -> dict[str, Any]:
        buckets = [
            [record.bucket.uname, record.id, record.backend.uname if record.backend is not None else ""]
            for record in records
        ]
        nodes = dict.fromkeys((*targets, *((counts_remote,) if counts_remote is not None else ())))
        calls = {
            node: {"id": summary_id, "buckets": buckets, "prefix": prefix, "counts_remote": node == counts_remote}
            for node in nodes
        }
        answers, _ = await self._peers.call_each(calls, _BEGIN_PATH, _CALL_SECONDS)
        return answers


def _result(record: BucketRecord, answers: Sequence[Mapping[str, Any]], disk_bytes: int) -> dict[str, Any]:
    """AIStore's BsummResult of one bucket (wire.md §2.5)."""
    uname = record.bucket.uname
    here = [answer["here"][uname] for answer in answers if uname in answer["here"]]
    remote = [answer["remote"][uname] for answer in answers if uname in answer["remote"]]
    count, size = sum(one[0] for one in here), sum(one[1] for one in here)
    filled = [one for one in here if one[0]] or [one for one in remote if one[0]]
    measured = sum(one[0] for one in filled)
    return {
        **record.bucket.to_wire(),
        "ObjCount": {"obj_count_present": str(count), "obj_count_remote": str(sum(one[0] for one in remote))},
        "ObjSize": {
            "obj_min_size": min((one[2] for one in filled), default=0),
            "obj_avg_size": sum(one[1] for one in filled) // measured if measured else 0,
            "obj_max_size": max((one[3] for one in filled), default=0),
        },
        "TotalSize": {
            "size_on_disk": str(size),
            "size_all_present_objs": str(size),
            "size_all_remote_objs": str(sum(one[1] for one in remote)),
            "total_disks_size": str(disk_bytes),
        },
        "used_pct": size * 100 // disk_bytes if disk_bytes else 0,
        "is_present": True,
    }
