"""What targets ask about the shares and copies that they have: whether to begin one, which are not theirs any more.

The record of a job decides; while none says so, a share may still be planned, and nothing is decided about it until
that has surely ended. Telling targets what has changed is left to `control`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from common import clock
from common.errors import Unavailable
from common.shares import split_share_id
from proxy.downloads.jobstore import JobStore
from proxy.downloads.records import JobRecord

_MAX_ASKED = 10_000


class Claims:
    """Answers targets; for `grace_seconds`, at least, a share that no record names may lie unstarted."""

    def __init__(self, jobs: JobStore, grace_seconds: float) -> None:
        self._jobs = jobs
        self._grace_seconds = grace_seconds
        self._planning: set[str] = set()
        self._asked: dict[str, float] = {}

    @contextlib.contextmanager
    def planning(self, share: str) -> Iterator[None]:
        """This proxy is planning shares of that id: nobody is to give them up."""
        self._planning.add(share)
        try:
            yield
        finally:
            self._planning.discard(share)

    async def decide(self, share: str, target_id: str) -> str:
        """A target holds a share that was never started: `start` or `drop`. Raises Unavailable while it is planned."""
        job_id, token = split_share_id(share)
        record = await self._jobs.find(job_id)
        if record is None:
            await self._check_abandoned(share)
            record = await self._jobs.drop(job_id)
        elif record.is_running and record.assignment(token) is None and token not in record.refused:
            await self._check_abandoned(share)
            record = await self._jobs.update(job_id, lambda current: _refusing(current, token))
        self._asked.pop(share, None)
        return "start" if record.is_running and (share, target_id) in record.shares else "drop"

    async def not_held(
        self, target_id: str, shares: Iterable[str], copies: Iterable[tuple[str, str]]
    ) -> tuple[list[str], list[tuple[str, str]]]:
        """Which of a target's begun shares, and of the copies that it keeps, are not its own any more.

        A copy is (share id, holder). Raises Unavailable: then it is not known.
        """
        shares, copies = list(shares), list(copies)
        records = await self._jobs.find_all(
            {split_share_id(share)[0] for share in (*shares, *(one for one, _ in copies))}
        )

        def record_of(share: str) -> JobRecord | None:
            return records.get(split_share_id(share)[0])

        lost = [share for share in shares if not _holds(record_of(share), target_id, share)]
        unneeded = [
            (share, holder)
            for share, holder in copies
            if not await self._is_kept(record_of(share), target_id, share, holder)
        ]
        return lost, unneeded

    async def _is_kept(self, record: JobRecord | None, keeper_id: str, share: str, holder: str) -> bool:
        """Whether a copy is needed: until its job has ended, and while its assignment may still be made."""
        if record is not None and not record.is_running:
            return False
        token = split_share_id(share)[1]
        assignment = record.assignment(token) if record is not None else None
        if assignment is not None:
            return assignment.keeper_of(holder) == keeper_id
        if record is not None and token in record.refused:
            return False
        try:
            await self._check_abandoned(share)
        except Unavailable:
            return True
        return False

    async def _check_abandoned(self, share: str) -> None:
        """Raise Unavailable while the share may still be committed: a proxy plans it, or may not have said so yet."""
        asked = self._asked.setdefault(share, clock.monotonic())
        while len(self._asked) > _MAX_ASKED:
            self._asked.pop(next(iter(self._asked)))
        is_early = clock.monotonic() - asked < self._grace_seconds
        if is_early or share in self._planning or await self._jobs.is_planned(share):
            raise Unavailable(f"share {share} is not decided yet")


def _refusing(current: JobRecord, token: str) -> JobRecord:
    """The record that keeps an assignment from being made, unless it has been made after all."""
    return current if current.assignment(token) is not None else current.refusing(token)


def _holds(record: JobRecord | None, target_id: str, share: str) -> bool:
    return record is not None and not record.gone and (share, target_id) in record.shares
