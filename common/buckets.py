"""Buckets: the record of one, the versioned table of all, and the properties as the dialect shows them; pure.

Where the table is kept is left to `proxy.buckets`, what lies in a bucket to the targets. Source: wire.md §2.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from common.backends.sources import is_outside
from common.errors import BucketExists, BucketNotFound, InvalidRequest
from common.names import Bucket, normalize_provider

_NO_BUCKET = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}
_DEFAULTS: dict[str, Any] = {
    "backend_bck": _NO_BUCKET,
    "write_policy": {"data": "immediate", "md": "immediate"},
    "provider": "ais",
    "Renamed": "",
    "checksum": {
        "type": "xxhash2",
        "validate_cold_get": False,
        "validate_warm_get": False,
        "validate_obj_move": False,
        "enable_read_range": False,
    },
    "extra": {"aws": {}, "gcp": {}, "oci": {}},
    "rate_limit": {
        "backend": {"interval": "1m", "max_tokens": 1000, "enabled": False, "num_retries": 3},
        "frontend": {"interval": "1m", "max_tokens": 1000, "enabled": False, "burst_size": 375},
    },
    "ec": {
        "compression": "never",
        "bundle_multiplier": 2,
        "burst_buffer": 512,
        "objsize_limit": 262144,
        "data_slices": 2,
        "parity_slices": 2,
        "enabled": False,
        "disk_only": False,
    },
    "chunks": {"objsize_limit": "0B", "max_monolithic_size": "1TiB", "chunk_size": "1GiB"},
    "mirror": {"copies": 2, "burst_buffer": 512, "enabled": False},
    "lru": {"dont_evict_time": "2h0m", "capacity_upd_time": "10m", "batch_size": 32768, "enabled": False},
    "access": "18446744073709551615",
    "features": "0",
    "bid": "0",
    "created": "0",
    "versioning": {"enabled": True, "validate_warm_get": False, "synchronize": False},
}
SECTIONS = frozenset({"checksum", "rate_limit", "ec", "chunks", "mirror", "lru", "versioning", "write_policy", "extra"})
"""What a client may set when it makes a bucket; `access`, `features`, `backend_bck` and `force` are read besides."""
_BACKEND = "backend_bck"
_SCALARS = frozenset({"access", "features", _BACKEND, "force"})


def check_properties(properties: object) -> dict[str, Any]:
    """What a client wants to be set, checked against the known properties; raises InvalidRequest naming the field.

    `backend_bck` is there only if it was given: a bucket as `Bucket.to_wire` shows it, or empty to have none any more.
    """
    if properties is None:
        return {}
    if not isinstance(properties, dict):
        raise InvalidRequest("failed to unmarshal bucket properties: 'value' must be an object")
    for key, value in properties.items():
        if key not in SECTIONS and key not in _SCALARS:
            raise InvalidRequest(f"failed to unmarshal bucket properties: found unknown field: {key}")
        if key in SECTIONS and not isinstance(value, dict):
            raise InvalidRequest(f"failed to unmarshal bucket properties: '{key}' must be an object")
        if key in SECTIONS and key != "extra":
            unknown = [name for name in value if name not in _DEFAULTS[key]]
            if unknown:
                raise InvalidRequest(f"failed to unmarshal bucket properties: found unknown field: {key}.{unknown[0]}")
    checked = {key: value for key, value in properties.items() if key in SECTIONS}
    if properties.get(_BACKEND) is not None:
        backend = _parse_backend(properties[_BACKEND])
        checked[_BACKEND] = backend.to_wire() if backend is not None else {}
    return checked


def merged_properties(properties: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A bucket's properties after `changes`, as `check_properties` gives them."""
    merged = {**properties, **{key: {**properties.get(key, {}), **value} for key, value in changes.items()}}
    if changes.get(_BACKEND) == {}:
        merged.pop(_BACKEND)
    return merged


def _parse_backend(value: object) -> Bucket | None:
    namespace = value.get("namespace") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(namespace, dict | None):
        raise InvalidRequest("failed to unmarshal bucket properties: 'backend_bck' must be a bucket")
    parts = [value.get("name"), value.get("provider"), *((namespace or {}).get(key) for key in ("uuid", "name"))]
    if not all(isinstance(part, str | None) for part in parts):
        raise InvalidRequest("failed to unmarshal bucket properties: 'backend_bck' must have texts as its fields")
    name, provider, uuid, namespace_name = (part or "" for part in parts)
    if not name and not provider:
        return None
    backend = Bucket(name, normalize_provider(provider), uuid.removeprefix("@"), namespace_name.removeprefix("#"))
    if not is_outside(backend):
        raise InvalidRequest(f"'backend_bck' must be a bucket outside of this cluster, found: {backend.cname}")
    return backend


