"""What a client may say of a copy: the message's fields, checked; pure. Source: wire.md §2.9."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.copying import DEFAULT_WORKERS, MAX_WORKERS
from common.errors import InvalidRequest, Unsupported
from common.names import Bucket
from proxy.downloads.requests import parse_bucket
from proxy.jsonbody import boolean, check_known, integer, lower_keys, string, type_name
from proxy.remote.listranges import Selection, parse_selection

COPY_BUCKET, MOVE_BUCKET, COPY_OBJECTS = "copy-bck", "move-bck", "copy-listrange"
_WHAT = "failed to unmarshal copy message"
_FIELDS = frozenset(
    {
        *("prefix", "prepend", "dry_run", "force", "latest-ver", "synchronize", "ext", "num-workers", "coer"),
        *("non-recurs", "onerror"),
    }
)
_SELECTION = frozenset({"objnames", "template", "tobck"})
_MAX_EXTENSIONS = 100


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """How objects are to be copied; the fields are those of `common.copying.CopyOrder`, but for `is_synchronized`.

    With that, what has come from a remote source and is gone there is removed at the destination.
    """

    prefix: str = ""
    prepend: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)
    dry_run: bool = False
    keeps_going: bool = False
    is_synchronized: bool = False
    workers: int = DEFAULT_WORKERS


def parse_copy(value: object) -> CopyRequest:
    """A copy of a bucket; raises InvalidRequest naming the field, Unsupported."""
    return _parse(value, _FIELDS)


def parse_copy_objects(value: object) -> tuple[CopyRequest, Selection, Bucket]:
    """A copy of some objects: how, which and where to; raises as `parse_copy`, and InvalidName."""
    request, selection = _parse(value, _FIELDS | _SELECTION), parse_selection(value)
    fields = lower_keys(value) if isinstance(value, dict) else {}
    if request.prefix:
        raise InvalidRequest(f"{_WHAT}: 'prefix' is for whole buckets; give it as 'template'")
    if "tobck" not in fields:
        raise InvalidRequest(f"{_WHAT}: 'tobck' must name the bucket to copy to")
    return request, selection, parse_bucket(fields["tobck"])


def parse_destination(uname: str) -> Bucket:
    """The bucket of the query parameter `bck_to`; raises InvalidRequest."""
    if not uname:
        raise InvalidRequest("query parameter 'bck_to' must name the bucket to copy to")
    try:
        return Bucket.from_uname(uname if uname.endswith("/") else f"{uname}/")
    except InvalidRequest as error:
        raise InvalidRequest(f"query parameter 'bck_to': {error.message}") from None


def _parse(value: object, known: frozenset[str]) -> CopyRequest:
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest(f"{_WHAT}: 'value' must be an object, found: {type_name(value)}")
    fields = lower_keys(value or {})
    check_known(fields, known, _WHAT)
    if boolean(fields, "non-recurs", _WHAT):
        raise Unsupported("copying only one level of a bucket ('non-recurs') is not offered")
    boolean(fields, "force", _WHAT), boolean(fields, "latest-ver", _WHAT)
    workers = integer(fields, "num-workers", _WHAT)
    return CopyRequest(
        prefix=string(fields, "prefix", _WHAT),
        prepend=string(fields, "prepend", _WHAT),
        extensions=_extensions(fields.get("ext", {})),
        dry_run=boolean(fields, "dry_run", _WHAT),
        keeps_going=boolean(fields, "coer", _WHAT),
        is_synchronized=boolean(fields, "synchronize", _WHAT),
        workers=min(workers, MAX_WORKERS) if workers > 0 else 1 if workers < 0 else DEFAULT_WORKERS,
    )


def _extensions(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(new, str) for new in value.values()):
        raise InvalidRequest(f"{_WHAT}: 'ext' must map extensions to those that replace them")
    if len(value) > _MAX_EXTENSIONS:
        raise InvalidRequest(f"{_WHAT}: 'ext' has {len(value)} entries, at most {_MAX_EXTENSIONS} are accepted")
    return {string({"ext": old}, "ext", _WHAT).lstrip("."): new.lstrip(".") for old, new in value.items()}
