"""One object to download on this target, from the moment it is expanded until its result is durable.

What happens to it next is decided in `scheduler` and `retry`; `lane` carries it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from common.expectation import Expectation
from common.links import redact

if TYPE_CHECKING:
    from target.downloads.share import Share


class Task:
    """Mutable on purpose and slotted: millions pass through a target, each owned by one thread at a time.

    `attempts` counts all of them, `attempt` those that count for the retry policy.
    """

    __slots__ = (
        *(
            "attempt",
            "attempts",
            "connections",
            "expected",
            "is_written_off",
            "lane",
            "link",
            "removes_ns",
            "name",
            "origin",
            "position",
        ),
        *("moved_bytes", "refusal", "share", "start_ns", "taken_at"),
    )

    def __init__(
        self,
        share: Share,
        position: int,
        name: str,
        link: str,
        origin: str,
        lane: int,
        expected: Expectation | None = None,
        removes_ns: int = 0,
    ) -> None:
        self.share = share
        self.position = position
        self.name = name
        self.link = link
        self.origin = origin
        self.lane = lane
        self.expected = expected
        self.removes_ns = removes_ns
        self.attempt = self.attempts = 0
        self.connections = 0
        self.is_written_off = False
        self.taken_at = 0.0
        self.moved_bytes = 0
        self.refusal = ""
        self.start_ns = 0

    @property
    def refusal_text(self) -> str:
        """Why it is not even tried, for the user."""
        return f'failed to download "{redact(self.link)}": {self.refusal}'

    def __repr__(self) -> str:
        return f"<Task {self.share.id}#{self.position} {self.name!r} attempt {self.attempt}>"


class Result(NamedTuple):
    """The end of a task as it goes into the journal; times in unix nanoseconds."""

    task: Task
    outcome: int
    downloaded: int
    total: int
    end_ns: int
    error: str = ""
