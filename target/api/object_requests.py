"""What a request about an object asks for: its path, its query, the bytes or the action that it wants; pure.

Carrying it out is left to `objects`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from common import web
from common.errors import InvalidRequest
from common.names import Bucket, decode_component, validate_key
from target.api import object_headers
from target.storage.reader import OpenObject

PREFIX = b"/v1/objects/"
_PLAIN_QUERY = frozenset({"pid", "utm", "bid", "provider", "namespace"})
"""All that a query of the short way may have."""
_ETAG_LISTS = frozenset({b"if-match", b"if-none-match"})
_ASKED = _ETAG_LISTS | {b"range", b"if-range", b"if-modified-since", b"if-unmodified-since"}


def parse_path(raw_path: bytes, provider: str, namespace: str) -> tuple[Bucket, str]:
    """Bucket and object name of a request path as it came; the name is decoded once and keeps empty components."""
    raw_bucket, _, raw_name = raw_path.removeprefix(PREFIX).partition(b"/")
    if not raw_name:
        path = decode_component(raw_path).strip("/")
        raise InvalidRequest(f"URL '{path}' is too short: expected 4 items, got {path.count('/') + 1}")
    name = validate_key(decode_component(raw_name))
    return _parse_bucket(decode_component(raw_bucket), provider, namespace), name


@lru_cache(maxsize=1024)
def _parse_bucket(name: str, provider: str, namespace: str) -> Bucket:
    return Bucket.parse_namespace(name, provider, namespace)


@lru_cache(maxsize=4096)
def parse_plain(target: bytes) -> tuple[Bucket, str, int | None] | None:
    """Bucket, name and bucket id of a request that asks for nothing special, None for any other; may raise HaulError.

    Cached, because readers come back to the same objects, and this is a quarter of the work of answering.
    """
    raw_path, _, raw_query = target.partition(b"?")
    if not raw_path.startswith(PREFIX) or b"#" in target or not target.isascii():
        return None
    query = parse_query(raw_query)
    if not _PLAIN_QUERY.issuperset(query):
        return None
    bucket, name = parse_path(raw_path, query.get("provider", ""), query.get("namespace", ""))
    return bucket, name, bucket_id_of(query)


def parse_query(raw: bytes) -> dict[str, str]:
    """The query's parameters; most requests have three that need no decoding."""
    query = {}
    for part in raw.decode("latin-1").split("&") if raw else ():
        key, _, value = part.partition("=")
        if "%" in key or "+" in key:  # as a proxy reads it, which has decided by the names whether it is permitted
            key = unquote_plus(key)
        query[key] = unquote_plus(value) if "%" in value or "+" in value else value
    return query


def bucket_id_of(query: dict[str, str], key: str = "bid") -> int | None:
    """The incarnation of the bucket that a proxy has named, None if it has not; raises InvalidRequest."""
    text = query.get(key, "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 19:
        raise InvalidRequest(f"query parameter '{key}' is no number")
    return int(text)


class Action(NamedTuple):
    """What a request's body asks to be done."""

    action: str = ""
    name: str = ""
    value: Any = None


def action_of(body: bytes) -> Action:
    """The action that the body of a DELETE names, an empty one without a body; raises InvalidRequest."""
    return read_action(body) if body else Action()


def read_action(body: bytes) -> Action:
    """The message that a body is, its keys in any case; raises InvalidRequest."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise InvalidRequest('the body must be a message: {"action": …, "value": …}')
    fields = {str(key).lower(): found for key, found in message.items()}
    return Action(str(fields.get("action") or ""), str(fields.get("name") or ""), fields.get("value"))


def plan(scope: web.Scope, found: OpenObject) -> tuple[int, list[web.Header], int, int]:
    """Status, headers and the bytes to send (start, end) for a GET of this object.

    Raises RangeNotSatisfiable, PreconditionFailed.
    """
    asked, metadata = _asked(scope), found.metadata
    object_headers.check_wanted(metadata, asked.get(b"if-match", b""), asked.get(b"if-unmodified-since", b""))
    if_none_match, if_modified_since = asked.get(b"if-none-match", b""), asked.get(b"if-modified-since", b"")
    if (if_none_match or if_modified_since) and object_headers.is_unchanged(metadata, if_none_match, if_modified_since):
        return 304, object_headers.validated(metadata), 0, 0
    if b"range" in asked and asked.get(b"if-range", b"") in (b"", object_headers.etag(metadata)):
        part = object_headers.parse_range(asked[b"range"].decode("latin-1"), found.size)
        if part is not None:
            return 206, object_headers.partial(metadata, *part), *part
    return 200, object_headers.whole(metadata), 0, found.size


def _asked(scope: web.Scope) -> dict[bytes, bytes]:
    """The headers that say what is wanted of an object; several lines of ETags are one list (RFC 9110 §5.3)."""
    asked: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _ETAG_LISTS and name in asked:
            asked[name] += b", " + value
        elif name in _ASKED:
            asked[name] = value
    return asked
