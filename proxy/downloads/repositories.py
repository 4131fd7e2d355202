"""Jobs of type `hf`: a HuggingFace repository as the source, from the request to the entries of the job; pure.

Listing it is left to `proxy.sources.huggingface`. Globs are Python's fnmatch, as in huggingface_hub: `*` matches `/`,
too, and a pattern that ends with `/` means everything in that folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from common.errors import InvalidRequest, ObjectNotFound
from common.expectation import GIT_SHA1
from common.names import join_subdir, printable
from proxy.downloads.fields import check_fields
from proxy.downloads.tasks import Entry, Listed
from proxy.jsonbody import decode, lower_keys, string, type_name
from proxy.sources.repository import DATASET, MODEL, Listing, Repository

_WHAT = "download request"
_BEARER = "bearer "
_MAX_PATTERNS = 100


@dataclass(frozen=True, slots=True)
class RepositoryJob:
    """What a job wants of a repository, and where to; `name` is for a single `file`."""

    repository: Repository
    file: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    subdir: str = ""
    name: str = ""

    def listed(self, listing: Listing) -> Listed:
        """What the job is of, as it is at that commit."""
        return Listed(self._entries(listing), replace(self.repository, revision=listing.commit).shown)

    def _entries(self, listing: Listing) -> Iterator[Entry]:
        """The objects of the job; raises ObjectNotFound when nothing of the listing is wanted."""
        wanted = [file for file in listing.files if self._wants(file.path)]
        if not wanted:
            what = f'no file "{printable(self.file)}"' if self.file else "no file that is asked for"
            raise ObjectNotFound(f"{self.repository.shown} has {what} (commit {listing.commit})")
        for file in wanted:
            fields: dict[str, object] = {"link": file.link, "size": file.size_bytes}
            if file.sha256:
                fields["sha256"] = file.sha256
            elif file.git_sha1:
                fields[GIT_SHA1] = file.git_sha1
            # A name in a request is taken for a URL's path: what has a meaning there is escaped.
            yield quote(self.name or join_subdir(self.subdir, file.path)), fields

    def _wants(self, path: str) -> bool:
        if self.file:
            return path == self.file
        return (not self.include or _matches(path, self.include)) and not _matches(path, self.exclude)


def parse_repository(body: bytes) -> RepositoryJob | None:
    """The repository of an `hf` job's body, None of any other; raises InvalidRequest."""
    if b"hf" not in body.lower():
        return None
    fields = decode(body, _WHAT)
    fields = lower_keys(fields) if isinstance(fields, dict) else {}
    if fields.get("type") != "hf":
        return None
    check_fields(fields)  # before the Hub is asked for a job that will be refused
    model, dataset = string(fields, MODEL, _WHAT), string(fields, DATASET, _WHAT)
    if bool(model) == bool(dataset):
        raise InvalidRequest("a job of type 'hf' needs either a 'model' or a 'dataset'")
    file, name = string(fields, "file", _WHAT), string(fields, "object_name", _WHAT)
    include, exclude = _patterns(fields, "include"), _patterns(fields, "exclude")
    if file and (include or exclude):
        raise InvalidRequest("'include' and 'exclude' are for whole repositories, not for one 'file'")
    if name and not file:
        raise InvalidRequest("'object_name' is for one 'file'; where a whole repository goes is its 'subdir'")
    revision = string(fields, "revision", _WHAT)
    repository = Repository(
        kind=DATASET if dataset else MODEL,
        id=dataset or model,
        revision=revision,
        token=_token(fields.get("headers")),
        is_converted=bool(dataset) and not revision and not file,
    )
    return RepositoryJob(repository, file, include, exclude, string(fields, "subdir", _WHAT), name)


def _patterns(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    given = fields.get(key, [])
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise InvalidRequest(f"'{key}' must be a list of patterns, found: {type_name(given)}")
    if len(patterns) > _MAX_PATTERNS:
        raise InvalidRequest(f"'{key}': at most {_MAX_PATTERNS} patterns")
    return tuple(f"{pattern}*" if pattern.endswith("/") else pattern for pattern in patterns)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _token(headers: object) -> str:
    """The token of the job's own `Authorization`, which the targets send with each file; checked with the others."""
    if not isinstance(headers, dict):
        return ""
    for name, values in headers.items():
        value = values[0] if isinstance(values, list) and values else values
        if name.lower() == "authorization" and isinstance(value, str) and value.lower().startswith(_BEARER):
            return value[len(_BEARER) :].strip()
    return ""
