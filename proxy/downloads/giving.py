"""Gives further tasks of a job that has begun to the targets, as one more assignment of it.

Nothing of it runs before the job's record names it, and the record says at once who holds it and how far the listing
that it came from has come. What the tasks are is left to `listers`.
"""

from __future__ import annotations

import asyncio
import secrets

import structlog

from common.lifecycle import TaskScope
from common.shares import JobSpec
from proxy.downloads.assigning import Assigner, copies_of
from proxy.downloads.claims import Claims
from proxy.downloads.control import Control
from proxy.downloads.jobstore import JobStore
from proxy.downloads.planning import Plan, assignment_of, plan_more
from proxy.downloads.records import JobRecord
from proxy.downloads.sourcejobs import SourceListing
from proxy.downloads.tasks import TaskList
from proxy.membership import Membership

_log = structlog.get_logger("proxy.downloads.giving")


class Giver:
    """Adds to jobs whose source is being listed."""

    def __init__(
        self,
        jobs: JobStore,
        membership: Membership,
        assigner: Assigner,
        control: Control,
        claims: Claims,
        scope: TaskScope,
    ) -> None:
        self._jobs = jobs
        self._membership = membership
        self._assigner = assigner
        self._control = control
        self._claims = claims
        self._scope = scope

    async def end(self, record: JobRecord, listing: SourceListing) -> None:
        """Note how far the listing has come, without tasks; raises InvalidRequest when the job has changed."""
        planned_from = record.listing
        await self._jobs.update(record.id, lambda current: current.listed(listing, None, planned_from))

    async def give(self, record: JobRecord, listing: SourceListing, tasks: TaskList) -> None:
        """Give tasks to targets and record both at once; raises InvalidRequest when the job has changed, PeerError."""
        planned_from = record.listing
        assert planned_from is not None
        if not len(tasks):
            await self.end(record, listing)
            return
        token = secrets.token_hex(4)
        arguments = JobSpec.unpack(planned_from.spec), tasks, planned_from.count, self._membership.map, token
        planned = await asyncio.to_thread(plan_more, *arguments)
        name = planned.spec.share_id
        announcement = self._scope.start(f"announce {name}", self._jobs.announce(name))
        is_recording = False
        try:
            with self._claims.planning(name):
                copies = await self._assigner.assign(planned)
                assignment = assignment_of(planned, copies)
                is_recording = True
                changed = await self._jobs.update(
                    record.id, lambda current: current.listed(listing, assignment, planned_from)
                )
        except BaseException as error:
            # What was sent lies inert. Where the record may have been written, its holders ask what was decided.
            is_cancelled = isinstance(error, asyncio.CancelledError)
            if not (is_recording if is_cancelled else getattr(error, "maybe_applied", False)):
                self._scope.start(f"drop {name}", self._drop(planned))
            raise
        finally:
            announcement.cancel()
        _log.info("job.listed", job=record.id, objects=listing.count, complete=listing.is_complete)
        if changed.paused:
            await self._control.settle_job(changed)
        else:
            await self._assigner.start(name, [share.target for share in planned.shares])

    async def _drop(self, planned: Plan) -> None:
        await self._assigner.drop(planned.spec.share_id, [share.target for share in planned.shares])
        await self._assigner.forget_copies(planned.spec.share_id, copies_of(planned.shares))
