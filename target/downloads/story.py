"""Why a share went as it did: what was decided about the origins of its objects, kept in the journal.

Deciding is left to `hosts`; here a decision about an origin becomes a line in the story of every share that uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from common import clock
from target.downloads import journal as records
from target.downloads.journal import Journal, StoryLine
from target.downloads.share import Share

MAX_LINES = 1_000
"""Of each share; the newest stay."""
MAX_ORIGINS = 1_000
"""Of each share; decisions about others, in a job over more hosts than that, are not told."""


class Story:
    """The stories of all running shares; every method may be called from any thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._users: dict[str, set[Share]] = {}
        self._origins: dict[Share, set[str]] = {}

    def uses(self, share: Share, limits: Mapping[str, int]) -> None:
        """The share has objects from these origins; given are the connections that each may have now."""
        with self._lock:
            known = self._origins.setdefault(share, set())
            new = [origin for origin in limits if origin not in known][: MAX_ORIGINS - len(known)]
            known.update(new)
            for origin in new:
                self._users.setdefault(origin, set()).add(share)
                self._write(share, origin, limits[origin], limits[origin], "begins with what is known of it")

    def tell(self, origin: str, before: int, after: int, why: str) -> None:
        """A decision: connections before and after it, and the reason."""
        with self._lock:
            for share in self._users.get(origin, ()):
                self._write(share, origin, before, after, why)

    def say(self, shares: Iterable[Share], what: str) -> None:
        """Something that is not about an origin."""
        with self._lock:
            for share in shares:
                self._write(share, "", 0, 0, what)

    def read(self, share: Share) -> list[StoryLine]:
        """A share's story, the oldest line first; for threads only. Raises DiskError."""
        return self._journal.call(lambda connection: records.read_story(connection, share.number))

    def forget(self, share: Share) -> None:
        """The share has ended: its story is written."""
        with self._lock:
            for origin in self._origins.pop(share, ()):
                users = self._users[origin]
                users.discard(share)
                if not users:
                    del self._users[origin]

    def _write(self, share: Share, origin: str, before: int, after: int, why: str) -> None:
        number, line = share.number, StoryLine(clock.unix_ns(), origin, before, after, why)
        self._journal.submit(lambda connection: records.add_line(connection, number, MAX_LINES, line))
