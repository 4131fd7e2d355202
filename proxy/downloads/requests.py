"""Bodies of `/v1/download` become typed requests here, or an error that says which field is wrong; pure.

The objects of a job are left to `proxy.downloads.tasks`. Texts are AIStore's where it has them (wire.md §1.3); what its
targets find wrong is prefixed `Error starting download: `, as clients are used to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from common.backends.settings import CREDENTIALS
from common.backends.sources import is_outside, source_link
from common.errors import InvalidRequest, JobNotFound, RequestError, Unsupported
from common.expectation import parse_expectation
from common.links import check_header, complete_link
from common.names import Bucket, normalize_object_name, normalize_provider, printable
from common.shares import DEFAULT_PRIORITY, PRIORITIES
from common.units import parse_duration
from proxy.downloads.fields import check_fields
from proxy.downloads.manifests import format_of
from proxy.downloads.sourcejobs import SourceJob, parse_source_job
from proxy.downloads.tasks import Listed, RangeTasks, TaskList, collect, multi_tasks, range_tasks, single_task
from proxy.jsonbody import boolean, decode, decode_object, integer, is_unicode, lower_keys, string, type_name

_REQUEST = "download request"
_MESSAGE = "failed to unmarshal download message"
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16_384
MAX_DESCRIPTION_BYTES = 4_096
MAX_REGEX_BYTES = 256
_SHORT_COMMIT = 7
_LIMITS = ("connections", "bytes_per_hour")
DEFAULT_TASKS_LIMIT = 1_000
MAX_TASKS_LIMIT = 100_000


BackendOf = Callable[[Bucket], Bucket | None]


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A valid job: everything that can be checked without the network has been.

    `headers` and `credentials` are secrets; once they are to be kept, both are `sealed` instead. `source` is what its
    objects were listed from, with the version, where a job says so.
    """

    kind: str
    bucket: Bucket
    description: str
    tasks: TaskList | RangeTasks | SourceJob
    timeout_seconds: float = 0.0
    connections: int = 0
    bytes_per_hour: int = 0
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    sealed: bytes = field(default=b"", repr=False)
    priority: int = DEFAULT_PRIORITY
    dry_run: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class StatusQuery:
    """Which jobs are asked for: one by `id`, or all whose description matches `regex`.

    `tasks_after` is the position after which finished tasks and errors are shown, None for the first page;
    `with_bytes` asks for the bytes of finished objects besides their number.
    """

    id: str = ""
    regex: str = ""
    only_active: bool = False
    tasks_limit: int = DEFAULT_TASKS_LIMIT
    tasks_after: int | None = None
    with_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where the objects of a `multi` job are listed: a link, or an object of the cluster (`bucket`, `name`)."""

    location: str
    kind: str
    base_url: str
    bucket: Bucket | None = None
    name: str = ""


def parse_manifest(body: bytes) -> Manifest | None:
    """The manifest that the body of POST /v1/download names, None when it has none; raises InvalidRequest."""
    if b"manifest" not in body.lower():
        return None
    fields = decode(body, _REQUEST)
    fields = lower_keys(fields) if isinstance(fields, dict) else {}
    if "manifest" not in fields:
        return None
    if fields.get("type") != "multi" or "objects" in fields:
        raise InvalidRequest("'manifest' is for jobs of type 'multi', in place of 'objects'")
    check_fields(fields)  # before anything is fetched for a job that will be refused
    location = string(fields, "manifest", _REQUEST)
    kind = format_of(location, string(fields, "format", _REQUEST))
    base_url = string(fields, "base", _REQUEST)
    if not location.startswith("ais://"):
        complete = complete_link(location)
        return Manifest(complete, kind, base_url or complete)
    bucket_name, _, name = location.removeprefix("ais://").partition("/")
    return Manifest(location, kind, base_url, Bucket(bucket_name), normalize_object_name(name))


def parse_request(body: bytes, listed: Listed | None = None, backend_of: BackendOf = lambda _: None) -> DownloadRequest:
    """The body of POST /v1/download; raises InvalidRequest and other RequestErrors.

    `listed` is what the manifest or the repository lists that it names; `backend_of` tells which bucket outside of the
    cluster a bucket is filled from.
    """
    fields = decode(body, _REQUEST)
    fields = lower_keys(fields) if isinstance(fields, dict) else {}
    if fields.get("type", "") == "":
        raise InvalidRequest(f"failed to unmarshal {_REQUEST}, err: 'type' field is empty")
    bucket = parse_bucket(fields.get("bucket", {}))
    _check_progress_interval(fields)
    check_fields(fields)
    backend = bucket if is_outside(bucket) else backend_of(bucket)
    try:
        if listed is None:
            return _parse_job(fields, bucket, backend)
        fields |= {"objects": collect(listed.entries), "source": listed.source}
        return replace(_parse_job(fields, bucket, backend), source=listed.source)
    except RequestError as error:
        code = f"{error.code}: " if error.code else ""
        raise InvalidRequest(f"Error starting download: {code}{error}") from None


def parse_status_query(body: bytes, parameters: Mapping[str, str]) -> StatusQuery:
    """The body of GET /v1/download, or without one the query string; neither asks for all jobs."""
    what = "download query"
    fields = decode_object(body, what)
    if not body.strip():
        fields = {key: parameters[key] for key in ("id", "regex") if key in parameters}
        fields["only_active_tasks"] = parameters.get("only_active_tasks", "").lower() in ("true", "1")
    limit = integer(fields, "tasks_limit", what, DEFAULT_TASKS_LIMIT)
    after = integer(fields, "tasks_after", what) if "tasks_after" in fields else None
    query = StatusQuery(
        string(fields, "id", what),
        string(fields, "regex", what),
        boolean(fields, "only_active_tasks", what),
        min(limit, MAX_TASKS_LIMIT),
        after,
        boolean(fields, "with_bytes", what),
    )
    if limit < 1:
        raise InvalidRequest("'tasks_limit' must be positive")
    if query.id and query.regex:
        raise InvalidRequest(
            f'regex "{query.regex}" and job ID "{query.id}" cannot be defined together (choose one or the other)'
        )
    return query


def parse_job_id(body: bytes) -> str:
    """The body of the requests that change one job."""
    what = "download query"
    if not body.strip():
        raise InvalidRequest(f"failed to unmarshal {what}, err: EOF (the body is empty)")
    fields = decode_object(body, what)
    job_id = string(fields, "id", what)
    if not job_id and string(fields, "regex", what):
        raise JobNotFound(job_id)
    if not job_id:
        raise InvalidRequest("UUID not specified")
    return job_id


def parse_bucket(value: object) -> Bucket:
    """A bucket of a JSON body; its namespace is an object or a string."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{_MESSAGE}: 'bucket' must be an object, found: {type_name(value)}")
    fields = lower_keys(value)
    name, provider = string(fields, "name", _MESSAGE), string(fields, "provider", _MESSAGE)
    namespace = fields.get("namespace", "")
    if isinstance(namespace, str):
        return Bucket.parse_namespace(name, provider, namespace)
    if not isinstance(namespace, dict):
        raise InvalidRequest(f"{_MESSAGE}: 'namespace' must be an object or a string, found: {type_name(namespace)}")
    parts = lower_keys(namespace)
    uuid, namespace_name = string(parts, "uuid", _MESSAGE), string(parts, "name", _MESSAGE)
    return Bucket(name, normalize_provider(provider), uuid.removeprefix("@"), namespace_name.removeprefix("#"))


