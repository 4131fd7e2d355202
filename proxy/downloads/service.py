"""Download jobs as the public API offers them: start, show, list, change.

The commit point of a job is the creation of its record in the meta store, in one transaction with its bucket's if that
is missing: before it, its shares lie inert in the targets' journals and any failure drops them; after it, the job
exists whatever fails, and a target that was not told to start asks (`claims`). Changing a job that runs is left to
`control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import structlog

from common import clock
from common.access import Permission, check_access
from common.clustermap import NoTargets
from common.errors import HaulError, InvalidRequest, JobNotFound, Unavailable
from common.lifecycle import TaskScope
from common.names import Bucket
from common.shares import ShareStatus, share_id, split_share_id
from proxy.buckets import Buckets, Claim, ClaimLost
from proxy.downloads.aggregate import Answers, job_json, merge, tasks_json
from proxy.downloads.assigning import Assigner, copies_of
from proxy.downloads.claims import Claims
from proxy.downloads.control import Control
from proxy.downloads.dryrun import survey
from proxy.downloads.filters import description_filter
from proxy.downloads.gathering import Gathering
from proxy.downloads.idempotency import RequestKey
from proxy.downloads.jobstore import JobStore
from proxy.downloads.listers import Listers
from proxy.downloads.manifestjobs import ManifestJobs
from proxy.downloads.manifestreader import ManifestReader, pieces
from proxy.downloads.manifests import read_manifest
from proxy.downloads.planning import Plan, assignment_of, plan
from proxy.downloads.records import Figures, JobRecord, new_record
from proxy.downloads.repositories import parse_repository
from proxy.downloads.requests import DownloadRequest, StatusQuery, parse_manifest, parse_request
from proxy.downloads.sourcejobs import Piece, SourceJob, SourceListing
from proxy.downloads.tasks import Listed
from proxy.membership import Membership
from proxy.peers import Peers
from proxy.sources.huggingface import Hub

_ALPHABET = string.ascii_letters + string.digits + "_-"
_THREAD_BODY_BYTES = 256 * 1024
"""Larger bodies are parsed and planned in a thread, so that nobody else has to wait for them."""
_ANNOUNCE_AFTER_SECONDS = 1.0
_ATTEMPTS = 10
Shares = tuple[tuple[str, str], ...]
"""Of a job: (share id, target id)."""
_log = structlog.get_logger("proxy.downloads")


class SourceLists(NamedTuple):
    """Who lists what a job names as a whole: repositories of a hub, buckets outside of the cluster."""

    hub: Hub
    listers: Listers


class Overview(NamedTuple):
    """A job, its figures, and those of its shares by (share id, target id)."""

    record: JobRecord
    figures: Figures
    shares: Mapping[tuple[str, str], ShareStatus]


class Downloads:
    """All download jobs of the cluster, as seen from one proxy."""

    def __init__(
        self,
        jobs: JobStore,
        buckets: Buckets,
        membership: Membership,
        peers: Peers,
        scope: TaskScope,
        control: Control,
        claims: Claims,
        lists: SourceLists,
    ) -> None:
        self._jobs = jobs
        self._buckets = buckets
        self._membership = membership
        self._peers = peers
        self._scope = scope
        self._control = control
        self._assigner = Assigner(peers)
        self._gathering = Gathering(membership, peers)
        self._manifests = ManifestJobs(self, ManifestReader(membership, peers))
        self._claims = claims
        self._hub, self._listers = lists.hub, lists.listers
        self._listers.on_listed = self._listed_to_its_end
        self._collecting: set[str] = set()

    async def start(self, body: bytes, key: RequestKey | None = None) -> dict[str, Any]:
        """Plan, assign and commit a job; returns its `id`, or for a dry run what it would do.

        With the `key` of an earlier request it is that one's job. Raises RequestErrors, NoTargets, Unavailable.
        """
        if key is not None and (started := await self._jobs.started_as(key)):
            return {"id": started}
        listed = await self._listed(body)
        is_large = listed is not None or len(body) > _THREAD_BODY_BYTES
        parse = partial(parse_request, body, listed, self._backend_of)
        request = await asyncio.to_thread(parse) if is_large else parse()
        if not self._membership.map.candidates:
            raise NoTargets
        if request.dry_run:
            return await self._survey(request)
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(ClaimLost):
                return {"id": await self._start(request, key, in_thread=is_large)}
        raise ClaimLost(request.bucket.cname)

    async def _survey(self, request: DownloadRequest) -> dict[str, Any]:
        walk = piece = None
        if isinstance(request.tasks, SourceJob):
            walk, piece = await self._listers.whole(request.tasks, request.credentials)
        if request.credentials:
            request = self._listers.sealed(request)
        plan = await self._plan(new_job_id(), request, 0, in_thread=True, piece=piece)
        found = await survey(plan, self._peers)
        if walk is not None and walk.job.is_sync:
            found["to_remove"], allowed = await self._listers.removals(walk, request.bucket)
            found |= {} if allowed is None else {"max_delete": allowed}
        return found

    def _backend_of(self, bucket: Bucket) -> Bucket | None:
        record = self._buckets.table.records.get(bucket.uname)
        return record.backend if record is not None else None

    async def _listed(self, body: bytes) -> Listed | None:
        """The objects that a manifest or a repository lists, None when the job does so itself."""
        manifest = parse_manifest(body)
        if manifest is not None:
            text = pieces(await self._manifests.read(manifest, body))
            return Listed(read_manifest(manifest.kind, text, manifest.base_url))
        wanted = parse_repository(body)
        return None if wanted is None else wanted.listed(await self._hub.list(wanted.repository))

    async def _start(self, request: DownloadRequest, key: RequestKey | None, *, in_thread: bool) -> str:
        """One attempt; raises ClaimLost, having undone everything, when its bucket was made by somebody else."""
        walk, piece = None, None
        if isinstance(request.tasks, SourceJob):
            walk, piece = await self._listers.first(request.tasks, request.credentials)
        if request.credentials:
            request = self._listers.sealed(request)
        bucket = await self._buckets.claim(request.bucket)
        check_access(bucket.record, Permission.PUT)
        job_id = new_job_id()
        planned = await self._plan(job_id, request, bucket.record.id, in_thread=in_thread, piece=piece)
        listing = None
        if walk is not None and piece is not None:
            listing = self._listers.started(walk, piece, planned.spec)
        announcement = self._scope.start(f"announce {job_id}", self._announce(job_id))
        try:
            with self._claims.planning(job_id):
                await self._assign_and_commit(planned, bucket, key, listing)
        finally:
            announcement.cancel()
        if walk is not None:
            self._listers.go_on(job_id, walk)
        return job_id

    async def _plan(
        self, job_id: str, request: DownloadRequest, bucket_id: int, *, in_thread: bool, piece: Piece | None = None
    ) -> Plan:
        arguments = (job_id, request, bucket_id, self._membership.map, piece.tasks if piece is not None else None)
        return await asyncio.to_thread(plan, *arguments) if in_thread else plan(*arguments)

    async def _announce(self, job_id: str) -> None:
        """Most jobs are committed before anybody could ask; only a job that takes longer is worth a write."""
        await asyncio.sleep(_ANNOUNCE_AFTER_SECONDS)
        await self._jobs.announce(job_id)

    async def _assign_and_commit(
        self, planned: Plan, bucket: Claim, key: RequestKey | None, listing: SourceListing | None
    ) -> None:
        job_id, targets = planned.spec.id, [share.target for share in planned.shares]
        is_committing = False
        try:
            copies = await self._assigner.assign(planned)
            record = new_record(planned.spec, assignment_of(planned, copies), clock.unix_ns(), listing)
            is_committing = True
            committed = await self._jobs.commit(record, partial(self._buckets.write_with, bucket), key)
            if committed.gone:
                raise Unavailable("Error starting download: a target gave up waiting for the job; try again")
        except (HaulError, asyncio.CancelledError) as error:
            # An unanswered commit may have happened; then only the store knows, and targets ask for the decision.
            is_cancelled = isinstance(error, asyncio.CancelledError)
            if not (is_committing if is_cancelled else getattr(error, "maybe_applied", False)):
                await asyncio.shield(self._drop(planned))
            raise
        _log.info("job.started", job=job_id, kind=record.kind, total=record.total, targets=len(targets))
        self._scope.start(f"start {job_id}", self._assigner.start(job_id, targets))
        if bucket.table is not None:
            await self._buckets.tell()

    async def _drop(self, planned: Plan) -> None:
        await self._assigner.drop(planned.spec.id, [share.target for share in planned.shares])
        await self._assigner.forget_copies(planned.spec.id, copies_of(planned.shares))

    async def status(self, query: StatusQuery) -> dict[str, Any]:
        """One job: its figures and, unless only active ones are asked for, its ended tasks. Raises JobNotFound."""
        record = await self._jobs.look(query.id)
        if record.is_finished and query.only_active:
            return job_json(record, merge(record, Answers({})), with_bytes=query.with_bytes)
        after = -1 if query.tasks_after is None else query.tasks_after
        tasks = not query.only_active
        answers = (await self._gathering.ask([record], tasks=tasks, limit=query.tasks_limit, after=after))[record.id]
        figures = self._merge(record, answers)
        shown = job_json(record, figures, answers.stale_targets, with_bytes=query.with_bytes)
        shares = answers.shares.values()
        errors = record.listing.errors if record.listing is not None else ()
        return shown | tasks_json(
            shares, query.tasks_limit, query.tasks_after, only_active=query.only_active, listing_errors=errors
        )

    async def list_jobs(self, query: StatusQuery) -> list[dict[str, Any]]:
        """All jobs whose description matches, the oldest first; with `only_active` those that have not finished."""
        matches = description_filter(query.regex)
        records = [record for record in await self._jobs.look_at_all() if matches(record.description)]
        answers = await self._gathering.ask([record for record in records if not record.is_finished])
        shown = []
        for record in records:
            known = answers.get(record.id, Answers({}))
            figures = self._merge(record, known)
            if not (query.only_active and figures.finished_ns):
                shown.append(job_json(record, figures, known.stale_targets, with_bytes=query.with_bytes))
        return shown

    async def record(self, job_id: str) -> JobRecord:
        """A job's record; raises JobNotFound."""
        return await self._jobs.look(job_id)

    async def records(self) -> list[JobRecord]:
        """All jobs' records, the oldest first."""
        return await self._jobs.look_at_all()

    async def overviews(self, records: Sequence[JobRecord]) -> list[Overview]:
        """Jobs with their figures as of now, and what each target says of its shares, in the given order."""
        answers = await self._gathering.ask(records) if records else {}
        return [Overview(one, self._merge(one, answers[one.id]), answers[one.id].shares) for one in records]

    async def figures(self, job_id: str) -> tuple[JobRecord, Figures]:
        """A job and its figures as of now; raises JobNotFound."""
        record = await self._jobs.look(job_id)
        return record, await self._figures(record)

    async def abort(self, job_id: str) -> None:
        """Stop a job for good; harmless when it has ended already. Raises JobNotFound."""
        now_ns = clock.unix_ns()
        await self._control.change(job_id, lambda record: record.aborting(now_ns))
        await self._collect(job_id)

    async def pause(self, job_id: str) -> None:
        """Let a job rest until it is resumed; what is half-fetched stays. Raises JobNotFound, InvalidRequest."""
        await self._control.change(job_id, lambda record: record.pausing(paused=True))

    async def resume(self, job_id: str) -> None:
        """Let a paused job go on; raises JobNotFound, InvalidRequest."""
        await self._control.change(job_id, lambda record: record.pausing(paused=False))

    async def remove(self, job_id: str) -> None:
        """Forget a job that has ended; raises JobNotFound, InvalidRequest while it runs."""
        record, figures = await self.figures(job_id)
        if not figures.finished_ns:
            raise InvalidRequest(f'job "{job_id}" is still running')
        self._gathering.forget(record.shares)
        await self._control.change(job_id, JobRecord.removing)

    def share_finished(self, share: str) -> None:
        """A target says that its share has ended: see whether the job has."""
        job_id, _ = split_share_id(share)
        self._scope.start(f"collect {job_id}", self._collect(job_id))

    def _listed_to_its_end(self, job_id: str) -> None:
        self._scope.start(f"collect {job_id}", self._collect(job_id))

    async def _figures(self, record: JobRecord) -> Figures:
        if record.is_finished:
            return merge(record, Answers({}))
        return self._merge(record, (await self._gathering.ask([record]))[record.id])

    def _merge(self, record: JobRecord, answers: Answers) -> Figures:
        """The job's figures; when they turn out to be final, they go into the record."""
        figures = merge(record, answers)
        if figures.finished_ns and not record.is_finished and record.id not in self._collecting:
            self._collecting.add(record.id)
            self._scope.start(f"summarise {record.id}", self._summarise(record, figures))
        return figures

    async def _collect(self, job_id: str) -> None:
        try:
            record = await self._jobs.get(job_id)
            if not record.is_finished:
                await self._figures(record)
        except HaulError as error:
            _log.warning("downloads.not_collected", job=job_id, error=error.message)

    async def _summarise(self, record: JobRecord, figures: Figures) -> None:
        """Keep figures as the last ones, unless the job has been assigned again since they were taken of `record`."""
        job_id = record.id
        try:
            summarised = await self._jobs.update(job_id, lambda now: _summarised(now, figures, record.shares))
            if summarised.is_finished:
                await self._forget_copies(summarised)
        except JobNotFound:
            pass
        except HaulError as error:
            _log.warning("downloads.not_summarised", job=job_id, error=error.message)
        finally:
            self._collecting.discard(job_id)

    async def _forget_copies(self, record: JobRecord) -> None:
        nodes = {node.id: node for node in self._membership.online_targets()}
        for assignment in record.assignments:
            copies = [(holder, nodes[keeper]) for holder, keeper in assignment.copies if keeper in nodes]
            if copies:
                await self._assigner.forget_copies(share_id(record.id, assignment.token), copies)


def new_job_id() -> str:
    """A fresh id: `dnl-` and nine characters, the first of them a letter."""
    return "dnl-" + secrets.choice(string.ascii_letters) + "".join(secrets.choice(_ALPHABET) for _ in range(8))


def _summarised(current: JobRecord, figures: Figures, shares: Shares) -> JobRecord:
    is_other = current.is_finished or current.gone or current.shares != shares
    return current if is_other else replace(current, summary=figures)
