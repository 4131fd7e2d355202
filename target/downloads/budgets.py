"""Keeps the byte budgets of jobs and of origin hosts: asks for this target's bytes, and answers the others that ask.

Who gets how much is decided in `leases`; the lanes hand the bytes to their carriers. One target keeps the book: which
of the job's plan, or of the cluster for a host, follows from the job's id or the host's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
_IDLE_ASK_SECONDS = 0.5
"""For a host that nothing is wanted from: often enough to be known as idle, so that the others get all of it."""
_FORGET_SECONDS = 60.0
_FAREWELLS = 3
_log = structlog.get_logger("target.budgets")

CallTarget = Callable[[str, str, object], Awaitable[Any]]
"""Calls another target by its id: path, body; raises PeerError."""


class Budgets:
    """The budgets of all shares and limited hosts of this target, and the books that it keeps for others."""

    def __init__(
        self,
        target_id: str,
        scope: TaskScope,
        call_target: CallTarget,
        rate_limits: Mapping[str, int],
        targets: Callable[[], Sequence[str]],
    ) -> None:
        """`rate_limits` has bytes per second of hosts; `targets()` gives the ids of the cluster's targets, in order."""
        self._target_id = target_id
        self._scope = scope
        self._call_target = call_target
        self._targets = targets
        self._books: dict[str, LeaseBook] = {}
        self._users: dict[str, set[Share]] = {}
        self.of_hosts = {host.lower(): Lease(rate, 1) for host, rate in rate_limits.items()}
        """What this target may read from each limited host."""

    def start(self) -> None:
        """Begin to ask for the bytes of limited hosts."""
        for host, lease in self.of_hosts.items():
            self._scope.start(f"budget of {host}", self._keep_asking_for_host(host, lease))

    def open(self, share: Share) -> None:
        """Give a share that begins, or goes on, its budget: one for all shares of its job."""
        spec = share.spec
        if not spec.bytes_per_hour or share.budget is not None:
            return
        rate = spec.bytes_per_hour / 3600
        users = self._users.setdefault(spec.id, set())
        shared = next((user.budget for user in users if user.budget is not None), None)
        if shared is not None:
            share.budget = shared
            users.add(share)
        elif spec.share_count == 1:
            share.budget = Budget(rate)
        else:
            lease = share.budget = Lease(rate, spec.share_count)
            users.add(share)
            self._scope.start(f"budget of {spec.id}", self._keep_asking(spec.id, users, lease))

    def ask(self, owner: str, body: dict[str, Any]) -> int:
        """A target asks this one for bytes of a job, by its id, or from a host, by its name."""
        now = monotonic()
        for stale in [one for one, book in self._books.items() if now - book.last_asked_at > _FORGET_SECONDS]:
            del self._books[stale]
        book = self._books.get(owner)
        if book is None:
            book = self._books[owner] = LeaseBook(body["bytes_per_second"], body["parts"])
        book.parts = body["parts"]
        return book.ask(body["target"], body["wanted"], is_done=body["is_done"])

    async def _keep_asking(self, job_id: str, users: set[Share], lease: Lease) -> None:
        farewells = 0
        while True:
            # The latest assignment was made without the targets that are lost: what it says of the others holds.
            spec = max((share.spec for share in users), key=lambda spec: len(spec.earlier))
            lease.set_parts(spec.share_count)
            is_done = all(share.has_ended for share in users)
            try:
                lease.granted(await self._ask_for_job(spec, lease, is_done=is_done))
                is_told = is_done
            except HaulError as error:
                lease.unanswered()
                _log.debug("budget.unanswered", job=job_id, error=error.message)
                farewells += is_done
                is_told = farewells >= _FAREWELLS
            if is_told and all(share.has_ended for share in users):
                self._users.pop(job_id, None)
                return
            await asyncio.sleep(_ASK_SECONDS)

    async def _keep_asking_for_host(self, host: str, lease: Lease) -> None:
        while True:
            wanted = lease.wanted()
            targets = self._targets()
            if targets:
                lease.set_parts(len(targets))
                keeper = targets[digest(host) % len(targets)]
                body = self._question(lease, wanted, len(targets))
                try:
                    lease.granted(await self._ask_keeper(keeper, host, f"/intra/v1/hosts/{host}/lease", body))
                except HaulError as error:
                    lease.unanswered()
                    _log.debug("budget.unanswered", host=host, error=error.message)
            await asyncio.sleep(_ASK_SECONDS if wanted or lease.is_wanted else _IDLE_ASK_SECONDS)

    async def _ask_for_job(self, spec: JobSpec, lease: Lease, *, is_done: bool) -> int:
        body = self._question(lease, 0 if is_done else lease.wanted(), spec.share_count, is_done=is_done)
        keeper = spec.targets[digest(spec.id) % len(spec.targets)][0]
        return await self._ask_keeper(keeper, spec.id, f"/intra/v1/shares/{spec.id}/lease", body)

    async def _ask_keeper(self, keeper: str, owner: str, path: str, body: dict[str, Any]) -> int:
        if keeper == self._target_id:
            return self.ask(owner, body)
        granted: int = await self._call_target(keeper, path, body)
        return granted

    def _question(self, lease: Lease, wanted: int, parts: int, *, is_done: bool = False) -> dict[str, Any]:
        rate = lease.bytes_per_second
        return {
            "target": self._target_id,
            "wanted": wanted,
            "bytes_per_second": rate,
            "parts": parts,
            "is_done": is_done,
        }
