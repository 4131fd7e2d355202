"""The few requests of the REST dialect that the bench needs, over one kept connection with the least overhead.

Not a client for users: it knows nothing about several proxies, retries or progress.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlsplit

from bench.errors import BenchError

_FINISHED = re.compile(rb'"finished_time":\s*"([^"]+)"')
_EPOCH_YEARS = (b"1970-", b"0001-")


@dataclass(frozen=True, slots=True)
class JobRun:
    """One job from POST to its end: by the cluster's own finished_time, and as this client saw it by polling."""

    seconds: float
    observed_seconds: float
    accepted_seconds: float
    status: dict[str, Any]
    status_seconds: tuple[float, ...]

    def problems(self, expected: int) -> list[str]:
        """What is wrong with it, if anything."""
        finished, errors = int(self.status.get("finished_cnt", -1)), int(self.status.get("error_cnt", -1))
        if finished != expected or errors != 0:
            return [f"the job ended with {finished} of {expected} finished and {errors} errors"]
        return []


class HaulClient:
    """Talks to one proxy."""

    def __init__(self, endpoint: str, timeout_seconds: float = 60) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, str], bytes]:
        """One exchange; lower-case header names. Redirects are not followed."""
        payload = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if payload is not None else {}
        self._connection.request(method, path, payload, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, content

    def checked(self, method: str, path: str, body: object = None) -> bytes:
        """The content of a 200 answer; raises BenchError for any other."""
        status, _, content = self.call(method, path, body)
        if status != 200:
            raise BenchError(f"{method} {path} was answered {status}: {content[:300].decode(errors='replace')}")
        return content

    def post_job(self, job: dict[str, Any]) -> str:
        """Post a download job; returns its id."""
        return str(json.loads(self.checked("POST", "/v1/download", job))["id"])

    def run_job(self, job: dict[str, Any], *, timeout_seconds: float, poll_seconds: float) -> JobRun:
        """Post a job and poll its status until it has finished; raises BenchError at the timeout."""
        start_unix, start = time.time(), time.perf_counter()
        job_id = self.post_job(job)
        accepted = time.perf_counter() - start
        query = {"id": job_id, "only_active_tasks": True}
        polls: list[float] = []
        while True:
            asked = time.perf_counter()
            content = self.checked("GET", "/v1/download", query)
            now = time.perf_counter()
            polls.append(now - asked)
            found = _FINISHED.search(content)
            if found and not found[1].startswith(_EPOCH_YEARS):
                break
            if now - start > timeout_seconds:
                raise BenchError(f"a job was not finished after {timeout_seconds:.0f} s: {content[:300]!r}")
            time.sleep(poll_seconds)
        return JobRun(
            _unix_seconds(found[1].decode()) - start_unix, now - start, accepted, json.loads(content), tuple(polls)
        )

    def list_page(self, bucket: str, page_size: int, token: str, uuid: str) -> tuple[int, str, str]:
        """One page of names and sizes: how many entries, the next token (empty at the end) and the listing's uuid."""
        value = {
            "props": "name,size",
            "flags": "0",
            "prefix": "",
            "pagesize": page_size,
            "continuation_token": token,
            "uuid": uuid,
        }
        body = {"action": "list", "value": value}
        page = json.loads(self.checked("GET", f"/v1/buckets/{bucket}?provider=ais", body))
        return len(page["entries"] or ()), str(page["continuation_token"]), str(page["uuid"])

    def locate(self, bucket: str, name: str) -> str:
        """The URL at its target to which a proxy redirects a read of this object."""
        path = f"/v1/objects/{bucket}/{name}?provider=ais"
        status, headers, content = self.call("GET", path)
        if status not in (301, 302, 307, 308) or "location" not in headers:
            raise BenchError(f"GET {path} was answered {status} and not redirected: {content[:300]!r}")
        return headers["location"]


def range_job(bucket: str, template: str) -> dict[str, Any]:
    """The body of a `range` job."""
    return {"type": "range", "bucket": {"name": bucket, "provider": "ais"}, "template": template}


def single_job(bucket: str, name: str, link: str) -> dict[str, Any]:
    """The body of a `single` job."""
    return {"type": "single", "bucket": {"name": bucket, "provider": "ais"}, "object_name": name, "link": link}


def _unix_seconds(text: str) -> float:
    """RFC 3339 with up to nine decimals, of which datetime reads only six."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text)).timestamp()
