"""PUT of an object: the body goes through an `ObjectWriter` in threads, batch by batch, and is answered when durable.

A small body costs one hop to a thread and its share of a group commit. An upload that breaks off, or does not have the
announced checksum, leaves nothing. Routing and answering are left to `objects`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from common import clock
from common.errors import BadChecksum, InvalidRequest, Unsupported
from common.names import Bucket, printable
from common.web import ClientGone, Receive, Scope
from target.api.object_headers import parse_custom
from target.storage.commits import commit
from target.storage.committer import Committer
from target.storage.incoming import Incoming, in_thread
from target.storage.metadata import ObjectMetadata
from target.storage.store import Store
from target.storage.writer import Staged

_BATCH_BYTES = 1 << 20
_XXHASH = ("xxhash", "xxhash2")
_HASHLIB = ("md5", "sha256", "sha512")


@dataclass(frozen=True, slots=True)
class Announced:
    """What the headers of an upload promise."""

    size: int | None = None
    checksum_type: str = ""
    checksum: str = ""
    custom: dict[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> tuple[str, ...]:
        return (self.checksum_type,) if self.checksum_type in _HASHLIB else ()


def read_headers(scope: Scope) -> Announced:
    """Raises InvalidRequest, or Unsupported for a checksum that cannot be computed here."""
    size, kind, checksum, custom = None, "", "", []
    for name, value in scope["headers"]:
        if name == b"content-length":
            size = int(value)
        elif name == b"ais-checksum-type":
            kind = value.decode("latin-1").lower()
        elif name == b"ais-checksum-value":
            checksum = value.decode("latin-1").lower()
        elif name == b"ais-custom-md":
            custom.append(value)
    if kind in ("", "none"):
        kind = ""
    elif kind == "crc32c":
        raise Unsupported('checksum type "crc32c" is not computed here: use xxhash2, md5, sha256 or sha512')
    elif kind not in _XXHASH + _HASHLIB:
        raise InvalidRequest(f'invalid checksum type "{printable(kind)}"')
    elif not checksum:
        raise InvalidRequest("Ais-Checksum-Value is missing")
    return Announced(size, kind, checksum, parse_custom(custom))


class _Upload(Incoming):
    """An object that is compared with what its headers promise."""

    def __init__(self, store: Store, bucket: Bucket, bucket_id: int, name: str, announced: Announced) -> None:
        super().__init__(partial(store.writer, bucket, bucket_id, name, announced.size, announced.digests))
        self._bucket = bucket
        self._name = name
        self._announced = announced

    def finish(self, chunks: Sequence[bytes]) -> tuple[Staged, Committer]:
        """Write the last batch and compare; raises BadChecksum."""
        writer = self.write(chunks)
        announced = self._announced
        checksum = writer.checksum
        kind = announced.checksum_type
        if kind:
            computed = checksum if kind in _XXHASH else writer.digest(kind)
            if computed != announced.checksum:
                raise BadChecksum(
                    f"BAD DATA CHECKSUM: {kind}({printable(announced.checksum)} != {computed}) "
                    f"(context: {self._bucket.cname}/{printable(self._name)})"
                )
        metadata = ObjectMetadata(
            size=writer.size,
            checksum=checksum,
            stored_ns=clock.unix_ns(),
            custom=announced.custom,
            grade="user" if kind else "size" if announced.size is not None else "none",
        )
        return writer.finish(metadata), self.committer


class Uploads:
    """Receives objects of clients."""

    def __init__(self, store: Store, threads: Executor) -> None:
        self._store = store
        self._threads = threads

    async def receive(
        self, scope: Scope, receive: Receive, bucket: Bucket, bucket_id: int, name: str
    ) -> ObjectMetadata:
        """Store the request's body; returns what was stored once that is durable.

        Raises ClientGone when the body does not end, and the errors of `read_headers`, `_Upload` and the commit.
        """
        upload = _Upload(self._store, bucket, bucket_id, name, read_headers(scope))
        try:
            last = await self._receive_batches(receive, upload)
            staged, committer = await in_thread(partial(upload.finish, last), self._threads)
        except BaseException:
            await in_thread(upload.discard, self._threads)
            raise
        metadata = await commit(committer, staged)
        if self._store.is_misplaced(bucket, name, committer):
            await in_thread(self._store.mountpaths.unsettle, self._threads)
        return metadata

    async def _receive_batches(self, receive: Receive, upload: _Upload) -> list[bytes]:
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
                await in_thread(partial(upload.write, full), self._threads)
