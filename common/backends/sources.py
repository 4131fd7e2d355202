"""Finds the backend of a bucket outside of the cluster, and the object that a source's link names.

A link is `s3://BUCKET/NAME`, `gs://…`, `az://…` or `ais://CLUSTER/BUCKET/NAME`, with the name percent-encoded where a
URL's must be. Backends are made when they are first needed, and kept.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import quote, unquote

from common.backends.base import Backend, BackendMissing, SourceRequest
from common.backends.settings import BackendSettings, ClusterSettings
from common.names import Bucket

_PROVIDERS = {"s3": "aws", "gs": "gcp", "az": "azure", "ais": "ais"}
_SCHEME_OF = {provider: scheme for scheme, provider in _PROVIDERS.items()}
_LIBRARIES = {"aws": "boto3", "azure": "azure.storage.blob", "gcp": "google.cloud.storage"}
NO_CREDENTIALS: Mapping[str, str] = {}
_MAX_KEPT = 256


def is_outside(bucket: Bucket) -> bool:
    """Whether a bucket is kept by somebody else."""
    return bucket.provider != "ais" or bool(bucket.namespace_uuid)


def source_link(bucket: Bucket, name: str) -> str:
    """The link of an object of a bucket that `is_outside`."""
    return f"{source_prefix(bucket)}{quote(name, safe='/~!$&()*+,;=:@')}"


def source_prefix(bucket: Bucket) -> str:
    """What the links of all objects of a bucket begin with."""
    if bucket.provider != "ais":
        return f"{_SCHEME_OF[bucket.provider]}://{bucket.name}/"
    namespace = f"%23{bucket.namespace_name}/" if bucket.namespace_name else ""
    return f"ais://{bucket.namespace_uuid}/{namespace}{bucket.name}/"


def parse_source(link: str) -> tuple[Bucket, str]:
    """The bucket and the object's name, or a prefix, of a link that `is_source`; raises InvalidRequest."""
    scheme, _, rest = link.partition("://")
    provider = _PROVIDERS[scheme.lower()]
    if provider != "ais":
        name, _, path = rest.partition("/")
        return Bucket(unquote(name), provider), unquote(path)
    cluster, _, path = rest.removeprefix("@").partition("/")
    uuid, _, namespace = cluster.partition("#")
    if path.startswith("%23"):
        first, _, path = path.partition("/")
        namespace = unquote(first)[1:]
    name, _, path = path.partition("/")
    return Bucket(unquote(name), "ais", uuid, namespace), unquote(path)


class Sources:
    """All backends of a node; any thread."""

    def __init__(self, settings: BackendSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._backends: dict[tuple[Bucket, tuple[tuple[str, str], ...]], Backend] = {}

    def providers(self) -> list[str]:
        """The clouds whose buckets can be reached: enabled, and with the library that it takes."""
        return [
            provider
            for provider, module in _LIBRARIES.items()
            if provider not in self._settings.disabled and _is_installed(module)
        ]

    def clusters(self) -> Mapping[str, ClusterSettings]:
        """The other clusters, by the names that they have here."""
        return self._settings.clusters

    def backend(self, bucket: Bucket, credentials: Mapping[str, str] = NO_CREDENTIALS) -> Backend:
        """The backend of a bucket; raises Unsupported where its library is missing, InvalidRequest for bad settings."""
        key = bucket, tuple(sorted(credentials.items()))
        with self._lock:
            found = self._backends.pop(key, None) or self._open(bucket, credentials)
            self._backends[key] = found
            if len(self._backends) > _MAX_KEPT:
                # What has been unused for longest; jobs with credentials of their own must not drive out the others.
                self._backends.pop(next(iter(self._backends))).close()
            return found

    def request(self, link: str, credentials: Mapping[str, str] = NO_CREDENTIALS) -> SourceRequest:
        """How the bytes are requested that a source's link names; raises as `backend` and its `request`."""
        bucket, name = parse_source(link)
        return self.backend(bucket, credentials).request(name)

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            for backend in self._backends.values():
                backend.close()
            self._backends.clear()

    def _open(self, bucket: Bucket, credentials: Mapping[str, str]) -> Backend:
        if bucket.provider in self._settings.disabled:
            provider = bucket.provider.upper()
            raise BackendMissing(bucket.cname, f"{provider} backend is missing in the cluster configuration")
        if bucket.provider == "aws":
            from common.backends.s3 import S3Backend  # noqa: PLC0415 - what is not used need not be installed

            return S3Backend(bucket.name, self._settings.s3_of(bucket.name, credentials))
        if bucket.provider == "gcp":
            from common.backends.gcs import GcsBackend  # noqa: PLC0415

            return GcsBackend(bucket.name, self._settings.gs_of(bucket.name, credentials))
        if bucket.provider == "azure":
            from common.backends.azure import AzureBackend  # noqa: PLC0415

            return AzureBackend(bucket.name, self._settings.az_of(bucket.name, credentials))
        if bucket.provider == "ais" and bucket.namespace_uuid:
            settings = self._settings.clusters.get(bucket.namespace_uuid)
            if settings is None:
                raise BackendMissing(bucket.cname, f'no cluster "{bucket.namespace_uuid}" is configured')
            from common.backends.cluster import ClusterBackend  # noqa: PLC0415

            return ClusterBackend(bucket, settings, credentials)
        raise BackendMissing(bucket.cname, f"there is no backend for {bucket.provider}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False