@dataclass(frozen=True, slots=True)
class BucketRecord:
    """One bucket: `id` is unique for ever, so that a bucket made again under an old name is another one.

    `properties` holds only what differs from the defaults.
    """

    bucket: Bucket
    id: int
    created_ns: int
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def backend(self) -> Bucket | None:
        """Where the bucket's objects come from, None if they are only here; a bucket that is outside is its own."""
        if is_outside(self.bucket):
            return self.bucket
        backend = self.properties.get(_BACKEND)
        return _parse_backend(backend) if backend else None

    def to_bprops(self) -> dict[str, Any]:
        """AIStore's Bprops, complete."""
        props = dict(_DEFAULTS)
        for key, value in self.properties.items():
            props[key] = {**_DEFAULTS[key], **value}
        props["provider"] = self.bucket.provider
        props["bid"] = str(self.id)
        props["created"] = str(self.created_ns)
        return props


@dataclass(frozen=True, slots=True)
class BucketTable:
    """All buckets by uname, at one version; a change gives the next version. `last_id` was given to a bucket before."""

    version: int = 0
    last_id: int = 0
    records: Mapping[str, BucketRecord] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return f"<BucketTable v{self.version}, {len(self.records)} buckets>"

    def get(self, bucket: Bucket) -> BucketRecord:
        """The bucket's record; raises BucketNotFound."""
        record = self.records.get(bucket.uname)
        if record is None:
            raise BucketNotFound(bucket.cname)
        return record

    def with_bucket(self, bucket: Bucket, now_ns: int, properties: Mapping[str, Any]) -> BucketTable:
        """The table with a new bucket; raises BucketExists."""
        if bucket.uname in self.records:
            raise BucketExists(bucket.cname)
        bucket_id = max(now_ns, self.last_id + 1)
        record = BucketRecord(bucket, bucket_id, now_ns, properties)
        records = {**self.records, bucket.uname: record}
        return replace(self, version=self.version + 1, last_id=bucket_id, records=records)

    def without_bucket(self, bucket: Bucket) -> BucketTable:
        """The table without this bucket; raises BucketNotFound."""
        self.get(bucket)
        others = {uname: record for uname, record in self.records.items() if uname != bucket.uname}
        return replace(self, version=self.version + 1, records=others)

    def with_properties(self, bucket: Bucket, properties: Mapping[str, Any]) -> BucketTable:
        """The table with other properties of this bucket; raises BucketNotFound."""
        record = replace(self.get(bucket), properties=properties)
        return replace(self, version=self.version + 1, records={**self.records, bucket.uname: record})

    def sorted_records(self) -> list[BucketRecord]:
        """All records in the order in which the dialect lists them."""
        return sorted(self.records.values(), key=lambda r: (r.bucket.provider, r.bucket.namespace, r.bucket.name))

    def ids(self) -> dict[str, int]:
        """uname → bucket id: what targets need to know."""
        return {uname: record.id for uname, record in self.records.items()}

    def backends(self) -> dict[str, str]:
        """uname → the backend's uname, of the buckets that have one and are not outside themselves."""
        found = {uname: record.backend for uname, record in self.records.items() if not is_outside(record.bucket)}
        return {uname: backend.uname for uname, backend in found.items() if backend is not None}

    def to_bmd(self, cluster_id: str) -> dict[str, Any]:
        """AIStore's bucket metadata (BMD)."""
        providers: dict[str, dict[str, dict[str, Any]]] = {"ais": {"@#": {}}}
        for record in self.sorted_records():
            namespace = record.bucket.namespace or "@#"
            buckets = providers.setdefault(record.bucket.provider, {}).setdefault(namespace, {})
            buckets[record.bucket.name] = record.to_bprops()
        return {"providers": providers, "uuid": cluster_id, "version": str(self.version)}

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack and JSON."""
        return {
            "version": self.version,
            "last_id": self.last_id,
            "buckets": [[uname, r.id, r.created_ns, dict(r.properties)] for uname, r in self.records.items()],
        }

    @classmethod
    def from_wire(cls, plain: Mapping[str, Any]) -> Self:
        """Read `to_wire`'s form; raises InvalidRequest when it is none."""
        try:
            records = {
                uname: BucketRecord(Bucket.from_uname(uname), bucket_id, created_ns, properties)
                for uname, bucket_id, created_ns, properties in plain["buckets"]
            }
            return cls(int(plain["version"]), int(plain["last_id"]), records)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"not a bucket table: {type(error).__name__} {error}") from None
