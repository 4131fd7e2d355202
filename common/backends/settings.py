"""How backends are reached and with which credentials: the file that a node's `backends_file` names; pure.

What a file leaves out is left to the services' own libraries: their environment variables, profiles and instance
metadata. A section's settings hold for all buckets of its service, and `buckets` for single ones besides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, SecretStr, ValidationError

from common.errors import InvalidRequest
from common.names import printable
from common.settings import Settings, load_settings

Url = Field(default="", pattern=r"^(https?://[^?#]+)?$")


class S3Settings(Settings):
    """Buckets `s3://…`, of AWS or of whatever speaks its API."""

    endpoint: str = Url
    region: str = ""
    profile: str = ""
    anonymous: bool = False
    path_style: bool = Field(
        default=False, description="Bucket in the path, not in the host name; always with an `endpoint`."
    )
    requester_pays: bool = False
    access_key_id: str = ""
    secret_access_key: SecretStr = SecretStr("")
    session_token: SecretStr = SecretStr("")


class GcsSettings(Settings):
    """Buckets `gs://…`."""

    endpoint: str = Url
    project: str = ""
    anonymous: bool = False
    credentials_file: Path | None = None
    credentials_json: SecretStr = SecretStr("")
    token: SecretStr = Field(default=SecretStr(""), description="An OAuth 2.0 access token.")
    user_project: str = Field(default="", description="Whom requests are charged to.")


class AzureSettings(Settings):
    """Containers `az://…`."""

    account: str = ""
    endpoint: str = Field(
        default="", pattern=r"^(https?://[^?#]+)?$", description="Of the blob service, with the account."
    )
    anonymous: bool = False
    connection_string: SecretStr = SecretStr("")
    sas_token: SecretStr = SecretStr("")
    account_key: SecretStr = SecretStr("")


class ClusterSettings(Settings):
    """Another Haul or AIStore cluster, whose buckets are `ais://@NAME/…`."""

    url: str = Field(pattern=r"^https?://[^/?#]+$")
    token: SecretStr = SecretStr("")


class S3Section(S3Settings):
    """All of S3."""

    enabled: bool = True
    buckets: dict[str, S3Settings] = Field(default={})


class GcsSection(GcsSettings):
    """All of Google Cloud Storage."""

    enabled: bool = True
    buckets: dict[str, GcsSettings] = Field(default={})


class AzureSection(AzureSettings):
    """All of Azure Blob Storage."""

    enabled: bool = True
    buckets: dict[str, AzureSettings] = Field(default={})


class BackendSettings(Settings):
    """The whole file."""

    s3: S3Section = S3Section()
    gs: GcsSection = GcsSection()
    az: AzureSection = AzureSection()
    clusters: dict[str, ClusterSettings] = Field(default={})

    @property
    def disabled(self) -> frozenset[str]:
        """The providers whose buckets are not for this cluster."""
        enabled = {"aws": self.s3.enabled, "gcp": self.gs.enabled, "azure": self.az.enabled}
        return frozenset(provider for provider, is_enabled in enabled.items() if not is_enabled)

    def s3_of(self, bucket: str, credentials: Mapping[str, str]) -> S3Settings:
        """The settings of one bucket, with a job's credentials in place of those."""
        return _merged(S3Settings, self.s3, self.s3.buckets.get(bucket), _checked("aws", credentials))

    def gs_of(self, bucket: str, credentials: Mapping[str, str]) -> GcsSettings:
        """As `s3_of`."""
        _check_key(credentials.get("credentials_json", ""))
        return _merged(GcsSettings, self.gs, self.gs.buckets.get(bucket), _checked("gcp", credentials))

    def az_of(self, container: str, credentials: Mapping[str, str]) -> AzureSettings:
        """As `s3_of`."""
        return _merged(AzureSettings, self.az, self.az.buckets.get(container), _checked("azure", credentials))


def load_backends(path: Path | None) -> BackendSettings:
    """Read a node's file; without one everything is left to the services' libraries. Raises InvalidRequest."""
    return load_settings(BackendSettings, path) if path is not None else BackendSettings()


S = TypeVar("S", bound=Settings)
CREDENTIALS: Mapping[str, frozenset[str]] = {
    "aws": frozenset({"access_key_id", "secret_access_key", "session_token"}),
    "gcp": frozenset({"credentials_json", "token"}),
    "azure": frozenset({"sas_token", "account_key", "account"}),
    "ais": frozenset({"token"}),
}
"""What a job may carry, by provider; everything but `account` and `access_key_id` is a secret.

Nothing of it names a place that a proxy would speak to: that is for the configuration alone.
"""
_GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
_GOOGLE_UNIVERSE = "googleapis.com"


def _checked(provider: str, credentials: Mapping[str, str]) -> Mapping[str, str]:
    """Raise InvalidRequest unless a job may carry all of these."""
    unknown = credentials.keys() - CREDENTIALS[provider]
    if unknown:
        known = ", ".join(sorted(CREDENTIALS[provider]))
        raise InvalidRequest(f"credentials: '{printable(min(unknown), 40)}' is none for this service (known: {known})")
    if credentials.keys() == {"account"}:
        raise InvalidRequest(
            "credentials: 'account' needs 'sas_token' or 'account_key', those of the nodes are not for it"
        )
    return credentials


def _check_key(text: str) -> None:
    """Raise InvalidRequest for a job's key file that would have nodes ask anybody but Google for tokens."""
    try:
        key = json.loads(text) if text else {"token_uri": _GOOGLE_TOKENS}
    except ValueError:
        key = None
    # The library would speak to hosts of another universe than Google's public one, too.
    if (
        not isinstance(key, dict)
        or key.get("token_uri") != _GOOGLE_TOKENS
        or key.get("type", "") == "external_account"
        or key.get("universe_domain", _GOOGLE_UNIVERSE) != _GOOGLE_UNIVERSE
    ):
        raise InvalidRequest(
            f"credentials: 'credentials_json' must be the key of a service account with token_uri {_GOOGLE_TOKENS}"
        )


def _merged(model: type[S], section: Settings, bucket: Settings | None, credentials: Mapping[str, str]) -> S:
    """A bucket's own settings win over its section's; a job's credentials replace all others.

    Raises InvalidRequest for credentials of another service.
    """
    plain: dict[str, Any] = {name: getattr(section, name) for name in model.model_fields}
    if bucket is not None:
        plain |= {name: getattr(bucket, name) for name in bucket.model_fields_set}
    if credentials:
        own = {name for names in CREDENTIALS.values() for name in names} | {"profile", "credentials_file"}
        plain = {name: value for name, value in plain.items() if name not in own - {"account"}}
        plain |= {"anonymous": False, **credentials} if "anonymous" in model.model_fields else dict(credentials)
    try:
        return model.model_validate(plain)
    except ValidationError as error:  # whose own text has the values in it
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InvalidRequest(f"credentials: there is no '{field}' for this service, or not with this value") from None
