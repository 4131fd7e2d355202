"""The names of the fields in a body of POST `/v1/download`: foreign ones are passed over, almost known ones not; pure.

AIStore ignores fields that it does not know, and its clients rely on that. But a misspelt `dry_run` or `max_delete`
that is ignored has data fetched or removed, and a digest that is ignored has wrong bytes pass as checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from common.errors import InvalidRequest, Unsupported
from common.expectation import FIELDS, HEX_LENGTHS
from common.names import printable

_COMMON = {"type", "bucket", "description", "timeout", "progress_interval", "limits", "headers"}
_OF_KINDS = {
    *("link", "object_name", "from_remote", "objects", "template", "subdir", "prefix", "suffix", "synchronize"),
    *("manifest", "format", "base", "source", "sync", "max_delete"),
    *("model", "dataset", "revision", "include", "exclude", "file"),
}
_OWN = {"credentials", "priority", "dry_run"}
_PROTECTING = {*_OWN, "max_delete"}
_TRANSFORMATION = "etl_"
KNOWN = FIELDS | _COMMON | _OF_KINDS | _OWN | {"etl_name", "etl_args"}
"""All that a job of some type may have, in lower case."""
_DIGEST = re.compile(r"(?:cksum|checksum|digest|crc\d|xxh|sha\d|md\d|blake\d)|hash(?:e|type|value)?\Z")
_WITHOUT_SUBDIR = ("single", "multi")
_WITHOUT_DIGESTS = ("multi", "range", "backend", "hf")


def check_fields(fields: Mapping[str, Any]) -> None:
    """Check the names of a job's fields, by lower-case key; a field that is empty asks for nothing.

    Raises InvalidRequest for a misspelt one, a digest that cannot be checked, and what is for other types of jobs;
    Unsupported for transformations.
    """
    for key in fields:
        if key not in KNOWN:
            _check_foreign(key)
    for key in (key for key, value in fields.items() if value not in ("", [], {})):
        if key.startswith(_TRANSFORMATION):
            raise Unsupported(f"'{printable(key, 40)}' is not supported by this cluster")
        if key == "subdir" and fields.get("type") in _WITHOUT_SUBDIR:
            raise InvalidRequest(
                "'subdir' is for jobs of type 'range', 'backend' and 'hf'; in others it is part of the objects' names"
            )
        if key in FIELDS and fields.get("type") in _WITHOUT_DIGESTS:
            raise InvalidRequest(
                f"'{key}' is for jobs of type 'single'; in 'objects' and manifests each object has its own"
            )


def _check_foreign(key: str) -> None:
    if meant := _MEANT.get(_bare(key)):
        raise InvalidRequest(f'unknown field "{printable(key, 40)}": {meant} is meant')
    if _DIGEST.match(_bare(key)):
        raise InvalidRequest(
            f'unknown field "{printable(key, 40)}": digests that can be checked are {", ".join(HEX_LENGTHS)}'
        )


def _bare(key: str) -> str:
    """What is left of a name without separators and the plural."""
    return key.replace("-", "").replace("_", "").removesuffix("s")


def check_query(query: Mapping[str, str]) -> None:
    """Raises InvalidRequest for a field that only Haul has and that stands in the query, where nobody reads it."""
    for key in query:
        if (meant := _MEANT.get(_bare(key.lower()))) in _PROTECTING:
            raise InvalidRequest(f"'{printable(key, 40)}' stands in the query: {meant} belongs into the body")


_MEANT = {_bare(name): name for name in KNOWN}