def _check_progress_interval(fields: dict[str, Any]) -> None:
    text = string(fields, "progress_interval", _MESSAGE)
    try:
        if text and parse_duration(text) < 0:
            raise InvalidRequest("must not be negative")
    except InvalidRequest as error:
        raise InvalidRequest(f'invalid progress interval "{text}": {error}') from None


def _parse_job(fields: dict[str, Any], bucket: Bucket, backend: Bucket | None) -> DownloadRequest:
    kind = fields["type"]
    if not isinstance(kind, str) or kind not in _TASKS:
        raise InvalidRequest("input does not match any of the supported formats (single, range, multi, backend)")
    timeout_seconds = _timeout(fields)
    connections, bytes_per_hour = _limits(fields)
    headers = _headers(fields.get("headers", {}))
    description = string(fields, "description", _MESSAGE)
    if len(description) > MAX_DESCRIPTION_BYTES:
        raise InvalidRequest(f"'description' is longer than {MAX_DESCRIPTION_BYTES} characters")
    priority = integer(fields, "priority", _MESSAGE, DEFAULT_PRIORITY)
    if priority not in PRIORITIES:
        raise InvalidRequest(f"'priority' must be 1 (lowest) to 5, found: {priority}")
    dry_run = boolean(fields, "dry_run", _MESSAGE)
    tasks, generated = _TASKS[kind](fields, bucket, backend)
    if is_outside(bucket) and not isinstance(tasks, SourceJob):
        _check_prefetch(tasks, bucket)
    described = description or generated
    return DownloadRequest(
        *(kind, bucket, described, tasks, timeout_seconds, connections, bytes_per_hour, headers),
        credentials=_credentials(fields),
        priority=priority,
        dry_run=dry_run,
    )


def _credentials(fields: dict[str, Any]) -> Mapping[str, str]:
    """What a job carries to be let in at its source; a value is never repeated in an error."""
    given = fields.get("credentials") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise InvalidRequest("'credentials' must map names to strings")
    if sum(len(name) + len(value) for name, value in given.items()) > MAX_HEADER_BYTES:
        raise InvalidRequest(f"'credentials' are longer than {MAX_HEADER_BYTES} bytes")
    known = frozenset().union(*CREDENTIALS.values())
    if unknown := given.keys() - known:
        raise InvalidRequest(
            f"'credentials' has an unknown field '{printable(min(unknown), 40)}' (known are {', '.join(sorted(known))})"
        )
    return given


