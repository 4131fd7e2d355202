"""Keeps the byte budgets of jobs: asks for this target's bytes, and answers the others that ask.

Who gets how much is decided in `leases`; the lanes hand the bytes to their carriers. One target of the job's plan keeps
the book; which, follows from the job's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from common.clock import monotonic
from common.errors import HaulError
from common.lifecycle import TaskScope
from common.placement import digest
from common.shares import JobSpec
from target.downloads.leases import Lease, LeaseBook
from target.downloads.share import Share
from target.transfer.budget import Budget

_ASK_SECONDS = 0.1
_FORGET_SECONDS = 60.0
_FAREWELLS = 3
_log = structlog.get_logger("target.budgets")

CallTarget = Callable[[str, str, object], Awaitable[Any]]
"""Calls another target by its id: path, body; raises PeerError."""


class Budgets:
    """The budgets of all shares of this target, and the books that it keeps for others."""

    def __init__(self, target_id: str, scope: TaskScope, call_target: CallTarget) -> None:
        self._target_id = target_id
        self._scope = scope
        self._call_target = call_target
        self._books: dict[str, LeaseBook] = {}

    def open(self, share: Share) -> None:
        """Give a share that begins, or goes on, its budget."""
        spec = share.spec
        if not spec.bytes_per_hour or share.budget is not None:
            return
        rate = spec.bytes_per_hour / 3600
        if spec.share_count == 1:
            share.budget = Budget(rate)
            return
        lease = share.budget = Lease(rate, spec.share_count)
        self._scope.start(f"budget of {share.id}", self._keep_asking(share, lease))

    def ask(self, job_id: str, body: dict[str, Any]) -> int:
        """A target asks this one for bytes of a job."""
        now = monotonic()
        for stale in [one for one, book in self._books.items() if now - book.last_asked_at > _FORGET_SECONDS]:
            del self._books[stale]
        book = self._books.get(job_id)
        if book is None:
            book = self._books[job_id] = LeaseBook(body["bytes_per_second"], body["parts"])
        return book.ask(body["target"], body["wanted"], is_done=body["is_done"])

    async def _keep_asking(self, share: Share, lease: Lease) -> None:
        farewells = 0
        while farewells < _FAREWELLS:
            is_done = share.has_ended
            try:
                lease.granted(await self._ask_keeper(share.spec, lease, is_done=is_done))
                if is_done:
                    return
            except HaulError as error:
                lease.unanswered()
                _log.debug("budget.unanswered", job=share.id, error=error.message)
                farewells += is_done
            await asyncio.sleep(_ASK_SECONDS)

    async def _ask_keeper(self, spec: JobSpec, lease: Lease, *, is_done: bool) -> int:
        body = {
            "target": self._target_id,
            "wanted": 0 if is_done else lease.wanted(),
            "bytes_per_second": lease.bytes_per_second,
            "parts": spec.share_count,
            "is_done": is_done,
        }
        keeper = spec.targets[digest(spec.id) % len(spec.targets)][0]
        if keeper == self._target_id:
            return self.ask(spec.id, body)
        granted: int = await self._call_target(keeper, f"/intra/v1/shares/{spec.id}/lease", body)
        return granted
