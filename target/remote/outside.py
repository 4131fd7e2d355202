"""Objects of buckets that have a backend, as clients meet them: looked at there, fetched and kept when they are read.

Carrying out a fetch is left to `fetching`, what is said in HTTP to `target.api`.
"""

from __future__ import annotations

from common.backends.asking import Asking
from common.backends.base import SourceObject
from common.backends.sources import source_link
from common.errors import BucketNotFound, ObjectNotFound, OriginError, RequestError
from common.names import Bucket, printable
from target.carriers.messages import FAILED
from target.membership import Membership
from target.remote.fetching import Fetching
from target.storage.metadata import ObjectMetadata


class Changed(RequestError):
    """What is here is not the latest version."""

    status = 409


class Gone(RequestError):
    """What is here is not there any more where it came from."""

    status = 410


class NotFetched(OriginError):
    """What is outside of the cluster could not be fetched, though it is there."""


class Outside:
    """The backend of one bucket, and the way from there to here."""

    def __init__(self, backend: Bucket, membership: Membership, asking: Asking, fetching: Fetching) -> None:
        self.backend = backend
        self._membership = membership
        self._asking = asking
        self._fetching = fetching

    async def look(self, bucket: Bucket, name: str) -> SourceObject:
        """An object as it is there; raises ObjectNotFound as of this bucket, and what the backend raises."""
        try:
            return await self._asking.ask(self.backend, lambda backend: backend.head(name))
        except ObjectNotFound:
            raise ObjectNotFound(f"{bucket.cname}/{printable(name)} does not exist") from None

    async def fetch(self, bucket: Bucket, name: str, bucket_id: int | None) -> None:
        """Have the latest version of an object here; raises as `look`, BucketNotFound, NotFetched, DiskFailure."""
        known = self._membership.bucket_id(bucket)
        if bucket_id is None:
            bucket_id = known
        if bucket_id is None or (known is not None and bucket_id < known):
            raise BucketNotFound(bucket.cname)
        result = await self._fetching.fetch(bucket, bucket_id, name, source_link(self.backend, name))
        if result.outcome == FAILED:
            await self.look(bucket, name)  # raises what is wrong, if the service says so
            raise NotFetched(result.error)

    async def check_latest(self, bucket: Bucket, name: str, stored: ObjectMetadata) -> None:
        """Raise Changed or Gone unless what is stored is the latest version."""
        shown = f"{bucket.cname}/{printable(name)}"
        try:
            found = await self.look(bucket, name)
        except ObjectNotFound:
            raise Gone(f"{shown} is here, and does not exist any more at {self.backend.cname}") from None
        if not is_same(stored, found):
            raise Changed(f"{shown} is not the latest version, which is at {self.backend.cname}")


class Backends:
    """Which bucket has which backend, as this target knows it."""

    def __init__(self, membership: Membership, asking: Asking, fetching: Fetching) -> None:
        self._membership = membership
        self._asking = asking
        self._fetching = fetching

    def of(self, bucket: Bucket) -> Outside | None:
        """Where a bucket's objects come from, None if they are only in this cluster."""
        backend = self._membership.backend_of(bucket)
        return Outside(backend, self._membership, self._asking, self._fetching) if backend is not None else None


def is_same(stored: ObjectMetadata, found: SourceObject) -> bool:
    """Whether what is stored is what is outside: by the ETag, else by size and digests; pure."""
    if stored.etag and found.etag:
        return stored.etag == found.etag
    digests = {"xxh64": stored.checksum, **stored.digests}
    return found.size_bytes in (None, stored.size) and all(
        digests.get(algorithm, digest) == digest for algorithm, digest in found.digests.items()
    )
