"""Jobs of type `backend`: a bucket outside of the cluster, or a part of it, as the source; pure.

What such a job wants, how far its listing has come, and which tasks a piece of the listing gives. Listing is left to
`proxy.downloads.listers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from common.backends.base import SourceObject
from common.backends.sources import source_link
from common.errors import InvalidName, InvalidRequest
from common.expectation import Expectation
from common.names import Bucket, printable, validate_object_name
from common.versions import known_of, unknown_fields, unknown_of
from proxy.downloads.tasks import TaskList
from proxy.jsonbody import boolean, integer, string

_WHAT = "download request"
UNLIMITED = -1
_MANY_REMOVALS = 1_000
_SHOWN_REFUSED = 10


@dataclass(frozen=True, slots=True)
class SourceJob:
    """Objects of `source` that begin with `prefix` and end with `suffix`, to be kept behind `subdir`.

    With `is_sync` what has come from there and is gone there is removed here; not more than `max_delete` objects,
    None for `removals_allowed`'s default.
    """

    source: Bucket
    prefix: str = ""
    suffix: str = ""
    subdir: str = ""
    is_sync: bool = False
    max_delete: int | None = None

    @property
    def shown(self) -> str:
        """The source as users write it."""
        return f"{self.source.cname}/{printable(self.prefix)}" if self.prefix else self.source.cname

    @property
    def own_prefix(self) -> str:
        """What the names of its objects begin with in the cluster."""
        return f"{self.subdir}/{self.prefix}" if self.subdir else self.prefix

    def name_of(self, source_name: str) -> str:
        """What an object is called in the cluster."""
        return f"{self.subdir}/{source_name}" if self.subdir else source_name

    def link_of(self, own_name: str) -> str:
        """The link that the object of this name has come from, if it has come from the source."""
        return source_link(self.source, own_name.removeprefix(f"{self.subdir}/" if self.subdir else ""))

    def wants(self, source_name: str) -> bool:
        """Whether an object is part of the job; what a service shows as a folder is not."""
        return source_name.endswith(self.suffix) and not source_name.endswith("/")

    def removals_allowed(self, present: int, seen: int) -> int | None:
        """How many of the `present` objects from the source, where `seen` are left, may be removed; None: all of them.

        By default half of them, and 1,000 in any case, but none where nothing is left: a source that has been emptied
        by mistake empties nothing.
        """
        if self.max_delete is None:
            return max(_MANY_REMOVALS, present // 2) if seen else 0
        return None if self.max_delete == UNLIMITED else self.max_delete

    def to_plain(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        return {**asdict(self), "source": self.source.uname}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_plain`'s form; fields of a newer proxy are ignored."""
        known = known_of(cls.__dataclass_fields__, plain)
        return cls(**{**known, "source": Bucket.from_uname(known["source"])})


@dataclass(frozen=True, slots=True)
class SourceListing:
    """How far the listing of a job's source has come; part of the job's record, so that any proxy can go on.

    `spec` is what its shares have in common, packed. `count` objects have been given to targets; `token` names the page
    to go on with. When all that was listed `is_given`, a synchronised bucket may still have to lose what is gone.
    `refused` names cannot be kept here, `refused_count` of them. With an `error` it has ended before its end.
    """

    job: SourceJob
    spec: bytes = field(repr=False)
    token: str = ""
    count: int = 0
    refused: tuple[str, ...] = ()
    refused_count: int = 0
    error: str = ""
    is_complete: bool = False
    is_given: bool = False
    unknown: Mapping[str, Any] = unknown_fields()

    @property
    def errors(self) -> list[tuple[str, str]]:
        """What is shown beside the errors of tasks: (name, text)."""
        shown = [(name, f'{self.job.source.cname}: "{name}" cannot be the name of an object') for name in self.refused]
        return [*shown, (self.job.shown, self.error)] if self.error else shown

    @property
    def error_count(self) -> int:
        """How many errors that are."""
        return self.refused_count + bool(self.error)

    def advanced(self, piece: Piece, token: str) -> SourceListing:
        """After one more piece, beyond which `token` leads; without one it was the last."""
        return replace(
            self,
            token=token,
            is_given=not token,
            is_complete=not token and not self.job.is_sync,
            count=self.count + len(piece.tasks),
            refused=(*self.refused, *piece.refused)[:_SHOWN_REFUSED],
            refused_count=self.refused_count + len(piece.refused),
        )

    def failed(self, why: str) -> SourceListing:
        """Ended before its end."""
        return replace(self, error=why, is_complete=True)

    def without_secrets(self) -> SourceListing:
        """Once nothing more is to be listed."""
        return replace(self, spec=b"")

    def to_plain(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "unknown"}
        return {**self.unknown, **plain, "job": self.job.to_plain()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_plain`'s form; fields of a newer proxy are only kept."""
        known = known_of(cls.__dataclass_fields__, plain)
        known |= {"job": SourceJob.from_plain(known["job"]), "refused": tuple(known.get("refused", ()))}
        return cls(**known, unknown=unknown_of(cls.__dataclass_fields__, plain))


@dataclass(frozen=True, slots=True)
class Piece:
    """Some pages of a listing as tasks; `refused` names cannot be kept here."""

    tasks: TaskList
    refused: tuple[str, ...] = ()


def piece_of(job: SourceJob, objects: Iterable[SourceObject]) -> Piece:
    """The tasks for what is listed and wanted."""
    found: dict[str, tuple[str, Expectation]] = {}
    refused: list[str] = []
    for listed in objects:
        if not job.wants(listed.name):
            continue
        name = job.name_of(listed.name)
        try:
            validate_object_name(name)
        except InvalidName:
            refused.append(printable(listed.name))
            continue
        digests = tuple(sorted(listed.digests.items()))
        expected = Expectation(listed.size_bytes, digests, listed.etag)
        found[name] = source_link(job.source, listed.name), expected
    names = sorted(found)
    links = [found[name][0] for name in names]
    return Piece(TaskList(names, links, {name: expected for name, (_, expected) in found.items()}), tuple(refused))


def removal_tasks(job: SourceJob, gone: Sequence[tuple[str, int]]) -> TaskList:
    """The tasks that remove objects of the cluster: (name, time of storing)."""
    stored = dict(sorted(gone))
    return TaskList(list(stored), [job.link_of(name) for name in stored], removes_ns=stored)


def parse_source_job(fields: dict[str, Any], bucket: Bucket, source: Bucket | None) -> SourceJob:
    """The job of a `backend` request's fields; `source` is where the bucket itself is filled from, None for nowhere.

    Raises InvalidRequest.
    """
    if source is None:
        raise InvalidRequest(
            f"bucket download requires a remote bucket ({bucket.cname} is none, and has no 'backend_bck'); "
            "or name one as 'source'"
        )
    is_sync = boolean(fields, "sync" if "sync" in fields else "synchronize", _WHAT)
    max_delete = integer(fields, "max_delete", _WHAT) if "max_delete" in fields else None
    if max_delete is not None and max_delete < UNLIMITED:
        raise InvalidRequest("'max_delete' must be a number of objects, or -1 for no limit")
    prefix, suffix = string(fields, "prefix", _WHAT), string(fields, "suffix", _WHAT)
    subdir = string(fields, "subdir", _WHAT).strip("/")
    if subdir:
        validate_object_name(subdir)
    if source == bucket and subdir:
        raise InvalidRequest("'subdir' is for another bucket than the source itself")
    return SourceJob(source, prefix, suffix, subdir, is_sync, max_delete)
