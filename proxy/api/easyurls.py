"""Easy URLs, `/ais/BUCKET/OBJECT` and the like, written out as the `/v1` paths that they mean (wire.md §3.7); pure.

`/s3` is no easy URL but the S3 API's.
"""

from __future__ import annotations

from common.errors import InvalidRequest, MethodNotAllowed
from common.web import Scope

_PROVIDERS = {b"ais": b"ais", b"gs": b"gcp", b"az": b"azure"}
_OBJECT_METHODS = ("DELETE", "GET", "HEAD", "PUT")
_BUCKET_METHODS = ("GET", "HEAD")


def written_out(scope: Scope) -> Scope:
    """The request as its long form; itself when it is no easy URL. Raises InvalidRequest, MethodNotAllowed.

    `/PROVIDER` lists buckets, `/PROVIDER/BUCKET` objects, and behind the next slash is an object's name, with all its
    slashes. What the query says of the provider is overruled.
    """
    raw_path: bytes = scope["raw_path"]
    first, _, rest = raw_path[1:].partition(b"/")
    provider = _PROVIDERS.get(first)
    if provider is None:
        return scope
    bucket, _, name = rest.partition(b"/")
    method = scope["method"]
    if not name.strip(b"/"):
        if method == "PUT":
            path = scope["path"]
            raise InvalidRequest(f'missing destination object name in the "easy URL": PUT {path}')
        if method not in _BUCKET_METHODS:
            raise MethodNotAllowed(*_BUCKET_METHODS)
        written, path = b"/v1/buckets/" + bucket, "/v1/buckets/" + scope["path"].strip("/").partition("/")[2].strip("/")
    else:
        if method not in _OBJECT_METHODS:
            raise MethodNotAllowed(*_OBJECT_METHODS)
        written, path = b"/v1/objects/" + rest, "/v1/objects/" + scope["path"][1:].partition("/")[2]
    query = scope["query_string"]
    parameter = b"provider=" + provider
    query = query + b"&" + parameter if query else parameter
    return {**scope, "raw_path": written, "path": path, "query_string": query}
