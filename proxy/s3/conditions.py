"""Whether a request's conditions let it go on, given what is stored; pure. Source: RFC 9110 §13.2.2, as S3 has it."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

IF_MATCH = "if-match"
IF_NONE_MATCH = "if-none-match"
IF_MODIFIED_SINCE = "if-modified-since"
IF_UNMODIFIED_SINCE = "if-unmodified-since"
NOT_MODIFIED = 304
FAILED = 412


def outcome(headers: Mapping[str, str], etag: str, modified_seconds: int) -> int:
    """0 to go on, 304 or 412 otherwise; `headers` are those with the names above, `etag` is quoted."""
    if IF_MATCH in headers:
        if not _lists(headers[IF_MATCH], etag):
            return FAILED
    elif IF_UNMODIFIED_SINCE in headers:
        limit = _seconds(headers[IF_UNMODIFIED_SINCE])
        if limit is not None and modified_seconds > limit:
            return FAILED
    if IF_NONE_MATCH in headers:
        if _lists(headers[IF_NONE_MATCH], etag):
            return NOT_MODIFIED
    elif IF_MODIFIED_SINCE in headers:
        limit = _seconds(headers[IF_MODIFIED_SINCE])
        if limit is not None and modified_seconds <= limit:
            return NOT_MODIFIED
    return 0


def of_copy_source(headers: Mapping[str, str]) -> dict[str, str]:
    """The conditions on the source of a copy, under the plain names."""
    prefix = "x-amz-copy-source-"
    names = (IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE)
    return {name: headers[prefix + name] for name in names if prefix + name in headers}


def _lists(wanted: str, etag: str) -> bool:
    """Whether a list of ETags, or `*`, has this one; S3's clients leave the quotes out at times."""
    plain = etag.removeprefix("W/").strip('"')
    listed = {one.strip().removeprefix("W/").strip('"') for one in wanted.split(",")}
    return "*" in listed or plain in listed


def _seconds(text: str) -> float | None:
    """An HTTP date as unix seconds; None for what is none, which is no condition."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
