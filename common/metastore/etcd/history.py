"""Whether answers come from one history that only goes forward; pure.

An etcd that was made anew, or restored from a backup, knows less than it has told already: its revisions mean something
else, and whoever goes on with it acts on what never happened. Which members are asked then is left to `members`.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.metastore.base import WrongIncarnation
from common.metastore.etcd.wire import Header


@dataclass(frozen=True, slots=True)
class Mark:
    """What was known when something was asked: a linearizable answer knows at least as much."""

    revision: int
    raft_term: int


class History:
    """The highest that was seen of one etcd cluster."""

    def __init__(self) -> None:
        self.cluster_id = 0
        self.revision = 0
        self.raft_term = 0

    def check_cluster(self, url: str, header: Header) -> None:
        """Raises WrongIncarnation when the answer is another cluster's."""
        if self.cluster_id and header.cluster_id and header.cluster_id != self.cluster_id:
            raise WrongIncarnation(
                f"{url} belongs to the etcd cluster {header.cluster_id:x}, and the meta store was {self.cluster_id:x}: "
                "another etcd has taken its place. Point Haul at the old one, or stop all its nodes and start anew"
            )

    def is_behind(self, header: Header, asked_at: Mark) -> bool:
        """Whether a linearizable answer knows less than was known when it was asked for."""
        return header.revision < asked_at.revision or header.raft_term < asked_at.raft_term

    def mark(self) -> Mark:
        """What is known now."""
        return Mark(self.revision, self.raft_term)

    def take(self, header: Header) -> None:
        self.cluster_id = self.cluster_id or header.cluster_id
        self.revision = max(self.revision, header.revision)
        self.raft_term = max(self.raft_term, header.raft_term)
