"""The calls about jobs and buckets, described; sending them is left to the clients."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

from common.errors import RequestError
from common.names import Bucket
from haul.errors import InvalidInput, UnexpectedAnswer
from haul.exchange import Call, decoded, json_body, nothing
from haul.jobs import Job
from haul.objects import ObjectEntry
from haul.places import BucketName, Place, bucket_from_wire, bucket_of
from haul.states import Decision, Failure, JobStatus, LedgerLine, Survey, Task

T = TypeVar("T")
_JOBS = "/v1/download"
_TASKS_AT_ONCE = 1_000
PAGE_ENTRIES = 10_000
_NOT_RECURSIVE = "2048"
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a long list, and the call for what follows."""

    items: tuple[T, ...]
    following: Call[Page[T]] | None = None


def start(job: Job, idempotency_key: str = "") -> Call[str]:
    """Start a job; a proxy that dies meanwhile is followed by another, and there is one job all the same."""
    sent = json_body(job.to_wire())
    sent["headers"] |= {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
    return Call("POST", _JOBS, _job_id, **sent)


def survey(job: Job) -> Call[Survey]:
    """Ask what a job would do."""
    sent = json_body(job.to_wire() | {"dry_run": True})
    return Call("POST", _JOBS, lambda response: Survey.from_wire(_object(response)), **sent)


def status(job_id: str) -> Call[JobStatus]:
    """One job, without its finished objects and errors."""
    query = {"id": _checked_id(job_id), "only_active_tasks": True, "with_bytes": True}
    return Call("GET", _JOBS, lambda response: JobStatus.from_wire(_object(response)), **json_body(query))


def jobs(regex: str, *, only_active: bool) -> Call[list[JobStatus]]:
    """All jobs whose description matches, the one that was started last at the end."""
    query = {"regex": regex, "only_active_tasks": only_active, "with_bytes": True}
    return Call("GET", _JOBS, _job_list, **json_body(query))


def finished_tasks(job_id: str) -> Call[Page[Task]]:
    """What has ended, well or not, in pages."""
    return _tasks_page(job_id, "finished_tasks", Task.from_wire)


def failures(job_id: str) -> Call[Page[Failure]]:
    """What has failed, in pages."""
    return _tasks_page(job_id, "download_errors", Failure.from_wire)


def _tasks_page(
    job_id: str,
    field: str,
    from_wire: Callable[[Mapping[str, Any]], T],
    after: int | None = None,
    first: Page[T] | None = None,
) -> Call[Page[T]]:
    """The first page may have entries beyond its end, which come again later; they are told once."""
    query: dict[str, Any] = {"id": _checked_id(job_id), "tasks_limit": _TASKS_AT_ONCE, "with_bytes": True}
    query |= {} if after is None else {"tasks_after": after}

    def read(response: httpx.Response) -> Page[T]:
        fields = _object(response)
        told = set(first.items) if first else ()
        items = tuple(item for entry in fields.get(field) or () if (item := from_wire(entry)) not in told)
        page: Page[T] = Page(items)
        if "tasks_next" not in fields:
            return page
        return Page(items, _tasks_page(job_id, field, from_wire, int(fields["tasks_next"]), first or page))

    return Call("GET", _JOBS, read, **json_body(query))


def ledger(job_id: str, *, only_failed: bool) -> Call[None]:
    """A stream of JSON lines; `ledger_line` reads one."""
    query = {"only_failed": "true"} if only_failed else {}
    return Call("GET", f"{_JOBS}/{_checked_id(job_id)}/ledger", nothing, query, streams=True)


def ledger_line(line: bytes) -> LedgerLine:
    """Raises UnexpectedAnswer."""
    try:
        return LedgerLine.from_wire(json.loads(line))
    except (ValueError, TypeError, AttributeError):
        raise UnexpectedAnswer("a line of the ledger is no JSON; is it a cluster?") from None


def story(job_id: str) -> Call[list[Decision]]:
    """What was decided while a job ran, and why."""

    def read(response: httpx.Response) -> list[Decision]:
        return [Decision.from_wire(line) for line in _object(response).get("decisions") or ()]

    return Call("GET", f"{_JOBS}/{_checked_id(job_id)}/story", read)


def change(method: str, action: str, job_id: str) -> Call[None]:
    """`POST` for `pause` and `resume`, `DELETE` for `abort` and `remove`; all but `remove` may be repeated."""
    body = json_body({"id": _checked_id(job_id)})
    return Call(method, f"{_JOBS}/{action}", nothing, is_repeatable=action != "remove", **body)


def buckets() -> Call[list[Bucket]]:
    """All buckets that the cluster knows."""
    return Call("GET", "/v1/buckets", _bucket_list, **json_body({"action": "list"}))


def create_bucket(name: BucketName) -> Call[None]:
    """Make one."""
    return _bucket_call("POST", name, "create-bck")


def delete_bucket(name: BucketName) -> Call[None]:
    """Remove one with all that is in it."""
    return _bucket_call("DELETE", name, "destroy-bck")


def bucket_properties(name: BucketName) -> Call[dict[str, Any]]:
    """What is configured for one."""
    place = Place(bucket_of(name))
    return Call("HEAD", place.path, _properties, place.query | {"dont_add_remote_bck_md": "true"})


def objects(
    name: BucketName, prefix: str = "", *, recursive: bool = True, details: bool = False, limit: int = 0
) -> Call[Page[ObjectEntry]]:
    """The objects of a bucket in byte order, in pages; `details` costs the targets a look at each."""
    place = Place(bucket_of(name))
    message: dict[str, Any] = {"prefix": prefix, "pagesize": limit or PAGE_ENTRIES}
    message["props"] = "name,size,version,checksum,atime,custom,cached" if details else "name,size,cached"
    message |= {} if recursive else {"flags": _NOT_RECURSIVE}

    def page(message: Mapping[str, Any]) -> Call[Page[ObjectEntry]]:
        def read(response: httpx.Response) -> Page[ObjectEntry]:
            fields = _object(response)
            entries = (ObjectEntry.from_wire(entry) for entry in fields.get("entries") or ())
            # A trailing star is cut off from a prefix by the dialect.
            items = tuple(entry for entry in entries if entry.name.startswith(prefix))
            token = fields.get("continuation_token", "")
            if not token:
                return Page(items)
            return Page(items, page({**message, "uuid": fields.get("uuid", ""), "continuation_token": token}))

        body = json_body({"action": "list", "value": message})
        return Call("GET", place.path, read, place.query, **body)

    return page(message)


def _bucket_call(method: str, name: BucketName, action: str) -> Call[None]:
    place = Place(bucket_of(name))
    return Call(method, place.path, nothing, place.query, is_repeatable=False, **json_body({"action": action}))


def _properties(response: httpx.Response) -> dict[str, Any]:
    try:
        found = json.loads(response.headers["Ais-Bucket-Props"])
    except (KeyError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UnexpectedAnswer(f"{response.url} tells no properties of the bucket; is it a cluster?")
    return found


def _bucket_list(response: httpx.Response) -> list[Bucket]:
    try:
        return [bucket_from_wire(fields) for fields in decoded(response) or ()]
    except (KeyError, TypeError, AttributeError, RequestError):
        raise UnexpectedAnswer(f"{response.url} answered with something that is no list of buckets") from None


def _job_list(response: httpx.Response) -> list[JobStatus]:
    found = [JobStatus.from_wire(fields) for fields in decoded(response) or ()]
    return sorted(found, key=lambda job: (job.started.timestamp() if job.started else 0.0, job.id))


def _job_id(response: httpx.Response) -> str:
    job_id = _object(response).get("id")
    if not isinstance(job_id, str):
        raise UnexpectedAnswer(f"{response.url} accepted the job but did not tell its id; is it a cluster?")
    return job_id


def _object(response: httpx.Response) -> Mapping[str, Any]:
    fields = decoded(response)
    if not isinstance(fields, dict):
        raise UnexpectedAnswer(f"{response.url} answered with something that is no JSON object; is it a cluster?")
    return fields


def _checked_id(job_id: str) -> str:
    if not job_id or not _ID_CHARACTERS.issuperset(job_id):
        raise InvalidInput(f'"{job_id}" is no id of a job')
    return job_id
