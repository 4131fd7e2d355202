"""What a request of S3's API names: bucket, key, query and headers, in path style or by the host; pure.

What is done with it is left to `api` and the operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus, unquote_to_bytes

from common.names import printable
from common.web import Scope
from proxy.s3.errors import S3Error

MOUNT = b"/s3"
USER_METADATA = "x-amz-meta-"


@dataclass(slots=True)
class S3Request:
    """One request; names of headers are in lower case, several of one name are joined by commas, as they are signed."""

    method: str
    raw_path: bytes
    raw_query: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def resource(self) -> str:
        """Bucket and key, as errors show them."""
        return f"/{self.bucket}/{self.key}" if self.key else f"/{self.bucket}"

    def header(self, name: str) -> str:
        """A header, empty without it."""
        return self.headers.get(name, "")

    @property
    def size_bytes(self) -> int | None:
        """The announced length of the body on the wire."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdecimal() else None

    @property
    def completes_upload(self) -> bool:
        """Whether its body is the list of an upload's parts, and what its headers promise is about what they become."""
        return self.method == "POST" and "uploadId" in self.query

    @property
    def user_metadata(self) -> dict[str, str]:
        """What the client keeps with an object, by its name without the prefix."""
        return {
            name.removeprefix(USER_METADATA): value
            for name, value in self.headers.items()
            if name.startswith(USER_METADATA)
        }


def parse(scope: Scope, *, is_mounted: bool, domains: Sequence[str] = ()) -> S3Request:
    """What `scope` asks for; `is_mounted` when its path begins with `/s3`. Raises S3Error InvalidURI.

    A host `bucket.domain` names the bucket, if `domain` is one of `domains`.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    raw_path: bytes = scope["raw_path"]
    raw_query: str = scope["query_string"].decode("latin-1")
    path = raw_path[len(MOUNT) :] if is_mounted else raw_path
    bucket = _bucket_of_host(headers.get("host", ""), domains)
    if bucket:
        raw_bucket, raw_key = bucket.encode(), path[1:]
    else:
        raw_bucket, _, raw_key = path[1:].partition(b"/")
    return S3Request(
        method=scope["method"],
        raw_path=raw_path,
        raw_query=raw_query,
        bucket=_decoded(raw_bucket),
        key=_decoded(raw_key),
        query=_query(raw_query),
        headers=headers,
    )


def _bucket_of_host(host: str, domains: Sequence[str]) -> str:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    for domain in domains:
        bucket, found, _ = name.lower().rpartition(f".{domain.lower()}")
        if found and name.lower().endswith(f".{domain.lower()}"):
            return name[: len(bucket)]
    return ""


def _query(raw: str) -> dict[str, str]:
    query = {}
    for part in raw.split("&") if raw else ():
        key, _, value = part.partition("=")
        query[_unquoted(key)] = _unquoted(value)
    return query


def _unquoted(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", f"the query is not valid UTF-8: {printable(text)}") from None


def _decoded(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", f"the path is not valid UTF-8: {printable(raw.decode('latin-1'))}") from None
