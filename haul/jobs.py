"""Jobs to start, one class for each type, and the bodies that they are on the wire; pure. Fields: docs/wire.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from common.expectation import HEX_LENGTHS
from haul.errors import InvalidInput
from haul.places import BucketName, bucket_of


@dataclass(frozen=True, slots=True)
class Link:
    """Where one object comes from, and what is known of it: `digests` by name (`sha256`, `md5`, …), hexadecimal.

    Raises InvalidInput for a digest that the cluster cannot check.
    """

    link: str
    size_bytes: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := self.digests.keys() - HEX_LENGTHS.keys():
            raise InvalidInput(f"unknown digest {min(unknown)!r} (known are {', '.join(HEX_LENGTHS)})")

    def to_wire(self) -> dict[str, Any]:
        """The fields of an object in a body."""
        size = {} if self.size_bytes is None else {"size": self.size_bytes}
        return {"link": self.link} | size | dict(self.digests)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What every job takes: `connections` for each target, `bytes_per_hour` for the whole cluster, 0: no limit.

    `headers` are sent to the origins, `credentials` are for sources; neither is shown anywhere. `timeout_seconds` is
    for one object. `priority` is 1 (lowest) to 5.
    """

    description: str = ""
    timeout_seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connections: int = 0
    bytes_per_hour: int = 0
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    priority: int = 3

    kind: ClassVar[str] = ""

    def _common(self, bucket: BucketName) -> dict[str, Any]:
        body: dict[str, Any] = {"type": self.kind, "bucket": bucket_of(bucket).to_wire(), "priority": self.priority}
        timeout = f"{self.timeout_seconds:.3f}s" if self.timeout_seconds else ""
        limits = _given(connections=self.connections, bytes_per_hour=self.bytes_per_hour)
        return body | _given(
            description=self.description,
            timeout=timeout,
            headers=dict(self.headers),
            credentials=dict(self.credentials),
            limits=limits,
        )


@dataclass(frozen=True, slots=True)
class SingleJob(_Options):
    """One object; its name is taken from the link when `name` is empty.

    Without a link, the object `name` is fetched from where the bucket is filled from.
    """

    bucket: BucketName
    link: str | Link = ""
    name: str = ""

    kind: ClassVar[str] = "single"

    def to_wire(self) -> dict[str, Any]:
        """The body; raises InvalidInput."""
        found = self.link.to_wire() if isinstance(self.link, Link) else {"link": self.link}
        if not found["link"]:
            found = {"from_remote": True}
        return self._common(self.bucket) | found | _given(object_name=self.name)


@dataclass(frozen=True, slots=True)
class MultiJob(_Options):
    """Many objects: names and their links, or links that have the names; or a `manifest` that lists them.

    `manifest` is a link, or an object (`ais://BUCKET/NAME`); `manifest_format` is taken from its name when empty,
    `base` is where relative links stand behind.
    """

    bucket: BucketName
    objects: Mapping[str, str | Link] | Sequence[str | Link] = ()
    manifest: str = ""
    manifest_format: str = ""
    base: str = ""

    kind: ClassVar[str] = "multi"

    def to_wire(self) -> dict[str, Any]:
        """The body; raises InvalidInput."""
        if bool(self.objects) == bool(self.manifest):
            raise InvalidInput("a MultiJob has either objects or a manifest")
        body = self._common(self.bucket)
        if self.manifest:
            return body | {"manifest": self.manifest} | _given(format=self.manifest_format, base=self.base)
        objects = self.objects
        if isinstance(objects, Mapping):
            return body | {"objects": {name: _link(link) for name, link in objects.items()}}
        return body | {"objects": [_link(link) for link in objects]}


@dataclass(frozen=True, slots=True)
class RangeJob(_Options):
    """All links of a template, `https://…/shard-{0000..0099}.tar`, below `subdir`."""

    bucket: BucketName
    template: str
    subdir: str = ""

    kind: ClassVar[str] = "range"

    def to_wire(self) -> dict[str, Any]:
        """The body; raises InvalidInput."""
        return self._common(self.bucket) | {"template": self.template} | _given(subdir=self.subdir)


@dataclass(frozen=True, slots=True)
class BackendJob(_Options):
    """A bucket outside of the cluster, `source`, or what of it has a prefix and a suffix, below `subdir`.

    Without `source` it is where the bucket itself is filled from. With `sync`, what is gone there is removed here, at
    most `max_delete` objects (-1: no limit, None: the cluster's default).
    """

    bucket: BucketName
    source: BucketName | None = None
    prefix: str = ""
    suffix: str = ""
    subdir: str = ""
    sync: bool = False
    max_delete: int | None = None

    kind: ClassVar[str] = "backend"

    def to_wire(self) -> dict[str, Any]:
        """The body; raises InvalidInput."""
        source = {} if self.source is None else {"source": bucket_of(self.source).to_wire()}
        limit = {} if self.max_delete is None else {"max_delete": self.max_delete}
        chosen = _given(prefix=self.prefix, suffix=self.suffix, subdir=self.subdir, sync=self.sync)
        return self._common(self.bucket) | source | limit | chosen


@dataclass(frozen=True, slots=True)
class HubJob(_Options):
    """A `model` or a `dataset` of HuggingFace's Hub, all of it, or what `include` and `exclude` (globs) leave, or one
    `file`; a token goes into `headers`, `{"Authorization": "Bearer …"}`.
    """

    bucket: BucketName
    model: str = ""
    dataset: str = ""
    revision: str = ""
    subdir: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    file: str = ""
    name: str = ""

    kind: ClassVar[str] = "hf"

    def to_wire(self) -> dict[str, Any]:
        """The body; raises InvalidInput."""
        if bool(self.model) == bool(self.dataset):
            raise InvalidInput("a HubJob has either a model or a dataset")
        return self._common(self.bucket) | _given(
            model=self.model,
            dataset=self.dataset,
            revision=self.revision,
            subdir=self.subdir,
            include=list(self.include),
            exclude=list(self.exclude),
            file=self.file,
            object_name=self.name,
        )


Job = SingleJob | MultiJob | RangeJob | BackendJob | HubJob


def _link(link: str | Link) -> str | dict[str, Any]:
    return link.to_wire() if isinstance(link, Link) else link


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
