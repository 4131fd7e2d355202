"""`haul.AsyncClient`: a cluster, for programs on asyncio. What each method does is told in `haul.client`."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
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
from haul.transports import AsyncTransport

Chunks = bytes | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]


class AsyncObjectStream:
    """An object that is being read: what is known of it in `info`, its bytes by `async for`, once."""

    def __init__(self, response: httpx.Response, arriving: Arriving) -> None:
        self._response = response
        self._arriving = arriving
        self.info = arriving.info

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_raw(objects.CHUNK_BYTES):
                yield self._arriving.take(chunk)
        except httpx.HTTPError as error:
            raise broken(error, self._arriving.place) from None
        self._arriving.finish()


class AsyncClient:
    """A connection to a cluster, for one event loop; an asynchronous context manager. Arguments are Client's.

    Local files are read and written in threads.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        verify: ssl.SSLContext | bool | None = None,
        direct: bool = False,
    ) -> None:
        self._transport = AsyncTransport(endpoints, timeout_seconds, verify, direct=direct)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.http.aclose()

    # Jobs.

    async def start(self, job: Job, *, idempotency_key: str = "") -> str:
        return await self._transport.run(calls.start(job, idempotency_key))

    async def survey(self, job: Job) -> Survey:
        return await self._transport.run(calls.survey(job))

    async def status(self, job_id: str) -> JobStatus:
        return await self._transport.run(calls.status(job_id))

    async def jobs(self, regex: str = "", *, only_active: bool = False) -> list[JobStatus]:
        return await self._transport.run(calls.jobs(regex, only_active=only_active))

    async def follow(
        self, job_id: str, *, timeout_seconds: float | None = None, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[JobStatus]:
        pace = Pace(job_id, timeout_seconds=timeout_seconds, patience_seconds=patience_seconds)
        last = None
        while True:
            try:
                status = await self.status(job_id)
            except HaulError as error:
                pace.silent(error)
            else:
                pace.heard()
                if status != last:
                    yield status
                if status.is_over:
                    return
                last = status
            await asyncio.sleep(pace.pause_seconds())

    async def wait(
        self, job_id: str, *, timeout_seconds: float | None = None, patience_seconds: float = PATIENCE_SECONDS
    ) -> JobStatus:
        states = self.follow(job_id, timeout_seconds=timeout_seconds, patience_seconds=patience_seconds)
        return [status async for status in states if status.is_over][-1]

    def finished_tasks(self, job_id: str) -> AsyncIterator[Task]:
        return self._transport.items(calls.finished_tasks(job_id))

    def failures(self, job_id: str) -> AsyncIterator[Failure]:
        return self._transport.items(calls.failures(job_id))

    async def ledger(self, job_id: str, *, only_failed: bool = False) -> AsyncIterator[LedgerLine]:
        async with self._transport.streamed(calls.ledger(job_id, only_failed=only_failed)) as (response, _):
            buffer = b""
            try:
                async for chunk in response.aiter_raw():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        yield calls.ledger_line(line)
            except httpx.HTTPError as error:
                raise Unreachable(f"the ledger of {job_id} broke off: {error}") from None
            if buffer:
                raise Unreachable(f"the ledger of {job_id} broke off in a line")

    async def story(self, job_id: str) -> list[Decision]:
        return await self._transport.run(calls.story(job_id))

    async def pause(self, job_id: str) -> None:
        await self._transport.run(calls.change("POST", "pause", job_id))

    async def resume(self, job_id: str) -> None:
        await self._transport.run(calls.change("POST", "resume", job_id))

    async def abort(self, job_id: str) -> None:
        await self._transport.run(calls.change("DELETE", "abort", job_id))

    async def remove(self, job_id: str) -> None:
        await self._transport.run(calls.change("DELETE", "remove", job_id))

    # Buckets.

    async def buckets(self) -> list[Bucket]:
        return await self._transport.run(calls.buckets())

    async def create_bucket(self, bucket: BucketName, *, exist_ok: bool = False) -> None:
        try:
            await self._transport.run(calls.create_bucket(bucket))
        except AlreadyExists:
            if not exist_ok:
                raise

    async def delete_bucket(self, bucket: BucketName) -> None:
        await self._transport.run(calls.delete_bucket(bucket))

    async def bucket_properties(self, bucket: BucketName) -> dict[str, Any]:
        return await self._transport.run(calls.bucket_properties(bucket))

    # Objects.

    def objects(
        self, bucket: BucketName, prefix: str = "", *, recursive: bool = True, details: bool = False
    ) -> AsyncIterator[ObjectEntry]:
        return self._transport.items(calls.objects(bucket, prefix, recursive=recursive, details=details))

    async def has_objects(self, bucket: BucketName, prefix: str = "") -> bool:
        """Whether there is an object whose name begins so."""
        return bool((await self._transport.run(calls.objects(bucket, prefix, limit=1))).items)

    async def head(self, bucket: BucketName, name: str) -> ObjectInfo:
        return await self._transport.run(objects.head(bucket, name))

    @asynccontextmanager
    async def open(
        self,
        bucket: BucketName,
        name: str,
        *,
        start: int = 0,
        end: int | None = None,
        unchanged_since: ObjectInfo | None = None,
    ) -> AsyncIterator[AsyncObjectStream]:
        reading = Reading.of(bucket, name, start, end, unchanged_since)
        async with self._transport.streamed(reading.call()) as (response, arriving):
            yield AsyncObjectStream(response, arriving)

    async def get(
        self,
        bucket: BucketName,
        name: str,
        *,
        start: int = 0,
        end: int | None = None,
        unchanged_since: ObjectInfo | None = None,
    ) -> bytes:
        async with self.open(bucket, name, start=start, end=end, unchanged_since=unchanged_since) as stream:
            return b"".join([chunk async for chunk in stream])

    async def get_file(
        self, bucket: BucketName, name: str, destination: str | os.PathLike[str] | BinaryIO
    ) -> ObjectInfo:
        async with self.open(bucket, name) as stream:
            if not isinstance(destination, str | os.PathLike):
                return await _write_all(stream, destination)
            with localfiles.whole_file(destination) as file:
                return await _write_all(stream, file)

    async def put(
        self,
        bucket: BucketName,
        name: str,
        data: Chunks,
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        return await self._put(Writing.of(bucket, name, metadata, if_absent=if_absent), data)

    async def put_file(
        self,
        bucket: BucketName,
        name: str,
        source: str | os.PathLike[str],
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        with await asyncio.to_thread(localfiles.open_to_read, source) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            return await self._put(Writing.of(bucket, name, metadata, size_bytes, if_absent=if_absent), file)

    async def delete(self, bucket: BucketName, name: str, *, unchanged_since: ObjectInfo | None = None) -> None:
        await self._transport.run(objects.delete(bucket, name, unchanged_since))

    async def copy(self, bucket: BucketName, name: str, to_bucket: BucketName, to_name: str) -> None:
        await self._transport.run(objects.copy(bucket, name, to_bucket, to_name))

    async def rename(self, bucket: BucketName, name: str, new_name: str) -> None:
        await self._transport.run(objects.rename(bucket, name, new_name))

    # Sending.

    async def _put(self, writing: Writing, data: Chunks) -> ObjectInfo:
        url = await self._transport.run(writing.locate())
        content: Any = data if isinstance(data, bytes) else _taken(writing, data)
        try:
            response = await self._transport.http.send(writing.request(self._transport.http, url, content))
        except httpx.HTTPError as error:
            raise broken(error, writing.place) from None
        if not response.is_success:
            raise error_of(response)
        return writing.stored(response)


async def _write_all(stream: AsyncObjectStream, file: BinaryIO) -> ObjectInfo:
    async for chunk in stream:
        await asyncio.to_thread(file.write, chunk)
    return stream.info


async def _taken(writing: Writing, data: BinaryIO | Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(data, AsyncIterable):
        async for chunk in data:
            yield writing.take(bytes(chunk))
    elif localfiles.is_open_file(data):
        while chunk := await asyncio.to_thread(data.read, localfiles.CHUNK_BYTES):
            yield writing.take(chunk)
    else:
        for chunk in data:
            yield writing.take(bytes(chunk))
