"""Who may change what in a bucket that is being renamed, and whether somebody is just doing it.

A walk that is to miss nothing begins when the bucket is marked here, so that no change begins any more, and those that
had begun have ended. Which marks there are is decided by the proxies (`common.moving`). Belongs to the event loop, but
for what says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Container, Iterator, Mapping

from common.moving import Moving
from common.names import Bucket


class Gates:
    """The marks of all buckets as this target was told them last, and the changes that are under way."""

    def __init__(self) -> None:
        self._marks: Mapping[Bucket, Moving] = {}
        self._running: Counter[tuple[Bucket, bool]] = Counter()
        self._ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Gates {dict(self._marks)}, {self._running.total()} changes under way>"

    def take(self, marks: Mapping[Bucket, Moving], known: Container[Bucket]) -> None:
        """These are marked from now on, of the buckets that are known; what was closed and is gone stays closed.

        Between the end of a bucket and of its objects here nothing may be stored in it any more.
        """
        gone = {bucket: mark for bucket, mark in self._marks.items() if mark.is_closed and bucket not in known}
        self._marks = {**gone, **marks}

    def forget(self, bucket: Bucket) -> None:
        """The bucket's objects are gone, and nothing can be stored in it."""
        self._marks = {other: mark for other, mark in self._marks.items() if other != bucket}

    def mark(self, bucket: Bucket) -> Moving | None:
        """The bucket's mark; any thread."""
        return self._marks.get(bucket)

    def check(self, bucket: Bucket, *, adds: bool) -> None:
        """Raise BucketMoves for a change that is not possible now; `adds`: something is stored anew. Any thread."""
        mark = self._marks.get(bucket)
        if mark is not None:
            mark.check(bucket, adds=adds)

    @contextlib.contextmanager
    def changing(self, bucket: Bucket, *, adds: bool) -> Iterator[None]:
        """Around whatever changes something durably before that is acknowledged; raises as `check` does."""
        self.check(bucket, adds=adds)
        self._running[bucket, adds] += 1
        try:
            yield
        finally:
            self._running[bucket, adds] -= 1
            if not self._running[bucket, adds]:
                del self._running[bucket, adds]
                self._ended.set()

    async def calm(self, bucket: Bucket) -> None:
        """Wait for the changes under way that would not be let in any more."""
        while self._running[bucket, False] or (self._is_closed(bucket) and self._running[bucket, True]):
            self._ended.clear()
            await self._ended.wait()

    def _is_closed(self, bucket: Bucket) -> bool:
        mark = self._marks.get(bucket)
        return mark is not None and mark.is_closed
