"""Bodies of uploads: each goes through an `ObjectWriter` in threads, batch by batch, and is compared with its headers.

A small body costs one hop to a thread and its share of a group commit. An upload that breaks off, or does not have the
announced checksum, leaves nothing. What the headers promise is left to `announced`, routing and answering to `objects`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

from common import clock
from common.errors import ObjectNotFound
from common.names import Bucket, printable
from common.web import ClientGone, Receive, Scope
from target.api.announced import Announced, read_headers
from target.gates import Gates
from target.storage.commits import commit
from target.storage.committer import Committer
from target.storage.digests import OWN
from target.storage.incoming import Incoming, T, in_thread
from target.storage.metadata import ObjectMetadata
from target.storage.reader import NOTHING
from target.storage.store import Store
from target.storage.writer import ObjectWriter, Staged

_BATCH_BYTES = 1 << 20


class Upload(Incoming):
    """Bytes that are compared with what their headers promise; `context` is what they are, for errors."""

    def __init__(
        self,
        open_writer: Callable[[], tuple[ObjectWriter, Committer | None]],
        announced: Announced,
        digests: Sequence[str],
        context: str,
    ) -> None:
        super().__init__(open_writer)
        self._announced = announced
        self._digests = digests
        self._context = context

    def finish(self, chunks: Sequence[bytes]) -> Staged:
        """Write the last batch and compare; raises BadChecksum."""
        writer = self.write(chunks)
        announced = self._announced
        announced.compare(
            lambda algorithm: writer.checksum if algorithm == OWN else writer.digest(algorithm), self._context
        )
        digests = {algorithm: writer.digest(algorithm) for algorithm in self._digests}
        metadata = ObjectMetadata(
            size=writer.size,
            checksum=writer.checksum,
            stored_ns=clock.unix_ns(),
            etag=digests["md5"] if announced.is_s3 else "",
            custom=announced.custom,
            grade=announced.grade,
            digests=digests,
        )
        return writer.finish(metadata)


class Uploads:
    """Receives objects of clients."""

    def __init__(self, store: Store, threads: Executor, gates: Gates) -> None:
        self._store = store
        self._gates = gates
        self._threads = threads

    async def receive(
        self, scope: Scope, receive: Receive, bucket: Bucket, bucket_id: int, name: str
    ) -> ObjectMetadata:
        """Store the request's body; returns what was stored once that is durable.

        Raises ClientGone when the body does not end, and the errors of `read_headers`, `Upload` and the commit.
        """
        announced = read_headers(scope)
        digests = announced.digests()
        writer = partial(self._store.writer, bucket, bucket_id, name, announced.size, digests)
        upload = Upload(writer, announced, digests, f"{bucket.cname}/{printable(name)}")
        staged = await self.receive_into(receive, upload)
        return await self.commit(bucket, bucket_id, name, staged, upload.committer, announced.condition(bucket, name))

    async def receive_into(self, receive: Receive, upload: Upload) -> Staged:
        """Take the whole body; raises ClientGone, BadChecksum, DiskError, and then nothing is left of it."""
        try:
            last = await self.receive_batches(receive, upload.write)
            return await self.in_thread(partial(upload.finish, last))
        except BaseException:
            await self.in_thread(upload.discard)
            raise

    async def commit(
        self,
        bucket: Bucket,
        bucket_id: int,
        name: str,
        staged: Staged,
        committer: Committer,
        condition: Callable[[ObjectMetadata], None] | None = None,
    ) -> ObjectMetadata:
        """Make a finished object durable and visible, if what is stored meets the condition.

        Raises BucketMoves when the bucket has been closed since the upload began, and the commit's error.
        """
        staged.condition = condition or staged.condition
        with contextlib.ExitStack() as change:
            try:
                change.enter_context(self._gates.changing(bucket, adds=True))
                if condition is not None:
                    await self._check_elsewhere(bucket, bucket_id, name, condition)
            except BaseException:
                await self.in_thread(staged.discard)
                raise
            metadata = await commit(committer, staged)
        if self._store.is_misplaced(bucket, name, committer):
            await self.in_thread(self._store.mountpaths.unsettle)
        return metadata

    async def _check_elsewhere(
        self, bucket: Bucket, bucket_id: int, name: str, condition: Callable[[ObjectMetadata], None]
    ) -> None:
        """What the commit sees is one mountpath; as long as objects move between them, the object may lie on others."""
        if self._store.mountpaths.view.is_settled:
            return
        try:
            stored, _ = await self.in_thread(partial(self._store.head, bucket, name, bucket_id))
        except ObjectNotFound:
            stored = NOTHING
        condition(stored)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run what may wait for a disk."""
        return await in_thread(work, self._threads)

    async def receive_batches(self, receive: Receive, write: Callable[[Sequence[bytes]], object]) -> list[bytes]:
        """Have the body written in batches, but for the last one, which is returned; raises ClientGone."""
        batch: list[bytes] = []
        batch_bytes = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            batch.append(message.get("body", b""))
            if not message.get("more_body", False):
                return batch
            batch_bytes += len(batch[-1])
            if batch_bytes >= _BATCH_BYTES:
                full, batch, batch_bytes = batch, [], 0
                await self.in_thread(partial(write, full))
