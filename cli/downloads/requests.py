"""From the arguments of `haul download` to the body that is posted (wire.md §1.1); pure.

Reading the list of objects from its file is left to `cli.downloads.objectlist`, posting to `cli.downloads.commands`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cli.errors import UsageError
from cli.uris import Location
from common.errors import RequestError
from common.links import check_header, origin_of
from common.names import basename_of_link, normalize_object_name, printable
from common.units import parse_duration, parse_size

_URL_CHARACTERS = "%/?:@!$&'()*+,;=~#"
"""Lists have names as people write them; what no URL may have in it is percent-encoded, what is encoded stays."""
_HUB = "https://huggingface.co"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
NOT_YET = {
    "s3": ("an S3 bucket", "https://BUCKET.s3.amazonaws.com/NAME"),
    "gs": ("a Google Cloud Storage bucket", "https://storage.googleapis.com/BUCKET/NAME"),
    "az": ("an Azure container", "https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME"),
    "ais": ("a bucket of another cluster", "http://HOST:PORT/v1/objects/BUCKET/NAME"),
}
"""Sources that are no web addresses: what they are, and the public address of one object of them."""

ObjectList = Sequence[str] | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Options:
    """What all kinds of jobs have in common, as typed."""

    description: str = ""
    timeout: str = ""
    progress_interval: str = ""
    max_connections: int = 0
    bytes_per_hour: str = ""
    headers: Sequence[str] = field(default=())
    priority: int = 0


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


def build(source: str, destination: Location, objects: ObjectList | None, options: Options) -> dict[str, Any]:
    """The body of `POST /v1/download`.

    `objects` makes a multi job (`source` is what relative links stand behind), a template in `source` a range job,
    anything else a single one. Raises UsageError for what cannot be meant.
    """
    body = _common(destination, options)
    if objects is not None:
        return body | {"type": "multi", "objects": _objects(source, destination.name, objects)}
    if not source:
        raise UsageError("the source is missing: haul download SOURCE DESTINATION")
    if "{" in source:
        return body | {"type": "range", "template": source} | _subdirectory(destination.name)
    return body | {"type": "single", "link": source} | _object_name(source, destination.name)


def build_listed(base: str, destination: Location, manifest_format: str, options: Options) -> dict[str, Any]:
    """The body for objects that a manifest lists; `base` is where those of a list of sums are. Raises UsageError."""
    if destination.name:
        raise UsageError("with --manifest the destination is a bucket: the manifest has the names")
    body = _common(destination, options) | {"type": "multi"}
    return body | {key: value for key, value in (("format", manifest_format), ("base", base)) if value}


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
    body = _common(destination, options) | {"type": "hf"}
    fields = ("model", "dataset", "file", "revision")
    body |= {name: value for name in fields if (value := getattr(wanted, name))}
    body |= {name: list(value) for name in ("include", "exclude") if (value := getattr(wanted, name))}
    if wanted.token:
        body["headers"] = body.get("headers", {}) | _headers([f"Authorization: Bearer {wanted.token}"])
    if wanted.file and destination.name and not destination.name.endswith("/"):
        return body | {"object_name": destination.name}
    return body | _subdirectory(destination.name)


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
        body = body | {"headers": headers | _headers([f"Authorization: Bearer {token}"])}
    return body, False


def _links(body: Mapping[str, Any]) -> list[str]:
    """All links that a body has itself; a template counts as one."""
    objects = body.get("objects", ())
    listed = objects.values() if isinstance(objects, Mapping) else objects
    return [*listed, *(body[key] for key in ("link", "template") if key in body)]


def scheme_of(link: str) -> str:
    """The link's scheme in lower case, empty when it has none."""
    match = _SCHEME.match(link)
    return match[1].lower() if match else ""


def explain_scheme(source: str) -> str:
    """What to say when the cluster refuses a source that is no web address; empty for web addresses."""
    if scheme_of(source) == "hf":
        return (
            "a HuggingFace repository is named by an option:  haul download --hf-model|--hf-dataset NAME ais://BUCKET"
        )
    what, address = NOT_YET.get(scheme_of(source), ("", ""))
    if not what:
        return ""
    return (
        f"{what} ({scheme_of(source)}://) is not available as a source yet.\n"
        f"       A public object can be downloaded by its web address:  haul download {address} ais://BUCKET"
    )


