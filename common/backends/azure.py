"""Containers of Azure Blob Storage, by azure-storage-blob, which is optional.

Who may read is left to `common.backends.azureaccess`, signatures to `azuresignatures`, error texts to `azureerrors`.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from common.backends.azureaccess import CREDENTIALS_HINT, access_of
from common.backends.azureerrors import translated
from common.backends.azuresignatures import (
    KeptSignature,
    default_identity,
    delegation_times,
    signed_by_identity,
    signed_by_key,
)
from common.backends.base import MAX_PAGE, Capabilities, ObjectPage, SourceObject, SourceRequest, missing_extra
from common.backends.settings import AzureSettings
from common.errors import AccessDenied, InvalidRequest

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import BlobProperties, ContainerClient

_API_VERSION = "2021-12-02"
"""Old enough for every cloud and emulator. Asked for with the bytes, too: an anonymous request that names none is
answered as in 2009, with an ETag without quotes and no digest of the whole with a part."""
_SCOPE = "https://storage.azure.com/.default"
_CONNECT_SECONDS = 5
_READ_SECONDS = 20
_RETRIES = 1
_PAUSE_SECONDS = 1


class AzureBackend:
    """One container."""

    capabilities = Capabilities(
        # Names are compared as UTF-16, so what is beyond U+FFFF comes before U+E000 (blobfile/blobfile#238), and with
        # a hierarchical namespace "a/1" comes before "a-1" (Azure/azure-sdk-for-go#24210).
        is_ordered=False,
        has_versions=True,
        digests=frozenset({"md5"}),
    )

    def __init__(self, container: str, settings: AzureSettings) -> None:
        """Connects to nobody; raises Unsupported without the library, InvalidRequest for settings that cannot work."""
        try:
            from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415 - an optional extra
            from azure.storage.blob import ContainerClient, LinearRetry  # noqa: PLC0415
        except ImportError:
            raise missing_extra("Azure containers", "azure") from None
        self._container = container
        self._access = access_of(settings, os.environ)
        self._identity = self._own_identity() if self._access.needs_identity else None
        self._transport = RequestsTransport(connection_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)
        # Opened here, not by whichever of two threads comes first; nothing is connected by that.
        self._transport.open()
        self._options: dict[str, Any] = {
            "credential": self._credential(),
            "transport": self._transport,
            "api_version": _API_VERSION,
            "retry_policy": LinearRetry(backoff=_PAUSE_SECONDS, retry_total=_RETRIES, random_jitter_range=0),
        }
        self._client: ContainerClient = ContainerClient(self._access.endpoint, container, **self._options)
        self._base_url = f"{self._access.endpoint}/{quote(container, safe='$')}"
        self._signature = KeptSignature(self._signed)

    def page(self, prefix: str = "", token: str = "", limit: int = MAX_PAGE) -> ObjectPage:
        """See `Backend`. The folders that accounts with a hierarchical namespace list as blobs are left out."""
        with translated(self._access, self._container):
            found = self._client.list_blobs(
                name_starts_with=prefix or None, include=["metadata"], results_per_page=max(1, min(limit, MAX_PAGE))
            )
            pages: Any = found.by_page(continuation_token=token or None)
            blobs: list[BlobProperties] = list(next(pages, ()))
            return ObjectPage([_told(blob) for blob in blobs if not _is_folder(blob)], pages.continuation_token or "")

    def head(self, name: str, version: str = "") -> SourceObject:
        """See `Backend`."""
        options: dict[str, Any] = {"version_id": version} if version else {}
        with translated(self._access, self._container, name):
            return _told(self._client.get_blob_client(name).get_blob_properties(**options))

    def request(self, name: str, version: str = "") -> SourceRequest:
        """See `Backend`. A signature that the settings give is used as it is, however long it is valid."""
        headers = [("x-ms-version", _API_VERSION)]
        query = [f"versionid={quote(version, safe='')}"] if version else []
        if self._access.sas:
            query.append(self._access.sas)
        elif not self._access.is_anonymous:
            signature = self._signature.query()
            if signature:
                query.append(signature)
            elif self._identity is not None:
                headers.append(("Authorization", f"Bearer {self._bearer(self._identity)}"))
        url = f"{self._base_url}/{quote(name, safe='/~')}"
        return SourceRequest(f"{url}?{'&'.join(query)}" if query else url, tuple(headers))

    def close(self) -> None:
        """See `Backend`; who still asks afterwards connects again."""
        session = self._transport.session
        if session is not None:
            session.close()

    def _own_identity(self) -> TokenCredential:
        if not self._access.endpoint.startswith("https:"):
            raise InvalidRequest(
                f"az: there are no credentials for {self._access.host}, and an identity is shown over https only: "
                f"{CREDENTIALS_HINT}; or anonymous = true for a public container"
            )
        return default_identity()

    def _credential(self) -> object:
        """In the form that the library wants it."""
        from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential  # noqa: PLC0415

        access = self._access
        if access.is_anonymous:
            return None
        if access.sas:
            return AzureSasCredential(access.sas)
        if access.key:
            return AzureNamedKeyCredential(access.account, access.key)
        return self._identity

    def _signed(self, until: datetime) -> str:
        """Empty for an identity that gets no key to sign with; kept like a signature, so as not to ask each time."""
        if self._identity is None:
            return signed_by_key(self._access, self._container, until)
        from azure.storage.blob import BlobServiceClient  # noqa: PLC0415

        service = BlobServiceClient(self._access.endpoint, **self._options)
        try:
            with translated(self._access, self._container):
                key = service.get_user_delegation_key(*delegation_times(until))
        except AccessDenied:
            return ""
        return signed_by_identity(self._access, self._container, until, key)

    def _bearer(self, identity: TokenCredential) -> str:
        """For identities whose role is given for the container only: those may read, and not ask for a signing key.

        Such a token is valid for about an hour when it is new, and nothing can be done about it.
        """
        with translated(self._access, self._container):
            return identity.get_token(_SCOPE).token


def _told(blob: BlobProperties) -> SourceObject:
    md5 = blob.content_settings.content_md5
    etag = blob.etag or ""
    return SourceObject(
        name=blob.name,
        size_bytes=blob.size,
        etag=etag if not etag or etag.startswith('"') else f'"{etag}"',
        version=blob.version_id or "",
        modified_ns=int(blob.last_modified.timestamp()) * 1_000_000_000 if blob.last_modified else 0,
        digests={"md5": bytes(md5).hex()} if md5 else {},
    )


def _is_folder(blob: BlobProperties) -> bool:
    return not blob.size and (blob.metadata or {}).get("hdi_isfolder", "").lower() == "true"
