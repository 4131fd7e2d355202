"""Turns the ends of tasks into durable results and figures; what is not durable yet is not counted.

Called by committers, lanes and the feeder; counting happens on the journal's thread after each commit, so every result
is counted exactly once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from common import clock
from common.errors import HaulError
from target.carriers.messages import FAILED, FINISHED, REMOVED, SKIPPED
from target.downloads import journal as records
from target.downloads.journal import Journal
from target.downloads.share import Share, State
from target.downloads.task import Result

_log = structlog.get_logger("target.recorder")


@dataclass(slots=True)
class Totals:
    """What has ended at this target since it started, in all jobs; `downloaded_bytes` of what was not there before."""

    downloaded: int = 0
    skipped: int = 0
    removed: int = 0
    failed: int = 0
    downloaded_bytes: int = 0

    def add(self, results: Sequence[Result]) -> None:
        """Count what has become durable; one thread at a time."""
        outcomes = [result.outcome for result in results]
        self.downloaded += outcomes.count(FINISHED)
        self.skipped += outcomes.count(SKIPPED)
        self.removed += outcomes.count(REMOVED)
        self.failed += outcomes.count(FAILED)
        self.downloaded_bytes += sum(result.downloaded for result in results if result.outcome == FINISHED)


class Recorder:
    """Records results, and ends a share when its last one is durable."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._on_ended: Callable[[Share], None]
        self._lock = threading.Lock()
        self.totals = Totals()

    def start(self, on_ended: Callable[[Share], None]) -> None:
        """Tell `on_ended` of every share that has ended, on the journal's thread."""
        self._on_ended = on_ended

    def record(self, results: Sequence[Result]) -> None:
        """Make results durable, then count them; any thread."""
        kept = [result for result in results if not _settled(result)]
        if kept:
            self._journal.submit(
                lambda connection: records.add_results(connection, kept),
                lambda _, error: self._recorded(kept, error),
            )

    def end_if_complete(self, share: Share) -> None:
        """End a running share whose tasks have all ended; any thread, any number of times."""
        with self._lock:
            if share.state is not State.RUNNING or share.is_ending or not share.is_complete:
                return
            share.is_ending = True
        self._end(share)

    def _recorded(self, results: Sequence[Result], error: HaulError | None) -> None:
        if error is not None:
            _log.error("results.not_recorded", count=len(results), error=error.message)
            return
        self.totals.add(results)
        shares = set()
        for result in results:
            share = result.task.share
            shares.add(share)
            records.count_result(share, result.outcome, 1, result.downloaded)
        for share in shares:
            self.end_if_complete(share)

    def _end(self, share: Share) -> None:
        finished_ns = clock.unix_ns()

        def ended(is_first: bool | None, error: HaulError | None) -> None:
            if error is not None:
                _log.error("share.end_not_recorded", job=share.id, error=error.message)
                return
            if not is_first:  # it was aborted at the same time
                return
            share.state = State.FINISHED
            share.finished_ns = finished_ns
            self._on_ended(share)

        self._journal.submit(
            lambda connection: records.set_state(connection, share, State.FINISHED, finished_ns), ended, forgets=True
        )


def _settled(result: Result) -> bool:
    """Whether somebody else than the journal has been told of it."""
    settle = result.task.share.settle
    if settle is None:
        return False
    settle(result)
    return True
