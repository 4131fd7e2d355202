"""Jobs as AIStore's generic job API shows them: its kinds, its queries, its snapshots; pure. Source: wire.md §5.

Gathering what is shown is left to `jobs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from common.copying import CopyFigures
from common.errors import InvalidRequest, Unsupported
from common.names import Bucket
from common.shares import ShareStatus
from proxy.actions.records import ActionRecord
from proxy.downloads.records import Figures, JobRecord
from proxy.downloads.requests import parse_bucket
from proxy.jsonbody import check_known, string
from proxy.remote.listranges import PREFETCH, PREFETCHING

DOWNLOAD = "download"
_DISPLAY_NAMES = {
    "copy-bucket": "copy-bck",
    "copy-objects": "copy-listrange",
    "delete-objects": "delete-listrange",
    "etl-bucket": "etl-bck",
    "etl-objects": "etl-listrange",
    "evict-objects": "evict-listrange",
    "evict-remote-bucket": "evict-remote-bck",
    "ls": "list",
    "lru-eviction": "lru",
    "cleanup": "cleanup-store",
    "move-bucket": "move-bck",
    "prefetch": PREFETCH,
    "prefetch-objects": PREFETCH,
    "rename-bucket": "move-bck",
    "summary": "summary-bck",
}
NEVER = "0001-01-01T00:00:00Z"
_NO_BUCKET = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}
_QUERY = "query message"
_STOP = "stop message"
_OF_STOP = frozenset(
    {
        *("id", "kind", "daemonid", "node", "bck", "buckets"),
        *("timeout", "flags", "force", "onlyrunning", "show_active"),  # what AIStore's programs send besides
    }
)
_OF_BUCKET = frozenset({"name", "provider", "namespace"})


def kind_named(text: str) -> str:
    """The kind that a client means, who may use the name that is shown to people."""
    return _DISPLAY_NAMES.get(text.lower(), text.lower())


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs: by id, or all of a kind, of a target, that have to do with one of these buckets, that run."""

    id: str = ""
    kind: str = ""
    target: str = ""
    buckets: frozenset[Bucket] = frozenset()
    only_running: bool = False


def parse_job_query(message: Mapping[str, Any]) -> JobQuery:
    """AIStore's QueryMsg or ArgsMsg, its keys in lower case; raises InvalidRequest."""
    named = message.get("buckets", [])
    if not isinstance(named, list):
        raise InvalidRequest(f"{_QUERY}: 'buckets' must be an array")
    one = message.get("bck")
    given = [bucket for bucket in (one, *named) if not isinstance(bucket, dict) or bucket.get("name")]
    return JobQuery(
        id=string(dict(message), "id", _QUERY),
        kind=kind_named(string(dict(message), "kind", _QUERY)),
        target=string(dict(message), "daemonid", _QUERY) or string(dict(message), "node", _QUERY),
        buckets=frozenset(parse_bucket(bucket) for bucket in given if bucket is not None),
        only_running=message.get("show_active") is True or message.get("onlyrunning") is True,
    )


def parse_stop(message: Mapping[str, Any]) -> JobQuery:
    """The same of what is to be stopped, where nothing is passed over that was to narrow it down.

    Raises InvalidRequest, Unsupported.
    """
    check_known(message, _OF_STOP, _STOP)
    query = parse_job_query(message)
    if query.target:
        raise Unsupported("jobs are stopped on all targets, not on one ('DaemonID', 'node')")
    for bucket in (message.get("bck"), *message.get("buckets", [])):
        check_known(bucket or (), _OF_BUCKET, f"{_STOP}: 'bck'")
    return query


