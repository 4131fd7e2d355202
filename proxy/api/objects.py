"""`/v1/objects/BUCKET/OBJECT`: redirects to the owning target; plain ASGI.

Bytes never pass through a proxy. The redirect is answered before the body is read (wire.md §0.3), keeps the path as the
client encoded it, and tells the target which bucket is meant (`bid`), so that an object of a bucket that was destroyed
and made again is never taken for one of the new bucket's. A piece of an upload goes to where the upload began.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from urllib.parse import quote

from common import clock
from common.access import Permission, check_access
from common.clustermap import TARGET, Node
from common.errors import InvalidRequest, MethodNotAllowed, Unsupported, UploadNotFound
from common.names import Bucket, decode_component, parse_object_uname, printable, validate_key, validate_object_name
from common.uploadids import UploadId
from common.web import Header, Receive, Scope, Send, answer, is_true, query_of, read_body
from proxy.api.answers import bucket_of
from proxy.membership import Membership
from proxy.remote.buckets import RemoteBuckets

PREFIX = b"/v1/objects/"
_STATUS = {"GET": 301, "HEAD": 307, "PUT": 307, "DELETE": 307, "POST": 307, "PATCH": 307}
_PERMISSIONS = {
    "GET": Permission.GET,
    "HEAD": Permission.HEAD_OBJECT,
    "PUT": Permission.PUT,
    "DELETE": Permission.DELETE_OBJECT,
    "POST": Permission.PUT,
    "PATCH": Permission.PUT,
}
_CHANGES = ("DELETE", "PATCH", "POST")
_MAKING = ("PUT", "POST")
"""What gives an object a name of the dialect's; others may read and remove what S3's tools have made."""
"""What changes something that is there; what is stored anew is found by who renames the bucket."""
_REASON = {301: "Moved Permanently", 307: "Temporary Redirect"}
_NOT_OFFERED = {
    "promote": "targets take no files of their own machines: put them, or have them downloaded",
    "blob-download": "prefetch brings objects here",
}
"""Actions of AIStore's on objects, and what is done instead."""
_MAX_ACTION_BYTES = 64 * 1024
_BLOB = b"ais-blob-download"
"""A header that asks for an object in pieces from where it is kept; ours are always fetched so."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SAFE = bytes(range(0x21, 0x7F)).translate(None, b'"<>\\^`{|}').decode()


class ObjectRedirects:
    """Sends clients to the target that owns the object."""

    def __init__(self, buckets: RemoteBuckets, membership: Membership, check_staying: Callable[[Bucket], None]) -> None:
        """`check_staying` raises while nothing in a bucket may be deleted or changed."""
        self._buckets = buckets
        self._membership = membership
        self._check_staying = check_staying

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        if method not in _STATUS:
            raise MethodNotAllowed(*_STATUS)
        raw_path: bytes = scope["raw_path"]
        raw_bucket, _, raw_name = raw_path[len(PREFIX) :].partition(b"/")
        if not raw_name:
            if method == "POST":
                await _refuse_action(receive, decode_component(raw_bucket))
            raise _too_short(scope)
        query = query_of(scope)
        bucket = bucket_of(decode_component(raw_bucket), query)
        validate = validate_object_name if method in _MAKING else validate_key
        name = validate(decode_component(raw_name))
        record = await self._buckets.find(bucket)
        if record.backend is None and _wants_blob(scope):
            raise InvalidRequest(f"blob-downloader is not supported for local buckets: {bucket.cname} has no backend")
        is_copy = method == "PUT" and "object_to" in query
        check_access(record, Permission.GET if is_copy else _permission(method, query))
        if method in _CHANGES:
            self._check_staying(bucket)
        target = self._target(bucket, name, query)
        ids = f"bid={record.id}"
        if is_copy:
            destination, _ = parse_object_uname(query["object_to"])
            receiving = await self._buckets.find(destination)
            check_access(receiving, Permission.PUT)
            ids += f"&to_bid={receiving.id}"
        location = self._location(target.client_url, raw_path, scope["query_string"], ids)
        await _redirect(send, method, location)

    def _target(self, bucket: Bucket, name: str, query: Mapping[str, str]) -> Node:
        """The owner, or the target that has the pieces of an upload; raises UploadNotFound, NoTargets."""
        upload_id = UploadId.parse(query.get("uploadId") or query.get("append_handle") or "")
        if upload_id is None:
            return self._membership.map.owner(bucket, name)
        node = self._membership.map.get(upload_id.target_id)
        if node is None or node.role != TARGET:
            raise UploadNotFound(
                f"{bucket.cname}/{printable(name)}: the upload is gone with target {upload_id.target_id}, which is not "
                "in the cluster map"
            )
        return node

    def _location(self, url: str, raw_path: bytes, raw_query: bytes, ids: str) -> str:
        """The owner's URL: the path and query as they came, nothing in them that could end the header early."""
        path, query = (quote(raw, safe=_SAFE) for raw in (raw_path, raw_query))
        ours = f"pid={self._membership.own.id}&utm={_base36(clock.unix_ns())}&{ids}"
        return f"{url}{path}?{query}&{ours}" if query else f"{url}{path}?{ours}"


def _permission(method: str, query: Mapping[str, str]) -> Permission:
    """What a request that is no copy needs; whether a POST is to rename stands in its body, and targets look there."""
    return Permission.APPEND if method == "PUT" and "append_type" in query else _PERMISSIONS[method]


async def _redirect(send: Send, method: str, location: str) -> None:
    status = _STATUS[method]
    headers: list[Header] = [(b"location", location.encode("ascii"))]
    body = b""
    if method in ("GET", "HEAD"):
        headers.append((b"content-type", b"text/html; charset=utf-8"))
    if method == "GET":
        body = f'<a href="{escape(location)}">{_REASON[status]}</a>.\n\n'.encode("ascii")
    await answer(send, status, body, headers)


async def _refuse_action(receive: Receive, bucket: str) -> None:
    """Raise Unsupported for what clients ask of a bucket's objects here, and nobody offers."""
    try:
        message = json.loads(await read_body(receive, _MAX_ACTION_BYTES))
    except (ValueError, RecursionError):
        return
    action = message.get("action") if isinstance(message, dict) else None
    if isinstance(action, str) and action in _NOT_OFFERED:
        raise Unsupported(
            f"'{action}' is not offered by this cluster (bucket {printable(bucket)}): {_NOT_OFFERED[action]}"
        )


def _too_short(scope: Scope) -> InvalidRequest:
    items = [item for item in scope["path"].split("/") if item]
    return InvalidRequest(f"URL '{'/'.join(items)}' is too short: expected 4 items, got {len(items)}")


def _wants_blob(scope: Scope) -> bool:
    return any(name == _BLOB and is_true(value.decode("latin-1")) for name, value in scope["headers"])


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