def _timeout(fields: dict[str, Any]) -> float:
    text = string(fields, "timeout", _MESSAGE)
    try:
        seconds = parse_duration(text) if text else 0.0
    except InvalidRequest as error:
        raise InvalidRequest(f"failed to parse timeout field: {error}") from None
    if seconds < 0:
        raise InvalidRequest(f"failed to parse timeout field: must not be negative (got: {text})")
    return seconds


def _limits(fields: dict[str, Any]) -> tuple[int, int]:
    limits = fields.get("limits", {})
    if not isinstance(limits, dict):
        raise InvalidRequest(f"'limits' must be an object, found: {type_name(limits)}")
    limits = lower_keys(limits)
    if unknown := limits.keys() - set(_LIMITS):
        raise InvalidRequest(
            f"'limits' has an unknown field '{printable(min(unknown), 40)}' (known are {', '.join(_LIMITS)})"
        )
    values = tuple(integer(limits, key, "invalid 'limits'") for key in _LIMITS)
    for key, value in zip(_LIMITS, values, strict=True):
        if value < 0:
            raise InvalidRequest(f"'limit.{key}' must be non-negative (got: {value})")
    return values[0], values[1]


def _headers(headers: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(headers, dict):
        raise InvalidRequest(f"'headers' must be an object, found: {type_name(headers)}")
    lines: list[tuple[str, str]] = []
    for name, values in headers.items():
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str) or not is_unicode(name):
                raise InvalidRequest("'headers' must map names to strings or to lists of strings")
            check_header(name, value)
            lines.append((name, value))
    if len(lines) > MAX_HEADERS or sum(len(name) + len(value) for name, value in lines) > MAX_HEADER_BYTES:
        raise InvalidRequest(f"'headers': at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together")
    return tuple(lines)


def _check_prefetch(tasks: TaskList | RangeTasks, bucket: Bucket) -> None:
    """Raise Unsupported unless all objects of a bucket outside come from there."""
    if not isinstance(tasks, TaskList) or any(
        link != source_link(bucket, name) for name, link in zip(tasks.names, tasks.links, strict=True)
    ):
        raise Unsupported(
            f"{bucket.cname} is outside of this cluster, and only its own objects can be fetched into it; "
            "download to a bucket ais://… instead"
        )


def _single(fields: dict[str, Any], bucket: Bucket, backend: Bucket | None) -> tuple[TaskList, str]:
    if boolean(fields, "from_remote", _MESSAGE):
        return _prefetched(fields, bucket, backend)
    tasks, shown = single_task(fields)
    return tasks, f"{shown} -> {bucket.cname}/{tasks.names[0]}"


def _prefetched(fields: dict[str, Any], bucket: Bucket, backend: Bucket | None) -> tuple[TaskList, str]:
    if backend is None:
        raise InvalidRequest(f"bucket download requires a remote bucket ({bucket.cname} is none)")
    name = normalize_object_name(string(fields, "object_name", _MESSAGE))
    link = source_link(backend, name)
    expected = parse_expectation(fields, _MESSAGE)
    tasks = TaskList([name], [link], {name: expected} if expected else {})
    return tasks, f"{link} -> {bucket.cname}/{printable(name)}"


def _multi(fields: dict[str, Any], bucket: Bucket, _: Bucket | None) -> tuple[TaskList, str]:
    objects = fields.get("objects")
    tasks = objects if isinstance(objects, TaskList) else multi_tasks(objects)
    return tasks, f"multi-download -> {bucket.cname}"


def _range(fields: dict[str, Any], bucket: Bucket, _: Bucket | None) -> tuple[RangeTasks, str]:
    tasks, shown = range_tasks(fields)
    return tasks, f"{shown} -> {bucket.cname}"


def _repository(fields: dict[str, Any], bucket: Bucket, _: Bucket | None) -> tuple[TaskList, str]:
    objects = fields.get("objects")
    if not isinstance(objects, TaskList):
        raise InvalidRequest("a job of type 'hf' has no 'objects': they are what its repository lists")
    name, _, commit = fields["source"].partition("@")
    subdir = string(fields, "subdir", _MESSAGE).strip("/")
    shown = f"{printable(name, MAX_DESCRIPTION_BYTES)}@{commit[:_SHORT_COMMIT]}"
    return objects, f"{shown} -> {bucket.cname}{subdir and '/'}{subdir}"


def _backend(fields: dict[str, Any], bucket: Bucket, backend: Bucket | None) -> tuple[SourceJob, str]:
    job = parse_source_job(fields, bucket, parse_bucket(fields["source"]) if fields.get("source") else backend)
    if not is_outside(job.source):
        raise InvalidRequest(f"'source' must be a bucket of a service or of another cluster, not {job.source.cname}")
    if job.source == bucket:
        return job, f"remote bucket prefetch -> {bucket.cname}"
    return job, f"{job.shown} -> {bucket.cname}" + (f"/{job.subdir}" if job.subdir else "")


_TASKS: dict[str, Callable[[dict[str, Any], Bucket, Bucket | None], tuple[TaskList | RangeTasks | SourceJob, str]]] = {
    "single": _single,
    "multi": _multi,
    "range": _range,
    "backend": _backend,
    "hf": _repository,
}