def _common(destination: Location, options: Options) -> dict[str, Any]:
    body: dict[str, Any] = {"bucket": destination.bucket.to_wire()}
    if options.description:
        body["description"] = options.description
    if options.timeout:
        body["timeout"] = check_duration(options.timeout, "--download-timeout")
    if options.progress_interval:
        body["progress_interval"] = check_duration(options.progress_interval, "--progress-interval")
    if limits := _limits(options):
        body["limits"] = limits
    if options.headers:
        body["headers"] = _headers(options.headers)
    if options.priority:
        if not 1 <= options.priority <= 5:
            raise UsageError("--priority must be 1 (lowest) to 5")
        body["priority"] = options.priority
    return body


def check_duration(text: str, option: str) -> str:
    """`text`, if it is a duration (`90s`, `1h30m`); raises UsageError naming the option."""
    seconds_of(text, option)
    return text


def seconds_of(text: str, option: str) -> float:
    """Seconds from a duration; a bare number counts seconds. Raises UsageError naming the option."""
    try:
        seconds = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else parse_duration(text)
    except RequestError:
        seconds = -1.0
    if seconds < 0:
        raise UsageError(f'{option}: "{printable(text)}" is not a duration (expected e.g. 30s, 5m, 1h30m)')
    return seconds


def _limits(options: Options) -> dict[str, int]:
    limits = {}
    if options.max_connections < 0:
        raise UsageError("--max-conns must not be negative")
    if options.max_connections:
        limits["connections"] = options.max_connections
    if options.bytes_per_hour:
        try:
            limits["bytes_per_hour"] = parse_size(options.bytes_per_hour)
        except RequestError as error:
            raise UsageError(f"--limit-bph: {error}") from None
    return limits


def _headers(texts: Sequence[str]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon:
            # The text may be a secret that lacks its name, so it is not repeated.
            raise UsageError('--header: expected "Name: value"')
        try:
            check_header(name.strip(), value.strip())
        except RequestError as error:
            raise UsageError(f"--header: {error}") from None
        headers.setdefault(name.strip(), []).append(value.strip())
    return headers


def _subdirectory(prefix: str) -> dict[str, str]:
    return {"subdir": prefix.rstrip("/")} if prefix.rstrip("/") else {}


def _object_name(link: str, name: str) -> dict[str, str]:
    """The name as typed; a trailing slash means: into that directory, under the link's own name."""
    if not name:
        return {}
    if name.endswith("/"):
        name += _name_of(link)
    return {"object_name": _literal(name)}


def _objects(base: str, prefix: str, objects: ObjectList) -> dict[str, str] | list[str]:
    """Every link made absolute, every name put behind the prefix; a bare list of links is left to the cluster."""
    if isinstance(objects, Mapping):
        return {_literal(_join(prefix, name)): _absolute(base, link) for name, link in objects.items()}
    if not prefix and all(scheme_of(entry) for entry in objects):
        return list(objects)
    named: dict[str, str] = {}
    for entry in objects:
        name = _literal(_join(prefix, _name_of(entry) if scheme_of(entry) else _relative_name(entry)))
        link = _absolute(base, entry)
        if named.setdefault(name, link) != link:
            raise UsageError(
                f'two links would land on the same object "{printable(name)}": '
                f'"{printable(named[name])}" and "{printable(link)}"'
            )
    return named


def _absolute(base: str, link: str) -> str:
    if scheme_of(link):
        return link
    if not base:
        raise UsageError(
            f'"{printable(link)}" is a relative link, and no source is given that it stands behind: '
            "haul download SOURCE DESTINATION --object-list FILE"
        )
    return f"{base.rstrip('/')}/{quote(link.lstrip('/'), safe=_URL_CHARACTERS)}"


def _join(prefix: str, name: str) -> str:
    return f"{prefix.rstrip('/')}/{name}" if prefix.rstrip("/") else name


def _path_of(link: str) -> str:
    return re.split(r"[?#]", link, maxsplit=1)[0]


def _relative_name(entry: str) -> str:
    """A relative link is the object's name, directories and all; what is encoded in it is decoded."""
    try:
        return normalize_object_name(_path_of(entry).lstrip("/"))
    except RequestError as error:
        raise UsageError(str(error)) from None


def _name_of(link: str) -> str:
    """The object name that a link gives: the last component of its path, decoded."""
    path = _path_of(link)
    name = basename_of_link(path)
    try:
        if scheme_of(path) and "/" not in path.split("://", 1)[1].rstrip("/"):
            raise UsageError(f'the link "{printable(path)}" gives no object name; add one to the destination')
        return normalize_object_name(name)
    except RequestError as error:
        raise UsageError(f'the link "{printable(path)}" gives no object name: {error}') from None


def _literal(name: str) -> str:
    """The name so spelled that the cluster reads exactly `name`: it takes a job's names for parts of URLs."""
    return quote(name, safe="/") if any(mark in name for mark in "%?#:") else name
