"""What a job would do: every target surveys its part, and the figures are added up; nothing is kept of it.

Reading the request and planning are the same as for a real job (`requests`, `planning`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from common.clock import monotonic
from proxy.downloads.planning import Plan, Share
from proxy.peers import Peers

SAMPLE = 256
"""So many origins are asked by each target at most."""
_PART_SECONDS = 30.0
_ASK_SECONDS = 10.0
_SHOWN_ERRORS = 20


async def survey(plan: Plan, peers: Peers) -> dict[str, Any]:
    """The answer to a dry run; raises Unavailable when a target does not answer."""
    parts = await asyncio.gather(*(_survey_share(plan, share, peers) for share in plan.shares))
    return summary(plan, [found for part in parts for found in part])


async def _survey_share(plan: Plan, share: Share, peers: Peers) -> list[Mapping[str, Any]]:
    path, spec = f"/intra/v1/shares/{plan.spec.id}/survey", plan.spec.pack()
    ask, deadline = -(-SAMPLE // share.batch_count), monotonic() + _ASK_SECONDS
    found: list[Mapping[str, Any]] = []
    for batch in share.batches():
        left = min(ask, SAMPLE - sum(part["asked"] for part in found)) if monotonic() < deadline else 0
        found.append(await peers.call(share.target, path, {"spec": spec, "tasks": batch, "ask": left}, _PART_SECONDS))
    return found


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
    told, asked, checked = total("told"), total("asked"), total("checked")
    if told and (asked < total("unknown") or checked < plan.spec.total):
        can_be_had = total("unknown") * (1 - total("errors") / asked)
        of_checked = total("known_bytes") + total("told_bytes") / told * can_be_had
        fields["bytes_estimate"] = round(of_checked * plan.spec.total / checked)
    errors = sorted((name, text) for part in parts for name, text in part["shown_errors"])[:_SHOWN_ERRORS]
    if errors:
        fields["errors"] = [{"name": name, "error": text} for name, text in errors]
    return fields
