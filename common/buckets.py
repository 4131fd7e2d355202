"""Buckets: the record of one, the versioned table of all, and the properties as the dialect shows them; pure.

Where the table is kept is left to `proxy.buckets`, what lies in a bucket to the targets. Source: wire.md §2.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgpack

from common.backends.sources import is_outside
from common.errors import BucketExists, BucketNotFound, InvalidRequest
from common.moving import Moving
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
DEFAULT_SECTIONS: Mapping[str, Any] = {name: _DEFAULTS[name] for name in _DEFAULTS if name in SECTIONS - {"extra"}}
"""What a new bucket has of the cluster's configuration."""
_BACKEND = "backend_bck"
_BITS = frozenset({"access", "features"})
_SCALARS = _BITS | {_BACKEND, "force"}
_OPTIONAL: dict[str, dict[str, Any]] = {
    "rate_limit.backend": {"per_op_max_tokens": ""},
    "rate_limit.frontend": {"per_op_max_tokens": ""},
    "chunks": {"checkpoint_every": 0, "flags": 0},
}
"""Fields that a section has only when they are set."""
_EXTRA = "extra"
_MAX_EXTRA_BYTES = 16 << 10
_MAX_EXTRA_DEPTH = 16
_MAX_TEXT = 256
_MAX_BITS = (1 << 64) - 1


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
        if key in SECTIONS and key != _EXTRA and value is not None:
            _check_field(key, value, _DEFAULTS[key])
    checked = {key: value for key, value in properties.items() if key in SECTIONS and value is not None}
    checked |= {key: _bits(key, properties[key]) for key in _BITS if properties.get(key) is not None}
    if _EXTRA in checked:
        _check_extra(checked[_EXTRA])
    if not _is_storable(checked):
        raise InvalidRequest("failed to unmarshal bucket properties: a text is not UTF-8, or a number has over 64 bits")
    if properties.get(_BACKEND) is not None:
        backend = _parse_backend(properties[_BACKEND])
        checked[_BACKEND] = backend.to_wire() if backend is not None else {}
    return checked


def merged_properties(properties: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A bucket's properties after `changes`, as `check_properties` gives them."""
    merged = _merged(properties, changes)
    if changes.get(_BACKEND) == {}:
        merged.pop(_BACKEND)
    return merged


def _merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with the changes, objects in them field by field."""
    merged = dict(fields)
    for key, value in changes.items():
        known = merged.get(key)
        is_object = isinstance(value, dict) and isinstance(known, dict) and key != _BACKEND
        merged[key] = _merged(known, value) if is_object and known is not None else value
    return merged


def _check_field(path: str, value: object, default: object) -> None:
    """Raise InvalidRequest unless a field is like its default, objects field by field."""
    if isinstance(default, dict):
        if not isinstance(value, dict):
            raise InvalidRequest(f"failed to unmarshal bucket properties: '{path}' must be an object")
        known = default | _OPTIONAL.get(path, {})
        for name, inner in value.items():
            if name not in known:
                raise InvalidRequest(f"failed to unmarshal bucket properties: found unknown field: {path}.{name[:64]}")
            if inner is not None:
                _check_field(f"{path}.{name}", inner, known[name])
    elif isinstance(default, bool) != isinstance(value, bool) or not isinstance(value, bool | int | str):
        wanted = "a boolean" if isinstance(default, bool) else "a number or a text"
        raise InvalidRequest(f"failed to unmarshal bucket properties: '{path}' must be {wanted}")
    elif isinstance(value, str) and (not isinstance(default, str) or len(value) > _MAX_TEXT):
        raise InvalidRequest(f"failed to unmarshal bucket properties: '{path}' has no valid value")
    elif isinstance(value, int) and not 0 <= value <= _MAX_BITS >> 1:
        raise InvalidRequest(f"failed to unmarshal bucket properties: '{path}' must not be negative, nor so large")


def _bits(key: str, value: object) -> str:
    """A set of 64 bits, as the decimal text that the dialect has for it."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= _MAX_BITS):
        raise InvalidRequest(f"failed to unmarshal bucket properties: '{key}' must be a number of 64 bits, as a text")
    return str(int(text))


def _check_extra(value: object) -> None:
    """Of services that Haul does not speak to like this; it is kept as it comes."""
    if not isinstance(value, dict):
        raise InvalidRequest("failed to unmarshal bucket properties: 'extra' must be an object")
    if not _is_shallow(value, _MAX_EXTRA_DEPTH):
        raise InvalidRequest("failed to unmarshal bucket properties: 'extra' is nested too deeply")
    if len(repr(value)) > _MAX_EXTRA_BYTES:
        raise InvalidRequest(f"failed to unmarshal bucket properties: 'extra' has more than {_MAX_EXTRA_BYTES} bytes")


def _is_shallow(value: object, levels: int) -> bool:
    """Whether it can be packed; deep nesting cannot."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner)


def _is_storable(fields: dict[str, Any]) -> bool:
    """JSON can spell numbers of any size, and halves of characters."""
    try:
        return bool(msgpack.packb(fields))
    except (ValueError, OverflowError):
        return False


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

    `properties` holds only what differs from the defaults; `moving` while a job renames it, or to it.
    """

    bucket: Bucket
    id: int
    created_ns: int
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    moving: Moving | None = None

    @property
    def backend(self) -> Bucket | None:
        """Where the bucket's objects come from, None if they are only here; a bucket that is outside is its own."""
        if is_outside(self.bucket):
            return self.bucket
        backend = self.properties.get(_BACKEND)
        return _parse_backend(backend) if backend else None

    @property
    def access(self) -> int:
        """AIStore's access bits: what clients may do."""
        return int(self.properties.get("access", _DEFAULTS["access"]))

    def to_bprops(self) -> dict[str, Any]:
        """AIStore's Bprops, complete."""
        props = _merged(_DEFAULTS, self.properties)
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

    def with_moving(self, bucket: Bucket, moving: Moving | None) -> BucketTable:
        """The table with another mark of this bucket, or none; raises BucketNotFound."""
        record = replace(self.get(bucket), moving=moving)
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

    def restricted(self) -> dict[str, int]:
        """uname → `access`, of the buckets that do not permit everything."""
        return {uname: record.access for uname, record in self.records.items() if record.access != _MAX_BITS}

    def moving(self) -> dict[str, list[Any]]:
        """uname → the mark, of the buckets that are being renamed and those that they become."""
        return {uname: record.moving.to_wire() for uname, record in self.records.items() if record.moving is not None}

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
