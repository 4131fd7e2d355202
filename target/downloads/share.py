"""This target's share of one job: its state and its figures; and what all shares of a job have in common here.

Owned by `service`; the scheduler keeps `room` and `queued` (per lane) under its lock, the journal's thread adds up what
has become durable, the feeder moves the cursor and counts what it schedules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum

from common.shares import DEFAULT_PRIORITY, JobSpec
from common.vault import Sealed, Vault
from target.carriers.messages import Terms
from target.downloads.leases import Lease
from target.downloads.task import Result
from target.transfer.budget import Budget


def _lines(headers: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(f"{name}: {value}" for name, value in headers)


class State(Enum):
    """The life of a share; stored in the journal by name."""

    PREPARED = "prepared"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    ABORTED = "aborted"


class Room:
    """The connections of one job on this target, whatever the number of its shares; `limit` 0 for no limit.

    `starved` lanes wait for one to be given back.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.active = 0
        self.starved: set[int] = set()

    @property
    def has_room(self) -> bool:
        """Whether the job's limit of connections allows one more."""
        return not self.limit or self.active < self.limit


class Share:
    """One assignment of a job to this target; `number` is its key in the journal."""

    def __init__(
        self,
        number: int,
        spec: JobSpec,
        *,
        state: State,
        started_ns: int,
        room: Room | None = None,
    ) -> None:
        """`room` is that of the job's other shares, if there are any."""
        self.number = number
        self.spec = spec
        self.id = spec.share_id
        self.room = room or Room(spec.connections)
        self.state = state
        self.started_ns = started_ns
        self.finished_ns = 0
        self.sealed = False
        self.next_batch = 0
        self.request_headers = _lines(spec.headers)
        self.credentials: Mapping[str, str] = {}
        self.trouble = ""
        """Why nothing of it can be fetched, for the user."""
        self.budget: Budget | Lease | None = None
        self.fed_at = 0.0
        self.settle: Callable[[Result], object] | None = None
        """Is told of each task's end, in place of the journal, which does not know this share; any thread."""
        self.changing = asyncio.Lock()
        self._change = 0
        self.weight = 2.0 ** (spec.priority - DEFAULT_PRIORITY)

        self.queued: list[int] = []

        self.cursor = 0
        self.exhausted = False
        self.has_history = False
        self.is_ending = False

        self.scheduled = 0
        self.finished = 0
        self.skipped = 0
        self.removed = 0
        self.errors = 0
        self.bytes = 0

    def unlock(self, vault: Vault) -> None:
        """Make the secrets that the job carries usable here; a share that stays locked has its `trouble`."""
        if self.spec.sealed:
            try:
                secrets = vault.open(self.spec.sealed)
            except Sealed as error:
                self.trouble = error.message
            else:
                self.request_headers = _lines(secrets["headers"])
                self.credentials, self.trouble = secrets["credentials"], ""

    def takes(self, change: int) -> bool:
        """Whether a change of the job with that number is not older than what was taken before; notes it if so.

        A message may arrive long after its sender has given up, and after later ones; but over a connection to this
        process, so that nothing of this has to outlive it.
        """
        is_late = change < self._change
        self._change = max(change, self._change)
        return not is_late

    def queued_in(self, lane: int) -> int:
        """How many of its tasks wait in a lane."""
        return self.queued[lane] if lane < len(self.queued) else 0

    def terms(self) -> Terms:
        """What a carrier is told before its first order of this share."""
        spec = self.spec
        budget = self.budget.bytes_per_second if self.budget else 0.0
        return Terms(
            *(self.number, spec.id, spec.bucket.uname, spec.bucket_id, self.request_headers),
            *(spec.timeout_seconds, budget, self.has_history),
        )

    def __repr__(self) -> str:
        ended = self.finished + self.errors
        return f"<Share {self.id} {self.state.value}: {ended} of {self.scheduled} ended, {sum(self.queued)} queued>"

    @property
    def plan(self) -> tuple[str, ...]:
        """The ids of the targets that this was planned over."""
        return tuple(sorted(node for node, _ in self.spec.targets))

    @property
    def is_stopped(self) -> bool:
        """Nothing more is to be started, at least for now."""
        return self.state is State.PAUSED or self.has_ended

    @property
    def has_ended(self) -> bool:
        """Nothing will ever be started again."""
        return self.state in (State.FINISHED, State.ABORTED)

    @property
    def is_complete(self) -> bool:
        """Every task of the share has ended."""
        return self.sealed and self.exhausted and self.finished + self.errors == self.scheduled
