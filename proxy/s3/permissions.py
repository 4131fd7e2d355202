"""What of a bucket's property `access` a request of S3's API needs; pure. Comparing is left to `common.access`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.access import Permission
from proxy.s3.request import S3Request
from proxy.s3.settings import BUCKET_SETTINGS

_OF_OBJECT: Final[Mapping[str, Permission]] = {
    "GET": Permission.GET,
    "HEAD": Permission.HEAD_OBJECT,
    "PUT": Permission.PUT,
    "POST": Permission.PUT,
    "DELETE": Permission.DELETE_OBJECT,
}
"""The same as by the native API. What is copied needs GET besides, in its own bucket."""
_OF_BUCKET: Final[Mapping[str, Permission]] = {
    "GET": Permission.LIST_OBJECTS,
    "HEAD": Permission.HEAD_BUCKET,
    "POST": Permission.DELETE_OBJECT,
    "DELETE": Permission.DESTROY_BUCKET,
}
_READS: Final = ("GET", "HEAD")
_NOTHING: Final = Permission(0)


def needed(request: S3Request) -> Permission:
    """The bits that the request's bucket must have; none for a method that is refused anyway."""
    is_about = not BUCKET_SETTINGS.isdisjoint(request.query)
    if request.key:
        is_looked_at = request.method in _READS and (is_about or "attributes" in request.query)
        return Permission.HEAD_OBJECT if is_looked_at else _OF_OBJECT.get(request.method, _NOTHING)
    if is_about:
        return Permission.HEAD_BUCKET if request.method in _READS else _NOTHING
    return _OF_BUCKET.get(request.method, _NOTHING)
