"""`haul.Client`: a cluster, for programs that wait for each answer; `haul.asyncclient` is the same for asyncio.

What is asked and how answers are read is left to `calls` and `objects`, who is asked to `exchange`.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx

from common.names import Bucket
from haul import calls, localfiles, objects
from haul.errors import AlreadyExists, HaulError, Unreachable, error_of
from haul.exchange import broken
from haul.jobs import Job
from haul.objects import Arriving, ObjectEntry, ObjectInfo, Reading, Writing
from haul.pace import Pace
from haul.places import BucketName
from haul.settings import PATIENCE_SECONDS, TIMEOUT_SECONDS
from haul.states import Decision, Failure, JobStatus, LedgerLine, Survey, Task
from haul.transports import Transport


class ObjectStream:
    """An object that is being read: what is known of it in `info`, its bytes by iterating, once."""

    def __init__(self, response: httpx.Response, arriving: Arriving) -> None:
        self._response = response
        self._arriving = arriving
        self.info = arriving.info

    def __iter__(self) -> Iterator[bytes]:
        """Chunks; raises Unreachable when the connection breaks, Damaged when what came is not what is stored."""
        try:
            for chunk in self._response.iter_raw(objects.CHUNK_BYTES):
                yield self._arriving.take(chunk)
        except httpx.HTTPError as error:
            raise broken(error, self._arriving.place) from None
        self._arriving.finish()


class Client:
    """A connection to a cluster; a context manager, and safe for several threads.

    Buckets are named as people write them (`data`, `ais://data`, `s3://data`). Every call raises ServerError and its
    kinds for what the cluster refuses, Unreachable when no proxy answers, and InvalidInput for what cannot be meant.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        verify: ssl.SSLContext | bool | None = None,
        direct: bool = False,
    ) -> None:
        """Any proxies of the cluster; without them, those of HAUL_ENDPOINT or AIS_ENDPOINT.

        `timeout_seconds` is how long a node may be silent. With `direct`, objects are read from their targets without
        asking a proxy where they are. `verify` is how certificates are checked.
        """
        self._transport = Transport(endpoints, timeout_seconds, verify, direct=direct)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.http.close()

    # Jobs.

    def start(self, job: Job, *, idempotency_key: str = "") -> str:
        """Start a job and return its id. Sent again with the same key within a day, it is the same job."""
        return self._transport.run(calls.start(job, idempotency_key))

    def survey(self, job: Job) -> Survey:
        """What a job would do; nothing is fetched or kept."""
        return self._transport.run(calls.survey(job))

    def status(self, job_id: str) -> JobStatus:
        """One job; what has ended of it is left to `finished_tasks` and `failures`."""
        return self._transport.run(calls.status(job_id))

    def jobs(self, regex: str = "", *, only_active: bool = False) -> list[JobStatus]:
        """All jobs whose description matches, the one that was started last at the end."""
        return self._transport.run(calls.jobs(regex, only_active=only_active))

    def follow(
        self, job_id: str, *, timeout_seconds: float | None = None, patience_seconds: float = PATIENCE_SECONDS
    ) -> Iterator[JobStatus]:
        """The states of a job whenever something has changed; the last one when it is over.

        The cluster may be silent for `patience_seconds`. Raises TimeoutError when the job runs for longer; it goes on.
        """
        pace = Pace(job_id, timeout_seconds=timeout_seconds, patience_seconds=patience_seconds)
        last = None
        while True:
            try:
                status = self.status(job_id)
            except HaulError as error:
                pace.silent(error)
            else:
                pace.heard()
                if status != last:
                    yield status
                if status.is_over:
                    return
                last = status
            time.sleep(pace.pause_seconds())

    def wait(
        self, job_id: str, *, timeout_seconds: float | None = None, patience_seconds: float = PATIENCE_SECONDS
    ) -> JobStatus:
        """Wait until a job is over and return how it ended; raises as `follow` does."""
        *_, last = self.follow(job_id, timeout_seconds=timeout_seconds, patience_seconds=patience_seconds)
        return last

    def finished_tasks(self, job_id: str) -> Iterator[Task]:
        """The objects of a job that have ended, page by page."""
        return self._transport.items(calls.finished_tasks(job_id))

    def failures(self, job_id: str) -> Iterator[Failure]:
        """The objects of a job that have failed, page by page."""
        return self._transport.items(calls.failures(job_id))

    def ledger(self, job_id: str, *, only_failed: bool = False) -> Iterator[LedgerLine]:
        """What has become of each object, as it arrives; raises Unreachable if it breaks off before its end."""
        with self._transport.streamed(calls.ledger(job_id, only_failed=only_failed)) as (response, _):
            buffer = b""
            try:
                for chunk in response.iter_raw():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    yield from map(calls.ledger_line, lines)
            except httpx.HTTPError as error:
                raise Unreachable(f"the ledger of {job_id} broke off: {error}") from None
            if buffer:
                raise Unreachable(f"the ledger of {job_id} broke off in a line")

    def story(self, job_id: str) -> list[Decision]:
        """What was decided while a job ran, and why."""
        return self._transport.run(calls.story(job_id))

    def pause(self, job_id: str) -> None:
        """Let a job rest; harmless when it does already."""
        self._transport.run(calls.change("POST", "pause", job_id))

    def resume(self, job_id: str) -> None:
        """Let a job go on; harmless when it does already."""
        self._transport.run(calls.change("POST", "resume", job_id))

    def abort(self, job_id: str) -> None:
        """Stop a job for good; harmless when it is over."""
        self._transport.run(calls.change("DELETE", "abort", job_id))

    def remove(self, job_id: str) -> None:
        """Forget a job that is over; its objects stay."""
        self._transport.run(calls.change("DELETE", "remove", job_id))

    # Buckets.

    def buckets(self) -> list[Bucket]:
        """All buckets."""
        return self._transport.run(calls.buckets())

    def create_bucket(self, bucket: BucketName, *, exist_ok: bool = False) -> None:
        """Make a bucket; raises AlreadyExists."""
        try:
            self._transport.run(calls.create_bucket(bucket))
        except AlreadyExists:
            if not exist_ok:
                raise

    def delete_bucket(self, bucket: BucketName) -> None:
        """Remove a bucket and all that is in it."""
        self._transport.run(calls.delete_bucket(bucket))

    def bucket_properties(self, bucket: BucketName) -> dict[str, Any]:
        """What is configured for a bucket; raises NotFound."""
        return self._transport.run(calls.bucket_properties(bucket))

    # Objects.

    def objects(
        self, bucket: BucketName, prefix: str = "", *, recursive: bool = True, details: bool = False
    ) -> Iterator[ObjectEntry]:
        """The objects whose names begin with `prefix`, in byte order, page by page.

        Unless `recursive`, what lies behind the next slash is shown as one directory. `details` are checksum, version.
        """
        return self._transport.items(calls.objects(bucket, prefix, recursive=recursive, details=details))

    def head(self, bucket: BucketName, name: str) -> ObjectInfo:
        """What is known of an object; raises NotFound."""
        return self._transport.run(objects.head(bucket, name))

    @contextmanager
    def open(
        self,
        bucket: BucketName,
        name: str,
        *,
        start: int = 0,
        end: int | None = None,
        unchanged_since: ObjectInfo | None = None,
    ) -> Iterator[ObjectStream]:
        """Read an object, or its bytes from `start` to `end` (exclusive), as they arrive.

        Raises NotFound, Unsatisfiable; with `unchanged_since`, Changed when it is another object by now.
        """
        reading = Reading.of(bucket, name, start, end, unchanged_since)
        with self._transport.streamed(reading.call()) as (response, arriving):
            yield ObjectStream(response, arriving)

    def get(
        self,
        bucket: BucketName,
        name: str,
        *,
        start: int = 0,
        end: int | None = None,
        unchanged_since: ObjectInfo | None = None,
    ) -> bytes:
        """An object, or a part of it, in memory; raises as `open` and ObjectStream do."""
        with self.open(bucket, name, start=start, end=end, unchanged_since=unchanged_since) as stream:
            return b"".join(stream)

    def get_file(self, bucket: BucketName, name: str, destination: str | os.PathLike[str] | BinaryIO) -> ObjectInfo:
        """Read an object into a file, which appears whole or not at all, or into one that is open."""
        with self.open(bucket, name) as stream:
            if not isinstance(destination, str | os.PathLike):
                for chunk in stream:
                    destination.write(chunk)
                return stream.info
            with localfiles.whole_file(destination) as file:
                for chunk in stream:
                    file.write(chunk)
            return stream.info

    def put(
        self,
        bucket: BucketName,
        name: str,
        data: bytes | BinaryIO | Iterable[bytes],
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Store bytes, what is left of an open file, or chunks as they come; whole or not at all.

        Raises NotFound for the bucket, NoSpace, and Damaged when something else is stored than was sent; with
        `if_absent`, AlreadyExists when there is such an object, also one that was stored meanwhile.
        """
        return self._put(Writing.of(bucket, name, metadata, if_absent=if_absent), data)

    def put_file(
        self,
        bucket: BucketName,
        name: str,
        source: str | os.PathLike[str],
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Store a local file; raises as `put` does, and OSError."""
        with localfiles.open_to_read(source) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            return self._put(Writing.of(bucket, name, metadata, size_bytes, if_absent=if_absent), file)

    def delete(self, bucket: BucketName, name: str, *, unchanged_since: ObjectInfo | None = None) -> None:
        """Remove an object; raises NotFound, and with `unchanged_since` (of `head`) Changed when it is another by now.

        An object that has changed stays.
        """
        self._transport.run(objects.delete(bucket, name, unchanged_since))

    def copy(self, bucket: BucketName, name: str, to_bucket: BucketName, to_name: str) -> None:
        """Have the cluster make another object of one, its metadata included; raises NotFound, Unsupported."""
        self._transport.run(objects.copy(bucket, name, to_bucket, to_name))

    def rename(self, bucket: BucketName, name: str, new_name: str) -> None:
        """Give an object another name in its bucket; raises NotFound, Unsupported."""
        self._transport.run(objects.rename(bucket, name, new_name))

    # Sending.

    def _put(self, writing: Writing, data: bytes | BinaryIO | Iterable[bytes]) -> ObjectInfo:
        url = self._transport.run(writing.locate())
        content: Any = data
        if not isinstance(data, bytes):
            pieces = localfiles.chunks(data) if localfiles.is_open_file(data) else data
            content = (writing.take(bytes(piece)) for piece in pieces)
        try:
            response = self._transport.http.send(writing.request(self._transport.http, url, content))
        except httpx.HTTPError as error:
            raise broken(error, writing.place) from None
        if not response.is_success:
            raise error_of(response)
        return writing.stored(response)
