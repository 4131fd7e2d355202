"""All jobs of the cluster that are not the targets' own affair, in one form: downloads, copies, what was done at once.

Which of them a client means, and how they are shown, is decided in `shown`; rebalance is left to `proxy.rebalance`.
"""

from __future__ import annotations

from common.errors import JobNotFound
from proxy.actions.shown import Job, JobQuery, copy_job, done_job, download_job
from proxy.actions.store import ActionNotFound, ActionStore, is_action_id
from proxy.actions.tending import Tending
from proxy.downloads.aggregate import job_id_of
from proxy.downloads.service import Downloads
from proxy.remote.listranges import done_at_ns, kind_of

_DOWNLOADS = "dnl-"
_MOST_ENDED = 256
"""So many jobs that have ended are shown at most, the latest ones, unless one is asked for by its id."""


class Jobs:
    """Finds jobs, and stops them."""

    def __init__(self, downloads: Downloads, actions: ActionStore, tending: Tending) -> None:
        self._downloads = downloads
        self._actions = actions
        self._tending = tending

    async def find(self, job_id: str) -> Job:
        """One job as it is now; raises JobNotFound, ActionNotFound, Unavailable."""
        if is_action_id(job_id):
            return copy_job(*await self._tending.figures(job_id))
        done_ns = done_at_ns(job_id)
        if done_ns is not None:
            return done_job(job_id, kind_of(job_id), done_ns)
        try:
            record = await self._downloads.record(job_id_of(job_id))
        except JobNotFound:
            if job_id.startswith(_DOWNLOADS):
                raise
            raise ActionNotFound(job_id) from None
        overviews = await self._downloads.overviews([record])
        return download_job(*overviews[0])

    async def matching(self, query: JobQuery) -> list[Job]:
        """Those that are asked for, the oldest first; raises Unavailable."""
        actions = await self._actions.all()
        downloads = await self._downloads.records()
        running = [one for one in actions if one.is_running], [one for one in downloads if not one.is_finished]
        ended_actions = [] if query.only_running else [one for one in actions if not one.is_running]
        ended_downloads = [] if query.only_running else [one for one in downloads if one.is_finished]
        shown_actions = [*ended_actions[-_MOST_ENDED:], *running[0]]
        shown_downloads = [*ended_downloads[-_MOST_ENDED:], *running[1]]
        figures = await self._tending.figures_of_all(shown_actions) if shown_actions else {}
        found = [copy_job(one, figures[one.id]) for one in shown_actions]
        found += [download_job(*one) for one in await self._downloads.overviews(shown_downloads)]
        return sorted((job for job in found if job.matches(query)), key=lambda job: (job.started_ns, job.id))

    async def stop(self, query: JobQuery) -> None:
        """Stop a job, or all that are asked for; one that is not known, or has ended, is no error."""
        try:
            ids = [query.id] if query.id else [job.id for job in await self._running(query)]
            for job_id in ids:
                if is_action_id(job_id):
                    await self._tending.abort(job_id)
                elif done_at_ns(job_id) is None:
                    await self._stop_download(job_id)
        except (JobNotFound, ActionNotFound):
            pass

    async def _running(self, query: JobQuery) -> list[Job]:
        return [job for job in await self.matching(query) if not job.ended_ns]

    async def _stop_download(self, job_id: str) -> None:
        if not (await self._downloads.record(job_id)).is_finished:
            await self._downloads.abort(job_id)
