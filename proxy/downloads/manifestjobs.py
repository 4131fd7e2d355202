"""Manifests on the web become objects of the cluster while they are read, each by a job of its own.

So the rules of egress, retries and headers are those of any download. Reading an object's bytes is left to
`manifestreader`, what they mean to `manifests`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any, BinaryIO, Protocol

import structlog

from common import clock
from common.errors import HaulError, InvalidRequest, PeerError
from common.links import redact
from common.names import Bucket
from proxy.downloads.manifestreader import ManifestReader, not_readable
from proxy.downloads.records import Figures, JobRecord
from proxy.downloads.requests import Manifest, StatusQuery
from proxy.jsonbody import lower_keys

MANIFESTS = Bucket("haul-manifests")
"""Where manifests from the web are while they are read."""
_MANIFEST_SECONDS = 600.0
_POLL_SECONDS = 0.05
_log = structlog.get_logger("proxy.downloads.manifestjobs")


class Jobs(Protocol):
    """What is needed of download jobs."""

    async def start(self, body: bytes) -> dict[str, Any]: ...

    async def figures(self, job_id: str) -> tuple[JobRecord, Figures]: ...

    async def status(self, query: StatusQuery) -> dict[str, Any]: ...

    async def abort(self, job_id: str) -> None: ...

    async def remove(self, job_id: str) -> None: ...


class ManifestJobs:
    """Fetches manifests."""

    def __init__(self, jobs: Jobs, reader: ManifestReader) -> None:
        self._jobs = jobs
        self._reader = reader

    async def read(self, manifest: Manifest, body: bytes) -> BinaryIO:
        """The manifest's bytes; one on the web is fetched by a job of its own, which is forgotten afterwards."""
        try:
            if manifest.bucket is not None:
                return await self._reader.read(manifest.bucket, manifest.name)
            headers = lower_keys(json.loads(body)).get("headers", {})
            name = "manifest-" + secrets.token_hex(8)
            job = {"type": "single", "bucket": {"name": MANIFESTS.name}, "object_name": name, "headers": headers}
            job_id = (await self._jobs.start(json.dumps({**job, "link": manifest.location}).encode()))["id"]
            try:
                await self._wait(job_id)
                return await self._reader.read(MANIFESTS, name)
            finally:
                await asyncio.shield(self._forget_manifest(job_id, name))
        except PeerError as error:
            if error.status >= 500:
                raise
            raise not_readable(redact(manifest.location), error) from None
        except HaulError as error:
            raise not_readable(redact(manifest.location), error) from None

    async def _wait(self, job_id: str) -> None:
        """Until a job of one object has ended; raises InvalidRequest with its error."""
        deadline = clock.monotonic() + _MANIFEST_SECONDS
        while not (await self._jobs.figures(job_id))[1].finished_ns:
            if clock.monotonic() >= deadline:
                raise InvalidRequest(f"it did not come within {_MANIFEST_SECONDS:g} s")
            await asyncio.sleep(_POLL_SECONDS)
        errors = (await self._jobs.status(StatusQuery(job_id))).get("download_errors")
        if errors:
            raise InvalidRequest(errors[0]["error"])

    async def _forget_manifest(self, job_id: str, name: str) -> None:
        try:
            await self._jobs.abort(job_id)
            await self._reader.remove(MANIFESTS, name)
            await self._jobs.remove(job_id)
        except HaulError as error:
            _log.warning("downloads.manifest_not_forgotten", job=job_id, error=error.message)
