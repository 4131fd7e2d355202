"""`/v1/objects/BUCKET/OBJECT` and the easy URL `/ais/BUCKET/OBJECT`: redirects to the owning target; plain ASGI.

Bytes never pass through a proxy. The redirect is answered before the body is read (wire.md §0.3), keeps the path as the
client encoded it, and tells the target which bucket is meant (`bid`), so that an object of a bucket that was destroyed
and made again is never taken for one of the new bucket's.
"""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from common import clock
from common.errors import InvalidRequest, MethodNotAllowed
from common.names import decode_component, validate_object_name
from common.web import Header, Receive, Scope, Send, answer, query_of
from proxy.api.answers import bucket_of
from proxy.membership import Membership
from proxy.remote.buckets import RemoteBuckets

PREFIX = b"/v1/objects/"
EASY_PREFIX = b"/ais/"
_STATUS = {"GET": 301, "HEAD": 307, "PUT": 307, "DELETE": 307}
_REASON = {301: "Moved Permanently", 307: "Temporary Redirect"}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SAFE = bytes(range(0x21, 0x7F)).translate(None, b'"<>\\^`{|}').decode()


class ObjectRedirects:
    """Sends clients to the target that owns the object."""

    def __init__(self, buckets: RemoteBuckets, membership: Membership) -> None:
        self._buckets = buckets
        self._membership = membership

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        if method not in _STATUS:
            raise MethodNotAllowed(*_STATUS)
        raw_path: bytes = scope["raw_path"]
        easy = raw_path.startswith(EASY_PREFIX)
        prefix = EASY_PREFIX if easy else PREFIX
        raw_bucket, _, raw_name = raw_path[len(prefix) :].partition(b"/")
        if not raw_name:
            raise _too_short(scope, easy=easy)
        query = query_of(scope) | ({"provider": "ais"} if easy else {})
        bucket = bucket_of(decode_component(raw_bucket), query)
        name = validate_object_name(decode_component(raw_name))
        record = await self._buckets.find(bucket)
        target = self._membership.map.owner(bucket, name)
        path = PREFIX + raw_bucket + b"/" + raw_name if easy else raw_path
        location = self._location(target.client_url, path, scope["query_string"], record.id)
        await _redirect(send, method, location)

    def _location(self, url: str, raw_path: bytes, raw_query: bytes, bucket_id: int) -> str:
        """The owner's URL: the path and query as they came, nothing in them that could end the header early."""
        path, query = (quote(raw, safe=_SAFE) for raw in (raw_path, raw_query))
        ours = f"pid={self._membership.own.id}&utm={_base36(clock.unix_ns())}&bid={bucket_id}"
        return f"{url}{path}?{query}&{ours}" if query else f"{url}{path}?{ours}"


async def _redirect(send: Send, method: str, location: str) -> None:
    status = _STATUS[method]
    headers: list[Header] = [(b"location", location.encode("ascii"))]
    body = b""
    if method in ("GET", "HEAD"):
        headers.append((b"content-type", b"text/html; charset=utf-8"))
    if method == "GET":
        body = f'<a href="{escape(location)}">{_REASON[status]}</a>.\n\n'.encode("ascii")
    await answer(send, status, body, headers)


def _too_short(scope: Scope, *, easy: bool) -> InvalidRequest:
    if easy:
        return InvalidRequest(f'missing destination object name in the "easy URL": {scope["method"]} {scope["path"]}')
    items = [item for item in scope["path"].split("/") if item]
    return InvalidRequest(f"URL '{'/'.join(items)}' is too short: expected 4 items, got {len(items)}")


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
