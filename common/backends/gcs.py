"""Buckets of Google Cloud Storage, by Google's client library; who asks is told by `gcs_credentials`.

Listing and looking go by the JSON API. Bytes are requested from the XML API: both send `x-goog-hash`, but only the XML
API has an `ETag` in quotation marks, which `If-Range` needs, so that large objects can be continued and divided.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from common.backends.base import (
    MAX_PAGE,
    Capabilities,
    ObjectPage,
    SourceObject,
    SourceRequest,
    missing_extra,
)
from common.backends.settings import GcsSettings
from common.errors import InvalidRequest
from common.expectation import HEX_LENGTHS
from common.names import printable

if TYPE_CHECKING:
    from common.backends.gcs_credentials import Authorization

_CAPABILITIES = Capabilities(is_ordered=True, has_versions=True, digests=frozenset({"md5", "crc32c"}))
_FIELDS = "items(name,size,md5Hash,crc32c,generation,updated,contentEncoding),nextPageToken"
_TIMEOUT_SECONDS = (4.0, 20.0)
"""To connect, and between two pieces of an answer."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class GcsBackend:
    """One bucket; the protocol `Backend`.

    `request` gives a token with ten minutes left at least, not with an hour: Google's live no longer than that. The
    `etag` is left empty, as what the JSON API tells is not what the XML API answers.
    """

    def __init__(self, bucket: str, settings: GcsSettings) -> None:
        """Asks nobody; raises Unsupported without the library, InvalidRequest for credentials that are malformed."""
        try:
            import google.cloud.storage  # noqa: PLC0415

            from common.backends import gcs_credentials, gcs_failures  # noqa: PLC0415 - optional
        except ImportError as error:
            raise missing_extra("Google Cloud Storage buckets", "gcs") from error
        self._library = google.cloud.storage
        self._credentials_module = gcs_credentials
        self._failures_module = gcs_failures
        self._bucket = bucket
        self._settings = settings
        self._configured = gcs_credentials.configured_credentials(settings, f"gs://{bucket}")
        self._lock = threading.Lock()
        self._opened: tuple[Any, Authorization] | None = None

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    def page(self, prefix: str = "", token: str = "", limit: int = MAX_PAGE) -> ObjectPage:
        with self._translated():
            client, authorization = self._open()
            authorization.headers()
            blobs = client.list_blobs(
                client.bucket(self._bucket, user_project=self._settings.user_project or None),
                prefix=prefix or None,
                page_token=token or None,
                max_results=max(1, min(limit, MAX_PAGE)),
                fields=_FIELDS,
                timeout=_TIMEOUT_SECONDS,
                retry=self._failures_module.patience(),
            )
            objects = [self._told(blob) for blob in next(blobs.pages, ())]
            return ObjectPage(objects, blobs.next_page_token or "")

    def head(self, name: str, version: str = "") -> SourceObject:
        self._check(name, version)
        with self._translated(name):
            client, authorization = self._open()
            authorization.headers()
            bucket = client.bucket(self._bucket, user_project=self._settings.user_project or None)
            blob = bucket.blob(name, generation=int(version) if version else None)
            blob.reload(timeout=_TIMEOUT_SECONDS, retry=self._failures_module.patience())
            return self._told(blob)

    def request(self, name: str, version: str = "") -> SourceRequest:
        self._check(name, version)
        with self._translated(name):
            client, authorization = self._open()
            headers = authorization.headers()
            if self._settings.user_project:
                headers["X-Goog-User-Project"] = self._settings.user_project
            # Slashes may stay, but where HTTP clients would resolve the name as a path.
            safe = "~" if {".", ".."} & set(name.split("/")) else "~/"
            url = f"{client.api_endpoint.rstrip('/')}/{quote(self._bucket, safe='')}/{quote(name, safe=safe)}"
            return SourceRequest(f"{url}?generation={version}" if version else url, tuple(headers.items()))

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                for opened in self._opened:
                    opened.close()

    def _check(self, name: str, version: str) -> None:
        if version and not (version.isascii() and version.isdecimal()):
            raise InvalidRequest(
                f'gs://{self._bucket}/{name}: a version is a number, found: "{printable(version, 40)}"'
            )

    def _open(self) -> tuple[Any, Authorization]:
        """The client, made when it is first needed: finding default credentials may take seconds."""
        with self._lock:
            if self._opened is None:
                module, settings = self._credentials_module, self._settings
                credentials = self._configured or module.default_credentials(settings)
                authorization = module.Authorization(credentials)
                try:
                    client = self._library.Client(
                        project=settings.project or None,
                        credentials=credentials,
                        _http=authorization.session(),
                        client_options={"api_endpoint": settings.endpoint.rstrip("/")} if settings.endpoint else None,
                    )
                except ValueError as error:
                    raise InvalidRequest(f"gs://{self._bucket}: {error}") from None
                # Newer versions look for the bucket's own properties in threads of their own, for traces that nobody
                # keeps; who may only read objects is refused those, and would be again with every page and look.
                client._bucket_metadata_cache = None
                self._opened = client, authorization
            return self._opened

    @contextmanager
    def _translated(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except self._failures_module.FAILURES as error:
            token = self._opened[1].token if self._opened is not None else ""
            found = self._failures_module.failure(error, self._bucket, name, token)
        else:
            return
        # Outside of the clause, and without a cause: the libraries' errors carry requests with their tokens.
        raise found

    def _told(self, blob: Any) -> SourceObject:
        # Google unpacks what is stored as gzip on its way, as targets accept no encoding: these bytes are others.
        is_unpacked = blob.content_encoding == "gzip"
        digests = {} if is_unpacked else _digests({"md5": blob.md5_hash, "crc32c": blob.crc32c})
        modified_ns = (blob.updated - _EPOCH) // timedelta(microseconds=1) * 1000 if blob.updated else 0
        return SourceObject(
            blob.name,
            None if is_unpacked else blob.size,
            version=str(blob.generation or ""),
            modified_ns=modified_ns,
            digests=digests,
        )


def _digests(encoded: Mapping[str, str | None]) -> dict[str, str]:
    """From base64 to hexadecimal; composite objects have no MD5."""
    found = {}
    for algorithm, text in encoded.items():
        try:
            raw = base64.b64decode(text or "", validate=True)
        except binascii.Error:
            continue
        if 2 * len(raw) == HEX_LENGTHS[algorithm]:
            found[algorithm] = raw.hex()
    return found
