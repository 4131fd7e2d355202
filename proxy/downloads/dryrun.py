"""What a job would do: every target surveys its part, and the figures are added up; nothing is kept of it.

Reading the request and planning are the same as for a real job (`requests`, `planning`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.downloads.planning import Plan, Share
from proxy.peers import Peers

_PART_SECONDS = 30.0
_SHOWN_ERRORS = 20


async def survey(plan: Plan, peers: Peers) -> dict[str, Any]:
    """The answer to a dry run; raises Unavailable when a target does not answer."""
    parts = await asyncio.gather(*(_survey_share(plan, share, peers) for share in plan.shares))
    return summary(plan, [found for part in parts for found in part])


async def _survey_share(plan: Plan, share: Share, peers: Peers) -> list[Mapping[str, Any]]:
    path, spec = f"/intra/v1/shares/{plan.spec.id}/survey", plan.spec.pack()
    return [
        await peers.call(share.target, path, {"spec": spec, "tasks": batch}, _PART_SECONDS) for batch in share.batches()
    ]


def summary(plan: Plan, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of all parts in one; estimates say so by their names, and are left out where nothing was told."""
    parts = list(parts)

    def total(field: str) -> int:
        return sum(part[field] for part in parts)

    fields: dict[str, Any] = {
        "dry_run": True,
        "description": plan.spec.description,
        "objects": plan.spec.total,
        "checked": total("checked"),
        "present": total("present"),
        "present_bytes": total("present_bytes"),
        "to_fetch": total("checked") - total("present"),
        "asked": total("asked"),
        "bytes_known": total("known") + total("told"),
        "bytes": total("known_bytes") + total("told_bytes"),
        "error_cnt": total("errors"),
    }
    told = total("told")
    if told and total("asked") < total("unknown"):
        fields["bytes_estimate"] = total("known_bytes") + round(total("told_bytes") / told * total("unknown"))
    errors = sorted((name, text) for part in parts for name, text in part["shown_errors"])[:_SHOWN_ERRORS]
    if errors:
        fields["errors"] = [{"name": name, "error": text} for name, text in errors]
    return fields
