"""What the documented routes share: bounded bodies in, JSON and errors out, and what a wrong path or method is told.

Texts and statuses are AIStore's (wire.md §0.1, §0.5). Routes are left to their modules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from common.errors import HaulError, InvalidRequest, MethodNotAllowed, Unsupported
from common.names import Bucket
from common.web import answer_error, query_of, read_body

MAX_SMALL_BODY_BYTES = 1024 * 1024
JSON = "application/json; charset=utf-8"
_METHODS: Mapping[str, tuple[str, ...]] = {
    "download": ("DELETE", "GET", "POST"),
    "buckets": ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"),
    "cluster": ("GET",),
    "daemon": ("GET",),
    "reverse": ("GET",),
    "health": ("GET", "HEAD", "POST"),
}
_ITEMS = {"download": 2, "buckets": 3, "cluster": 2, "daemon": 2, "health": 2, "reverse": 3}


class ErrorResponse(Response):
    """An error in the dialect's shape, written by `common.web`."""

    def __init__(self, error: HaulError, node: str) -> None:
        super().__init__(status_code=error.status)
        self._error = error
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer_error(scope, send, self._error, self._node)


def json_response(value: object, media_type: str = JSON) -> Response:
    """A JSON answer, UTF-8, without spaces."""
    content = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return raw_response(content, media_type)


def raw_response(content: bytes, media_type: str) -> Response:
    """An answer that is written already; the media type is sent exactly as given."""
    return Response(content, headers={"content-type": media_type})


async def body_of(request: Request, limit_bytes: int = MAX_SMALL_BODY_BYTES) -> bytes:
    """The request's body; raises RequestTooLarge."""
    return await read_body(request.receive, limit_bytes)


def query_parameters(request: Request) -> dict[str, str]:
    """The query string; the last value of a name wins."""
    return query_of(request.scope)


def bucket_of(name: str, query: Mapping[str, str]) -> Bucket:
    """The bucket that a path and its query name; raises RequestErrors."""
    return Bucket.parse_namespace(name, query.get("provider", ""), query.get("namespace", ""))


_NOT_OFFERED = {
    "etl": "transformations (ETL) are not offered by this cluster: it runs no programs",
    "sort": "sorting (dSort) is not offered by this cluster",
}


def collapse(path: str) -> str:
    """The path as routes know it: empty items dropped."""
    return "/" + "/".join(item for item in path.split("/") if item)


def unmatched(scope: Mapping[str, Any]) -> HaulError:
    """Why no route took the request: the method, too many or too few path items, or a path that means nothing."""
    method: str = scope["method"]
    items = [item for item in scope["path"].split("/") if item]
    resource = items[1] if len(items) > 1 and items[0] == "v1" else ""
    if resource in _NOT_OFFERED:
        return Unsupported(_NOT_OFFERED[resource])
    if resource not in _METHODS:
        host, port = scope.get("client") or ("", 0)
        return InvalidRequest(f"invalid request URI: '{method} {scope['path']}' from {host}:{port}")
    if method not in _METHODS[resource]:
        return MethodNotAllowed(*_METHODS[resource])
    expected = 3 if (resource, method) == ("download", "DELETE") else _ITEMS[resource]
    if len(items) == expected:
        return MethodNotAllowed(*_METHODS[resource])
    length = "long" if len(items) > expected else "short"
    return InvalidRequest(f"URL '{'/'.join(items)}' is too {length}: expected {expected} items, got {len(items)}")