@dataclass(frozen=True, slots=True)
class Part:
    """What one target has done of a job; counts are of objects."""

    started_ns: int
    ended_ns: int = 0
    objects: int = 0
    copied_bytes: int = 0
    out_objects: int = 0
    out_bytes: int = 0
    in_objects: int = 0
    in_bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it is shown. `status_kind` is what a status by id says, `parts` are the targets', by id.

    One that `broke_off` by itself has the snapshots of an aborted one, as in AIStore: clients that wait for a job to be
    idle look at nothing else. `source` and `destination` are of a job that has two buckets, which then has no `bucket`.
    """

    id: str
    kind: str
    status_kind: str
    started_ns: int
    ended_ns: int = 0
    is_aborted: bool = False
    broke_off: bool = False
    error: str = ""
    bucket: Bucket | None = None
    source: Bucket | None = None
    destination: Bucket | None = None
    parts: Mapping[str, Part] = field(default_factory=dict, hash=False)

    def matches(self, query: JobQuery) -> bool:
        """Whether this is asked for, apart from the id."""
        kinds = {"", self.kind, DOWNLOAD} if self.id.startswith("dnl-") else {"", self.kind}
        if query.kind not in kinds or (query.only_running and self.ended_ns):
            return False
        return not query.buckets or not query.buckets.isdisjoint({self.bucket, self.source, self.destination})

    def status(self, kind: str = "") -> dict[str, Any]:
        """AIStore's status."""
        return {
            "kind": kind or self.status_kind,
            "uuid": self.id,
            "err": self.error,
            "end_time": self.ended_ns,
            "aborted": self.is_aborted,
        }

    def snapshot(self, target: str) -> dict[str, Any]:
        """AIStore's snapshot of what a target has done of it."""
        part = self.parts.get(target, Part(self.started_ns, self.ended_ns))
        ended_ns = (part.ended_ns or self.ended_ns) if self.ended_ns else 0
        is_aborted = self.is_aborted or self.broke_off
        return {
            "ext": None,
            "start-time": time_text(part.started_ns or self.started_ns),
            "end-time": time_text(ended_ns),
            "bck": _bucket(self.bucket),
            "src-bck": _bucket(self.source),
            "dst-bck": _bucket(self.destination),
            "id": self.id,
            "kind": self.kind,
            "abort-err": (self.error or "aborted") if is_aborted else "",
            "err": part.error or self.error,
            "glob.id": "0",
            "stats": {
                "loc-objs": str(part.objects),
                "loc-bytes": str(part.copied_bytes),
                "out-objs": str(part.out_objects),
                "out-bytes": str(part.out_bytes),
                "in-objs": str(part.in_objects),
                "in-bytes": str(part.in_bytes),
            },
            "aborted": is_aborted,
            "is_idle": bool(ended_ns),
        }


def download_job(record: JobRecord, figures: Figures, shares: Mapping[tuple[str, str], ShareStatus]) -> Job:
    """A download job; `shares` by (share id, target id)."""
    parts: dict[str, Part] = {}
    for (_, target), share in sorted(shares.items()):
        before = parts.get(target, Part(share.started_ns))
        parts[target] = Part(
            started_ns=min(before.started_ns, share.started_ns) or record.created_ns,
            ended_ns=max(before.ended_ns, share.finished_ns),
            objects=before.objects + share.finished,
            copied_bytes=before.copied_bytes + share.bytes,
        )
    failed = f"{figures.errors} of {figures.scheduled} objects could not be downloaded"
    return Job(
        id=record.id,
        kind=PREFETCH if record.description.startswith(PREFETCHING) else DOWNLOAD,
        status_kind=record.kind,
        started_ns=figures.started_ns or record.created_ns,
        ended_ns=figures.finished_ns,
        is_aborted=figures.aborted or bool(record.aborted_ns),
        error=failed if figures.errors and figures.finished_ns else "",
        bucket=Bucket.from_uname(record.bucket),
        parts=parts,
    )


def copy_job(record: ActionRecord, figures: Mapping[str, CopyFigures]) -> Job:
    """A copy or a move."""
    order = record.order
    return Job(
        id=record.id,
        kind=record.kind,
        status_kind=record.kind,
        started_ns=order.started_ns,
        ended_ns=record.ended_ns,
        is_aborted=record.is_aborted,
        broke_off=record.broke_off,
        error=record.error,
        source=order.source,
        destination=order.destination,
        parts={
            target: Part(
                started_ns=one.started_ns,
                ended_ns=one.ended_ns,
                objects=one.objects,
                copied_bytes=one.copied_bytes,
                out_objects=one.out_objects,
                out_bytes=one.out_bytes,
                in_objects=one.in_objects,
                in_bytes=one.in_bytes,
                error=one.error,
            )
            for target, one in figures.items()
        },
    )


def done_job(job_id: str, kind: str, done_ns: int) -> Job:
    """Something that was done when it was answered."""
    return Job(job_id, kind, kind, started_ns=done_ns, ended_ns=done_ns)


def snapshots(jobs: Iterable[Job], targets: Iterable[str], only_target: str = "") -> dict[str, list[dict[str, Any]]]:
    """The snapshots of jobs by target: of these targets, and of others that have had a part."""
    wanted = list(jobs)
    known = dict.fromkeys((*targets, *(target for job in wanted for target in job.parts)))
    return {target: [job.snapshot(target) for job in wanted] if only_target in ("", target) else [] for target in known}


def time_text(unix_ns: int) -> str:
    """A time as AIStore's jobs have it."""
    if not unix_ns:
        return NEVER
    return datetime.fromtimestamp(unix_ns / 1e9, UTC).isoformat().replace("+00:00", "Z")


def _bucket(bucket: Bucket | None) -> dict[str, Any]:
    return bucket.to_wire() if bucket is not None else _NO_BUCKET
