"""One order while it is carried out: what is known of the object beforehand, and whether what came is that.

How it is fetched is left to `carrier` and `download`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from common import clock
from common.errors import HaulError, OriginError
from common.links import redact
from common.names import Bucket
from common.placement import digest
from target.carriers.allowance import Allowance, meter_of
from target.carriers.download import Download, Stream
from target.carriers.messages import Failure, Order, Terms, failure_of
from target.storage.metadata import NO_CUSTOM, ObjectMetadata
from target.storage.mountpath import Mountpath
from target.storage.writer import ObjectWriter
from target.transfer.request import FetchError, ResponseHead
from target.transfer.verification import known_digests

RESUMABLE_BYTES = 8 << 20
"""Larger objects survive a break; to fetch smaller ones again costs less than to remember how far they came."""


_DENIED = frozenset({401, 403})


class Unverified(OriginError):
    """What came is not what was promised; nothing of it is kept."""


class Job:
    """A job's terms as they are used."""

    __slots__ = ("allowance", "bucket", "finds_nothing", "terms")

    def __init__(self, terms: Terms, mountpath: Mountpath) -> None:
        self.terms = terms
        self.bucket = Bucket.from_uname(terms.bucket)
        self.allowance = Allowance(terms.bytes_per_second) if terms.bytes_per_second else None
        self.finds_nothing = mountpath.is_empty(self.bucket, terms.bucket_id)
        """Looking for a stored object is no use; missing one that came since costs a fetch, nothing else."""


class Fetch:
    """An order that is being carried out, into a writer or, when it is large, by a download."""

    __slots__ = (
        *("digests", "download", "expected_digests", "expected_etag", "expected_size", "id", "is_stored", "job"),
        *("allowances", "headers", "link", "link_digest", "meter", "name", "started_at", "url", "whole", "writer"),
    )

    def __init__(self, order: Order, job: Job, started_at: float, host_allowance: Allowance | None = None) -> None:
        self.id = order.id
        self.name = order.name
        self.link = order.link
        self.link_digest = digest(order.link)
        self.url, self.headers = order.link, job.terms.headers
        if order.request is not None:
            self.url, self.headers = order.request[0], tuple(order.request[1])
        self.job = job
        self.allowances = tuple(one for one in (job.allowance, host_allowance) if one is not None)
        self.meter = meter_of(self.allowances)
        self.started_at = started_at
        self.is_stored = False
        self.expected_size: int | None = None
        self.expected_digests: Mapping[str, str] = NO_CUSTOM
        self.expected_etag = ""
        if order.expected is not None:
            self.expected_size, digests, *more = order.expected
            self.expected_digests, self.expected_etag = dict(digests), more[0] if more else ""
        self.digests: Mapping[str, str] = NO_CUSTOM
        self.writer: ObjectWriter | None = None
        self.download: Download | None = None
        self.whole: Stream | None = None

    def __repr__(self) -> str:
        return f"<Fetch {self.id} {self.name!r}>"

    @property
    def work_name(self) -> str:
        """Of the partial file; the same after a restart, and another job's is another."""
        return f"r{digest(f'{self.job.terms.job_id}/{self.name}'):016x}"

    def failure(self, error: HaulError, gained_bytes: int) -> Failure:
        """The failure as it is reported. What a service answers is about the object, whatever URL it was asked by."""
        failure = failure_of(self.id, error)._replace(gained_bytes=gained_bytes)
        if self.url != self.link and isinstance(error, FetchError) and error.http_status:
            text = failure.text.replace(redact(self.url), redact(self.link))
            if error.http_status in _DENIED:
                text += " (access is denied: the job or the nodes need credentials that may read it)"
            return failure._replace(text=text)
        return failure

    def learn(self, head: ResponseHead) -> None:
        """Take over which digests the origin tells; raises Unverified when the size cannot be right."""
        self.digests = known_digests(head)
        if self.expected_etag and head.etag and head.etag != self.expected_etag:
            # A later version than the listing told of: what is known of that one says nothing about it.
            self.expected_size, self.expected_digests, self.expected_etag = None, NO_CUSTOM, ""
        if self.expected_size is not None and head.content_length not in (None, self.expected_size):
            raise self._unverified("size", head.content_length, self.expected_size, "the job expects")

    @property
    def has_expectations(self) -> bool:
        """Whether there is anything to compare with."""
        return bool(self.digests or self.expected_digests) or self.expected_size is not None

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Whatever must be computed besides our own checksum."""
        if not self.digests and not self.expected_digests:
            return ()
        return tuple({**self.digests, **self.expected_digests})

    def verify(self, size: int, computed: Callable[[str], str]) -> dict[str, str]:
        """Compare with everything known; returns the digests that were right. Raises Unverified."""
        if self.expected_size not in (None, size):
            raise self._unverified("size", size, self.expected_size, "the job expects")
        verified = {}
        for digests, who in ((self.expected_digests, "the job expects"), (self.digests, "the origin says")):
            for algorithm, expected in digests.items():
                got = computed(algorithm)
                if got != expected:
                    raise self._unverified(algorithm, got, expected, who)
                verified[algorithm] = got
        return verified

    def is_unchanged(self, stored: ObjectMetadata) -> bool:
        """Whether what is stored is surely what the job expects, so that nothing needs to be asked.

        It has every digest, or came from the same link with the same ETag.
        """
        if self.expected_size not in (None, stored.size):
            return False
        if self.expected_etag and (stored.link_digest, stored.etag) == (self.link_digest, self.expected_etag):
            return True
        return stored.has_digests(self.expected_digests)

    def metadata(
        self, size: int, checksum: str, verified: Mapping[str, str], etag: str, last_modified: str, *, sized: bool
    ) -> ObjectMetadata:
        """What is stored beside the bytes; `sized`: the origin has announced the size."""
        if self.expected_digests:
            grade = "user"
        elif self.digests:
            grade = "source"
        else:
            grade = "size" if sized or self.expected_size is not None else "none"
        return ObjectMetadata(
            size=size,
            checksum=checksum,
            stored_ns=clock.unix_ns(),
            source=redact(self.link),
            link_digest=self.link_digest,
            etag=etag,
            last_modified=last_modified,
            grade=grade,
            job=self.job.terms.job_id,
            digests=verified,
        )

    def _unverified(self, what: str, got: object, expected: object, who: str) -> Unverified:
        return Unverified(f'"{redact(self.link)}" is not what was expected: {what} is {got}, {who} {expected}')
