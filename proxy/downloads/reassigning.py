"""What lost targets held of running jobs is assigned again over the living, and every share keeps a second copy.

A target is lost when it has left the cluster map, or when it is back without what it held. Its tasks, those too whose
objects went away with it, become a new assignment: of a list from the copy that another target keeps, of a range from
its template. As with a new job nothing runs before the record says so, and the record says both at once: the lost
shares do not count any more, the new ones do. All of it is the leader's (`proxy.leadership`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from common import clock, failpoints
from common.bulkplacement import digests, owners
from common.clustermap import Node
from common.errors import HaulError, Unavailable
from common.lifecycle import TaskScope
from common.placement import digest
from common.shares import JobSpec, TaskSpec, share_id
from proxy.downloads.assigning import Assigner, ShareSender
from proxy.downloads.control import Control
from proxy.downloads.jobstore import JobStore
from proxy.downloads.planning import BATCH_TASKS, Batch, keeper_for
from proxy.downloads.records import Assignment, JobRecord
from proxy.leadership import Authority
from proxy.membership import Membership
from proxy.peers import Peers

_ASK_SECONDS = 10.0
_KNOWN_SECONDS = 3.0
_ASK_AGAIN_SECONDS = 30.0
_ASK_SILENT_AGAIN_SECONDS = 10.0
_log = structlog.get_logger("proxy.downloads.reassigning")


@dataclass(slots=True)
class _NewShares:
    """The shares of a new assignment while they are sent: `open` has tasks that do not fill a batch yet."""

    senders: dict[str, ShareSender] = field(default_factory=dict)
    open: dict[str, Batch] = field(default_factory=dict)
    tasks: int = 0


class Reassigning:
    """Looks after the shares of running jobs."""

    def __init__(
        self,
        jobs: JobStore,
        membership: Membership,
        peers: Peers,
        assigner: Assigner,
        control: Control,
        scope: TaskScope,
    ) -> None:
        self._jobs = jobs
        self._membership = membership
        self._peers = peers
        self._assigner = assigner
        self._control = control
        self._scope = scope
        self._asked: dict[str, tuple[int, float]] = {}
        self._forgotten_shares: set[tuple[str, str]] = set()
        self._forgotten_copies: set[tuple[str, str, str]] = set()

    async def look_after(self, authority: Authority) -> None:
        """Assign again what is lost, copy again what has only one copy; raises the first error of any job."""
        await self._ask_what_is_held()
        failure: HaulError | None = None
        for record in self._jobs.running():
            try:
                await self._look_after(record, authority)
            except HaulError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _look_after(self, record: JobRecord, authority: Authority) -> None:
        if self._lost(record):
            record = await self._jobs.get(record.id)
            if record.is_running and (lost := self._lost(record)):
                await self._reassign(record, lost, authority)
            return
        for assignment in record.assignments:
            for holder in self._without_copy(record, assignment):
                await self._copy_again(record, assignment, holder, authority)

    async def _ask_what_is_held(self) -> None:
        """Ask targets what they still have of running jobs: when they have started, and now and then besides."""
        running = self._jobs.running()
        now = clock.monotonic()

        async def ask(node: Node) -> None:
            shares = [share for record in running for share in record.shares_of(node.id)]
            copies = [copy for record in running for copy in record.copies_of(node.id)]
            try:
                known, kept = await self._held(node, shares, copies) if shares or copies else (set(), set())
            except HaulError as error:
                # One whose disk hangs, for example, must not hold up what is done about others.
                _log.warning("reassigning.not_known", target=node.id, error=error.message)
                self._asked[node.id] = node.incarnation, now - _ASK_AGAIN_SECONDS + _ASK_SILENT_AGAIN_SECONDS
                return
            self._forgotten_shares = {one for one in self._forgotten_shares if one[1] != node.id}
            self._forgotten_shares |= {(share, node.id) for share in shares if share not in known}
            self._forgotten_copies = {one for one in self._forgotten_copies if one[2] != node.id}
            self._forgotten_copies |= {(*copy, node.id) for copy in copies if copy not in kept}
            self._asked[node.id] = node.incarnation, now

        def is_due(node: Node) -> bool:
            incarnation, asked_at = self._asked.get(node.id, (0, 0.0))
            return incarnation != node.incarnation or now - asked_at >= _ASK_AGAIN_SECONDS

        await asyncio.gather(*(ask(node) for node in self._membership.online_targets() if is_due(node)))

    async def _held(
        self, node: Node, shares: Sequence[str], copies: Sequence[tuple[str, str]]
    ) -> tuple[set[str], set[tuple[str, str]]]:
        body = {"shares": shares, "copies": copies}
        answer = await self._peers.call(node, "/intra/v1/shares/known", body, _KNOWN_SECONDS)
        return set(answer["shares"]), {(share, holder) for share, holder in answer["copies"]}

    def _lost(self, record: JobRecord) -> list[str]:
        return [
            target
            for target in record.targets
            if self._membership.map.get(target) is None
            or any((share, target) in self._forgotten_shares for share in record.shares_of(target))
        ]

    def _without_copy(self, record: JobRecord, assignment: Assignment) -> list[str]:
        """The holders whose list nobody else keeps, though somebody could."""
        name = share_id(record.id, assignment.token)
        others = len(self._membership.map.candidates) > 1
        return [
            holder
            for holder in assignment.holders
            if others
            and (
                self._membership.map.get(assignment.keeper_of(holder)) is None
                or (name, holder, assignment.keeper_of(holder)) in self._forgotten_copies
            )
        ]

    async def _reassign(self, record: JobRecord, lost: Sequence[str], authority: Authority) -> None:
        candidates = self._online_candidates()
        planned_from = record.assignments
        token = secrets.token_hex(4)
        spec = await self._spec(record, lost, candidates, token)
        planning = self._scope.start(f"announce {spec.share_id}", self._jobs.announce(spec.share_id))
        sent = _NewShares()
        try:
            if record.is_range:
                sent.open = {node.id: [] for node in candidates}
            await self._send_shares(record, lost, candidates, spec, authority, sent)
            assignment = Assignment(
                token,
                holders=tuple(sorted(sent.senders)),
                planned=tuple(node.id for node in candidates),
                lost=tuple(lost),
                copies=tuple((one, sender.keeper.id) for one, sender in sent.senders.items() if sender.keeper),
            )
            note = _note(lost, assignment, None if record.is_range else sent.tasks)
            now_ns = clock.unix_ns()
            record = await self._jobs.update(
                record.id, lambda current: current.reassigned(assignment, note, now_ns, planned_from), authority.compare
            )
        except BaseException as error:
            # What was sent lies inert. Where the record may have been written, its holders ask what was decided.
            if not getattr(error, "maybe_applied", False):
                holders = [node for node in candidates if node.id in sent.senders]
                self._scope.start(f"drop {spec.share_id}", self._assigner.drop(spec.share_id, holders))
            raise
        finally:
            planning.cancel()
        _log.warning("job.reassigned", job=record.id, lost=list(lost), holders=assignment.holders, tasks=sent.tasks)
        if record.paused:
            await self._control.settle_job(record)
        else:
            await self._assigner.start(spec.share_id, [node for node in candidates if node.id in sent.senders])

    async def _send_shares(
        self,
        record: JobRecord,
        lost: Sequence[str],
        candidates: Sequence[Node],
        spec: JobSpec,
        authority: Authority,
        sent: _NewShares,
    ) -> None:
        placed = [node.digest for node in candidates]
        nodes = {node.id: node for node in candidates}

        async def send(node_id: str, *, is_last: bool) -> None:
            if node_id not in sent.senders:
                keeper = keeper_for(record.id, node_id, candidates)
                sent.senders[node_id] = ShareSender(self._peers, spec, nodes[node_id], keeper, epoch=authority.epoch)
            batch, sent.open[node_id] = sent.open[node_id], []
            failpoints.hit("leader.before_share")
            await sent.senders[node_id].send(batch, is_last=is_last)

        for assignment in record.assignments:
            for holder in () if record.is_range else set(lost).intersection(assignment.holders):
                async for tasks in self._list_of(record, assignment, holder):
                    names = digests(spec.bucket.uname, (task.name for task in tasks))
                    for task, owner in zip(tasks, owners(names, placed).tolist(), strict=True):
                        sent.open.setdefault(candidates[owner].id, []).append(task)
                    sent.tasks += len(tasks)
                    for node_id in [one for one, batch in sent.open.items() if len(batch) >= BATCH_TASKS]:
                        await send(node_id, is_last=False)
        for node_id in list(sent.open):
            await send(node_id, is_last=True)

    async def _list_of(self, record: JobRecord, assignment: Assignment, holder: str) -> AsyncIterator[list[TaskSpec]]:
        """The tasks of a lost share, by whoever has them; raises Unavailable when nobody does."""
        name = share_id(record.id, assignment.token)
        keeper = assignment.keeper_of(holder)
        node = self._membership.map.get(keeper) or self._membership.map.get(holder)
        if node is None:
            raise Unavailable(
                f'job "{record.id}": the list of target "{holder}" is lost with it and with who kept its copy; '
                "the job waits until one of them is back"
            )
        sequence, is_last = 0, False
        while not is_last:
            part = await self._part(node, name, holder, sequence)
            tasks = [TaskSpec.from_plain(task) for task in part["tasks"]]
            if tasks:
                yield tasks
            sequence, is_last = sequence + 1, part["is_last"]

    async def _part(self, node: Node, name: str, holder: str, sequence: int) -> Any:
        path, body = f"/intra/v1/shares/{name}/list", {"holder": holder, "seq": sequence}
        return await self._peers.call(node, path, body, _ASK_SECONDS)

    async def _spec(self, record: JobRecord, lost: Sequence[str], candidates: Sequence[Node], token: str) -> JobSpec:
        """What the new shares have in common, from any target that has something of the job."""
        base = await self._any_spec(record, lost)
        held = {target for target in record.targets if target not in lost}
        return replace(
            base,
            assignment=token,
            targets=tuple((node.id, node.digest) for node in candidates),
            share_count=len(held.union(node.id for node in candidates)),
            lost=tuple(lost),
            earlier=record.plans(digest),
        )

    async def _any_spec(self, record: JobRecord, lost: Sequence[str]) -> JobSpec:
        failure: HaulError = Unavailable(
            f'job "{record.id}": no target that knows what to download is here; it waits until one is back'
        )
        for node, name, holder in self._sources(record, lost):
            try:
                return JobSpec.unpack((await self._part(node, name, holder, 0))["spec"])
            except HaulError as error:
                failure = error
        raise failure

    def _sources(self, record: JobRecord, lost: Sequence[str]) -> Iterable[tuple[Node, str, str]]:
        """Who may have a share, or the copy of one: (node, share id, holder); copies first, they keep all secrets."""
        held = [
            (share_id(record.id, one.token), holder, one.keeper_of(holder))
            for one in record.assignments
            for holder in one.holders
        ]
        sources = [(keeper, name, holder) for name, holder, keeper in held]
        sources += [(holder, name, holder) for name, holder, _ in held if holder not in lost]
        for source, name, holder in sources:
            node = self._membership.map.get(source)
            if node is not None and self._membership.is_online(node.id):
                yield node, name, holder

    async def _copy_again(self, record: JobRecord, assignment: Assignment, holder: str, authority: Authority) -> None:
        """Give a holder's list to another keeper; a holder that does not answer now is asked the next time."""
        keeper = keeper_for(record.id, holder, self._online_candidates())
        node = self._membership.map.get(holder)
        if keeper is None or node is None or not self._membership.is_online(holder):
            return
        name = share_id(record.id, assignment.token)
        sequence, is_last = 0, False
        sender: ShareSender | None = None
        while not is_last:
            part = await self._part(node, name, holder, sequence)
            spec = JobSpec.unpack(part["spec"])
            sender = sender or ShareSender(self._peers, spec, node, keeper, epoch=authority.epoch)
            sequence, is_last = sequence + 1, part["is_last"]
            await sender.copy([TaskSpec.from_plain(task) for task in part["tasks"]], is_last=is_last)
        token = assignment.token
        await self._jobs.update(record.id, lambda current: current.copied(token, holder, keeper.id), authority.compare)
        self._forgotten_copies.discard((name, holder, keeper.id))

    def _online_candidates(self) -> list[Node]:
        """Everybody that objects are placed on; raises Unavailable while one of them is silent but not given up."""
        candidates = list(self._membership.map.candidates)
        silent = [node.id for node in candidates if not self._membership.is_online(node.id)]
        if silent or not candidates:
            raise Unavailable(f"waiting for {', '.join(silent) or 'a target'} to answer or to be given up")
        return candidates


def _note(lost: Sequence[str], assignment: Assignment, tasks: int | None) -> str:
    what = "what it held" if tasks is None else f"its {tasks} objects"
    who = ", ".join(assignment.holders) or "nobody"
    return f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} lost: {what} assigned again, to {who}"
