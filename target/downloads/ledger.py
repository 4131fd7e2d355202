"""What has become of each object of a share: one line an object, page by page, for proof and for another job.

Results are the journal's; size, digests and validator of what is stored come from the objects themselves, so they are
what is there now. A line is a valid line of a JSONL manifest (`proxy.downloads.manifests`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.errors import HaulError
from common.links import redact, without_secrets
from common.names import Bucket
from common.shares import TaskSpec
from target.carriers.messages import FAILED, REMOVED, SKIPPED
from target.downloads import journal as records
from target.downloads.journal import Ended, Journal
from target.downloads.share import Share
from target.downloads.tasklist import Piece, TaskLists
from target.storage.metadata import ObjectMetadata

PAGE_LINES = 1_000
_PIECES_AT_ONCE = 64

Head = Callable[[Bucket, str, int], ObjectMetadata]
"""The metadata of a stored object; raises ObjectNotFound, DiskError."""


class Ledger:
    """Pages of the ledgers of all shares; any thread."""

    def __init__(self, target_id: str, journal: Journal, head: Head) -> None:
        self._target_id = target_id
        self._journal = journal
        self._head = head

    def page(self, share: Share, cursor: int, *, failed_only: bool) -> tuple[list[dict[str, Any]], int | None]:
        """The lines from a cursor (0 at first), at least PAGE_LINES if there are as many, and the next cursor.

        Objects that have not ended have no line. Raises DiskError.
        """
        lists, lines = TaskLists(self._target_id, self._journal), list[dict[str, Any]]()
        for _ in range(_PIECES_AT_ONCE):
            piece = lists.piece(share, cursor)
            if piece.tasks:
                ended = self._ended(share, piece, failed_only=failed_only)
                lines += [self._line(share, task, how) for task in piece.tasks if (how := ended.get(task.position))]
            cursor = piece.cursor
            if piece.is_last:
                return lines, None
            if len(lines) >= PAGE_LINES:
                break
        return lines, cursor

    def _ended(self, share: Share, piece: Piece, *, failed_only: bool) -> dict[int, Ended]:
        return self._journal.call(
            lambda connection: records.read_ended(
                connection, share.number, piece.begin, piece.end, failed_only=failed_only
            )
        )

    def _line(self, share: Share, task: TaskSpec, ended: Ended) -> dict[str, Any]:
        link = without_secrets(task.link)
        line: dict[str, Any] = {"name": task.name, "link": link}
        if share.spec.is_cut or link != task.link:
            line["link_incomplete"] = True
        if ended.outcome == FAILED:
            line["state"] = "failed"
            if task.expected is not None:
                size_bytes, digests, *_ = task.expected
                line |= ({} if size_bytes is None else {"size": size_bytes}) | dict(digests)
        elif ended.outcome == REMOVED:
            line["state"] = "removed"
        else:
            line["state"] = "skipped" if ended.outcome == SKIPPED else "finished"
            line |= self._stored(share, task, ended)
        line |= {
            "attempts": ended.attempts,
            "node": self._target_id,
            "started_ns": ended.start_ns,
            "ended_ns": ended.end_ns,
        }
        if ended.error:
            line["error"] = ended.error
        return line

    def _stored(self, share: Share, task: TaskSpec, ended: Ended) -> dict[str, Any]:
        """What is known of the object as it was fetched; only its size where another has taken its place."""
        try:
            stored = self._head(share.spec.bucket, task.name, share.spec.bucket_id)
        except HaulError:
            stored = None
        if stored is None or stored.source != redact(task.link) or (ended.total and stored.size != ended.total):
            return {"size": ended.total} if ended.total else {}
        line: dict[str, Any] = {"size": stored.size, "xxh64": stored.checksum, **stored.digests, "grade": stored.grade}
        if stored.etag:
            line["etag"] = stored.etag
        if stored.last_modified:
            line["last_modified"] = stored.last_modified
        return line
