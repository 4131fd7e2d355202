"""From the options of `haul download` on HuggingFace repositories to the body that is posted; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.downloads.joboptions import Options, common_fields, header_fields
from cli.downloads.naming import subdirectory
from cli.errors import UsageError
from cli.uris import Location
from common.errors import RequestError
from common.links import origin_of
from common.units import parse_size

_HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """A repository of HuggingFace's Hub and what is wanted of it, as typed."""

    model: str = ""
    dataset: str = ""
    file: str = ""
    revision: str = ""
    token: str = field(default="", repr=False)
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    blob_threshold: str = ""

    @property
    def is_given(self) -> bool:
        """Whether the source is a repository."""
        return bool(self.model or self.dataset)


def build_repository(destination: Location, wanted: RepositoryOptions, options: Options) -> dict[str, Any]:
    """The body for a repository, or one file of it; names keep their folders. Raises UsageError."""
    if wanted.model and wanted.dataset:
        raise UsageError("--hf-model and --hf-dataset cannot be used together: a repository is either")
    if wanted.file and (wanted.include or wanted.exclude):
        raise UsageError("--include and --exclude are for whole repositories, not for --hf-file")
    if wanted.blob_threshold:
        try:
            parse_size(wanted.blob_threshold)
        except RequestError as error:
            raise UsageError(f"--blob-threshold: {error}") from None
    body = common_fields(destination, options) | {"type": "hf"}
    fields = ("model", "dataset", "file", "revision")
    body |= {name: value for name in fields if (value := getattr(wanted, name))}
    body |= {name: list(value) for name in ("include", "exclude") if (value := getattr(wanted, name))}
    if wanted.token:
        body["headers"] = body.get("headers", {}) | header_fields([f"Authorization: Bearer {wanted.token}"])
    if wanted.file and destination.name and not destination.name.endswith("/"):
        return body | {"object_name": destination.name}
    return body | subdirectory(destination.name)


def with_token(body: dict[str, Any], token: str, endpoint: str) -> tuple[dict[str, Any], bool]:
    """The body with the Hub's token, if all of its links lead to the Hub, and whether some do and others do not.

    The Hub is huggingface.co, by https, and what `endpoint` names besides. An `Authorization` that is typed stays.
    """
    hubs = {origin_of(hub) for hub in (_HUB, endpoint) if hub}
    at_hub = [origin_of(link) in hubs for link in _links(body)]
    headers = body.get("headers", {})
    if not at_hub or not all(at_hub):
        return body, any(at_hub)
    if not any(name.lower() == "authorization" for name in headers):
        body = body | {"headers": headers | header_fields([f"Authorization: Bearer {token}"])}
    return body, False


def _links(body: Mapping[str, Any]) -> list[str]:
    """All links that a body has itself; a template counts as one."""
    objects = body.get("objects", ())
    listed = objects.values() if isinstance(objects, Mapping) else objects
    links = [entry.get("link", "") if isinstance(entry, Mapping) else entry for entry in listed]
    return [*links, *(body[key] for key in ("link", "template") if key in body)]
