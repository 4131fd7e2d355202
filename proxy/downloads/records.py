"""The record of a job in the meta store, and its life: committed, aborted, summarised, removed; pure.

Nothing per object and no secret is in it: tasks, links and headers are in the targets' journals. Who holds which share
is in it, and nowhere else: a share that the record does not name does not count, whatever has become of it.

    absent ──commit──> running ──summary──> finished ──remove──> removed ──all targets know──> absent
       │                  └──abort──> aborted ──summary──> finished
       └──a target asks for a decision──> dropped (expires)

A job that runs may be paused and resumed. `dropped` and `removed` are tombstones: the key stays, so that a slow proxy
cannot commit the job afterwards, and a target that was away can still be told. `pending` names the targets that have
not heard of the latest change (pause, resume, abort, removal), whose number is `change`. What a target held that is
lost for good is assigned again (`reassigned`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import msgpack

from common.errors import InvalidRequest, JobNotFound
from common.shares import DEFAULT_PRIORITY, JobSpec, Planned, share_id
from common.versions import known_of, unknown_fields, unknown_of, with_unknown
from proxy.downloads.sourcejobs import SourceListing

MAX_NOTES = 50
"""Of each job; the newest stay."""
_PLAIN_BYTES = 128 << 10
"""Larger records are compressed: of a source of millions many assignments name the same targets, again and again.

