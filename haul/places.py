"""Buckets and objects as a user writes them, and as paths and queries of the API; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from common.errors import RequestError
from common.names import Bucket, normalize_provider, printable, validate_key
from haul.errors import InvalidInput

_URI = re.compile(r"(?:([A-Za-z][A-Za-z0-9]*)://)?(?:([@#][^/]*)/)?([^/]*)/?\Z")

BucketName = str | Bucket
"""`data`, `ais://data`, `s3://data`, `ais://@CLUSTER/data`, or what a listing gave."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, or with a name an object in it."""

    bucket: Bucket
    name: str = ""

    @property
    def uri(self) -> str:
        """How people write it."""
        return f"{self.bucket.cname}/{printable(self.name)}" if self.name else self.bucket.cname

    @property
    def path(self) -> str:
        """The path in the API; every byte of the name survives it."""
        if self.name:
            return f"/v1/objects/{self.bucket.name}/{quote(self.name, safe='/')}"
        return f"/v1/buckets/{self.bucket.name}"

    @property
    def query(self) -> dict[str, str]:
        """What names provider and namespace."""
        query = {"provider": self.bucket.provider}
        return query | {"namespace": self.bucket.namespace} if self.bucket.namespace else query


def bucket_of(name: BucketName) -> Bucket:
    """The bucket that is meant; raises InvalidInput."""
    if isinstance(name, Bucket):
        return name
    match = _URI.match(name)
    if not match:
        raise InvalidInput(f'"{printable(name)}" is no bucket: expected NAME or PROVIDER://NAME')
    provider, namespace, bucket = match.groups()
    try:
        return Bucket.parse_namespace(bucket, (provider or "").lower(), namespace or "")
    except RequestError as error:
        raise InvalidInput(f'"{printable(name)}": {error}') from None


def object_of(bucket: BucketName, name: str) -> Place:
    """The object that is meant; raises InvalidInput."""
    try:
        return Place(bucket_of(bucket), validate_key(name))
    except RequestError as error:
        raise InvalidInput(str(error)) from None


def bucket_from_wire(fields: Mapping[str, Any]) -> Bucket:
    """A bucket as the API writes it; raises KeyError, TypeError, RequestError for anything else."""
    namespace = fields.get("namespace") or {}
    provider = normalize_provider(fields.get("provider", ""))
    return Bucket(fields["name"], provider, namespace.get("uuid", ""), namespace.get("name", ""))