Older proxies cannot read those, and could not have written them either: the store's limit is not far above.
"""
_COMPRESSED = b"\xc1"
"""What no msgpack begins with."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The counters of a job over all its targets; `finished_ns` is 0 while anything is still to do."""

    scheduled: int = 0
    finished: int = 0
    skipped: int = 0
    errors: int = 0
    bytes: int = 0
    all_dispatched: bool = True
    aborted: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Assignment:
    """Tasks of a job given to targets at one time: to `holders`, by placement over the targets `planned`.

    Of the first one the token is empty; later ones take over what the `lost` targets held. `copies` tells for a holder
    who keeps a copy of its list of tasks, too, so that the list outlives it.
    """

    token: str = ""
    holders: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    unknown: Mapping[str, Any] = unknown_fields()

    def keeper_of(self, holder: str) -> str:
        """Who keeps a copy of a holder's list; empty when nobody does."""
        return dict(self.copies).get(holder, "")

    def with_copy(self, holder: str, keeper: str) -> Assignment:
        """The assignment when this holder's list is kept by this keeper."""
        others = tuple((one, other) for one, other in self.copies if one != holder)
        return replace(self, copies=(*others, (holder, keeper)))

    def without(self, lost: Iterable[str]) -> Assignment:
        """The assignment when these targets hold nothing of it any more."""
        gone = set(lost)
        return replace(
            self,
            holders=tuple(holder for holder in self.holders if holder not in gone),
            copies=tuple((holder, keeper) for holder, keeper in self.copies if holder not in gone),
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Read msgpack's form; fields of a newer proxy are only kept."""
        known = known_of(cls.__dataclass_fields__, plain)
        for name in ("holders", "planned", "lost"):
            known[name] = tuple(known.get(name, ()))
        known["copies"] = tuple((holder, keeper) for holder, keeper in known.get("copies", ()))
        known["unknown"] = unknown_of(cls.__dataclass_fields__, plain)
        return cls(**known)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as all proxies know it; `gone` marks a tombstone.

    `notes` are (unix nanoseconds, text) of what became of it as a whole, the oldest first; `refused` tokens are of
    assignments that some target has been told to drop. `source`: what was listed, with its version, where it is told.
    """

    id: str
    kind: str = ""
    description: str = ""
    bucket: str = ""
    total: int = 0
    assignments: tuple[Assignment, ...] = ()
    created_ns: int = 0
    aborted_ns: int = 0
    summary: Figures | None = None
    pending: tuple[str, ...] = ()
    gone: bool = False
    paused: bool = False
    change: int = 0
    priority: int = DEFAULT_PRIORITY
    is_range: bool = False
    notes: tuple[tuple[int, str], ...] = ()
    refused: tuple[str, ...] = ()
    listing: SourceListing | None = None
    source: str = ""
    unknown: Mapping[str, Any] = unknown_fields()

    @property
    def is_listing(self) -> bool:
        """Whether more tasks may come of the job's source."""
        return self.listing is not None and not self.listing.is_complete

    @property
    def shares(self) -> tuple[tuple[str, str], ...]:
        """Everything that is part of the job: (share id, target id)."""
        return tuple(
            (share_id(self.id, assignment.token), holder)
            for assignment in self.assignments
            for holder in assignment.holders
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """The ids of the targets that hold a share."""
        return tuple(dict.fromkeys(target for _, target in self.shares))

    def shares_of(self, target_id: str) -> tuple[str, ...]:
        """The ids of the shares that a target holds."""
        return tuple(share for share, target in self.shares if target == target_id)

    def copies_of(self, keeper_id: str) -> tuple[tuple[str, str], ...]:
        """Whose shares a target keeps copies of: (share id, holder)."""
        return tuple(
            (share_id(self.id, assignment.token), holder)
            for assignment in self.assignments
            for holder, keeper in assignment.copies
            if keeper == keeper_id
        )

    @property
    def is_running(self) -> bool:
        """Something of it is still to do, or rests."""
        return not (self.is_finished or self.aborted_ns or self.gone)

    def assignment(self, token: str) -> Assignment | None:
        """The assignment of that token, if it is one of this job's."""
        return next((one for one in self.assignments if one.token == token), None)

    def plans(self, digest: Callable[[str], int]) -> tuple[Planned, ...]:
        """All assignments as the targets of a range job need them; `digest` gives a target id's."""
        return tuple(
            Planned(one.lost, tuple((target, digest(target)) for target in one.planned)) for one in self.assignments
        )

    @property
    def is_finished(self) -> bool:
        """The figures will not change any more."""
        return self.summary is not None

    @property
    def actions(self) -> tuple[str, ...]:
        """What a target is to be told, that has missed the latest change."""
        if self.gone:
            return ("abort", "remove")
        if self.aborted_ns:
            return ("abort",)
        return ("pause",) if self.paused else ("resume",)

    def aborting(self, now_ns: int) -> JobRecord:
        """Aborted now, and every target is to be told; one that has ended is only marked. Raises JobNotFound."""
        self._check_here()
        return replace(
            self,
            aborted_ns=self.aborted_ns or now_ns,
            paused=False,
            pending=() if self.is_finished else self.targets,
            change=self.change + 1,
            listing=self.listing.without_secrets() if self.listing is not None else None,
        )

    def pausing(self, *, paused: bool) -> JobRecord:
        """Paused, or resumed; every target is to be told. Raises JobNotFound, InvalidRequest when the job has ended."""
        self._check_here()
        if self.is_finished or self.aborted_ns:
            verb = "paused" if paused else "resumed"
            raise InvalidRequest(f'job "{self.id}" has ended, it cannot be {verb}')
        if self.paused == paused:
            return self
        return replace(self, paused=paused, pending=self.targets, change=self.change + 1)

    def removing(self) -> JobRecord:
        """Removed, and every target is to be told."""
        return replace(self, gone=True, pending=self.targets, change=self.change + 1)

    def reassigned(
        self, assignment: Assignment, note: str, now_ns: int, planned_from: tuple[Assignment, ...]
    ) -> JobRecord:
        """What the assignment's lost targets held is its holders' now.

        What has been listed and given meanwhile stays as it is: a target that is lost with that, too, is seen again.
        Raises InvalidRequest when that cannot be: the job has ended, or is not any more what was `planned_from`.
        """
        earlier, later = self.assignments[: len(planned_from)], self.assignments[len(planned_from) :]
        is_other = earlier != planned_from or any(one.lost for one in later)
        if not self.is_running or assignment.token in self.refused or is_other:
            raise InvalidRequest(f'job "{self.id}" has changed, its tasks cannot be assigned like that')
        kept = (*(one.without(assignment.lost) for one in earlier), *later)
        # A resting job's new shares were started, and must hear that it rests; others are told of nothing.
        pending = tuple(dict.fromkeys((*self.pending, *assignment.holders))) if self.paused else self.pending
        return self.noted(note, now_ns, assignments=(*kept, assignment), pending=pending)

    def listed(
        self, listing: SourceListing, assignment: Assignment | None, planned_from: SourceListing | None
    ) -> JobRecord:
        """With one more piece of the source's listing, given to the assignment's holders.

        Raises InvalidRequest when that cannot be: the job has ended, another proxy has gone on with the listing, or a
        target that waited for long has been told to drop what the assignment gives it.
        """
        is_refused = assignment is not None and assignment.token in self.refused
        if not self.is_running or self.listing != planned_from or is_refused:
            raise InvalidRequest(f'job "{self.id}" has changed, its listing cannot go on like that')
        record = replace(self, listing=listing)
        if listing.is_complete:
            record = replace(record, listing=listing.without_secrets(), total=listing.count + listing.error_count)
        if assignment is None or not assignment.holders:
            return record
        pending = tuple(dict.fromkeys((*self.pending, *assignment.holders))) if self.paused else self.pending
        return replace(record, assignments=(*self.assignments, assignment), pending=pending)

    def copied(self, token: str, holder: str, keeper: str) -> JobRecord:
        """A holder's list has another keeper now; unless it holds nothing any more."""
        return replace(
            self,
            assignments=tuple(
                one.with_copy(holder, keeper) if one.token == token and holder in one.holders else one
                for one in self.assignments
            ),
        )

    def noted(self, note: str, now_ns: int, **changes: Any) -> JobRecord:
        """With one more note, and other changes."""
        return replace(self, notes=(*self.notes, (now_ns, note))[-MAX_NOTES:], **changes)

    def refusing(self, token: str) -> JobRecord:
        """An assignment that has not been made will never be."""
        return self if token in self.refused else replace(self, refused=(*self.refused, token)[-MAX_NOTES:])

    def _check_here(self) -> None:
        if self.gone:
            raise JobNotFound(self.id)

    def told(self, targets: Iterable[str], change: int) -> JobRecord:
        """These targets know of a change; unless it was the latest, that does not say that they know that one."""
        if change != self.change:
            return self
        known = set(targets)
        return replace(self, pending=tuple(target for target in self.pending if target not in known))

    def pack(self) -> bytes:
        """The msgpack form."""
        plain = with_unknown(asdict(self))
        plain["assignments"] = [with_unknown(one) for one in plain["assignments"]]
        plain["listing"] = self.listing.to_plain() if self.listing is not None else None
        packed: bytes = msgpack.packb(plain)
        return packed if len(packed) <= _PLAIN_BYTES else _COMPRESSED + zlib.compress(packed)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read the msgpack form; fields of a newer proxy are only kept, but for a summary's: it is never changed."""
        if packed.startswith(_COMPRESSED):
            packed = zlib.decompress(packed[len(_COMPRESSED) :])
        unpacked = msgpack.unpackb(packed)
        if "assignments" not in unpacked:
            targets = unpacked.pop("targets")
            unpacked["assignments"] = [{"holders": targets, "planned": targets}]
        plain = known_of(cls.__dataclass_fields__, unpacked)
        plain["pending"], plain["refused"] = tuple(plain["pending"]), tuple(plain.get("refused", ()))
        plain["notes"] = tuple((at_ns, note) for at_ns, note in plain.get("notes", ()))
        plain["assignments"] = tuple(Assignment.from_plain(one) for one in plain["assignments"])
        if plain.get("listing") is not None:
            plain["listing"] = SourceListing.from_plain(plain["listing"])
            if not (plain["listing"].is_complete or plain["aborted_ns"]):
                plain["summary"] = None  # of an older proxy, which takes such a job for one that has ended
        if plain["summary"] is not None:
            plain["summary"] = Figures(**known_of(Figures.__dataclass_fields__, plain["summary"]))
        plain["unknown"] = unknown_of(cls.__dataclass_fields__, unpacked)
        return cls(**plain)


def new_record(spec: JobSpec, assignment: Assignment, now_ns: int, listing: SourceListing | None = None) -> JobRecord:
    """The record that commits a planned job; one without tasks has finished at once, unless more may be listed."""
    is_empty = not assignment.holders and listing is None
    summary = Figures(started_ns=now_ns, finished_ns=now_ns) if is_empty else None
    total = listing.count + listing.error_count if listing is not None and listing.is_complete else spec.total
    return JobRecord(
        spec.id,
        spec.kind,
        spec.description,
        spec.bucket.uname,
        total,
        (assignment,),
        now_ns,
        summary=summary,
        priority=spec.priority,
        is_range=bool(spec.template),
        listing=listing.without_secrets() if listing is not None and listing.is_complete else listing,
        source=spec.source,
    )


def dropped(job_id: str) -> JobRecord:
    """The tombstone of a job that was never committed."""
    return JobRecord(job_id, gone=True)
