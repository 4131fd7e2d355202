"""Which account of Azure Blob Storage is meant, where it answers and by which credentials; pure.

Signing is left to `common.backends.azuresignatures`. The environment is read as az reads it, but only where the
settings have no credentials, and only where it does not speak of another account.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from common.backends.settings import AzureSettings
from common.errors import InvalidRequest

CREDENTIALS_HINT = (
    'give "connection_string", "sas_token" or "account_key" in the section [az] of the backends_file, or '
    "AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_KEY in the environment of every node"
)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}\Z")
_SUFFIX = "core.windows.net"


@dataclass(frozen=True, slots=True)
class Access:
    """What is left of settings and environment; without `key` and `sas` an identity is needed, if not anonymous.

    `endpoint` is the blob service's address with the account, and without a slash at its end.
    """

    endpoint: str
    account: str
    is_anonymous: bool = False
    sas: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    @property
    def needs_identity(self) -> bool:
        return not (self.is_anonymous or self.sas or self.key)

    @property
    def host(self) -> str:
        """For texts: an address may have a password in it."""
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]


class _Given(NamedTuple):
    """The same four things, wherever they are written."""

    account: str = ""
    endpoint: str = ""
    sas: str = ""
    key: str = ""


def access_of(settings: AzureSettings, environment: Mapping[str, str]) -> Access:
    """Decide; raises InvalidRequest that names the setting at fault."""
    own = _Given(
        settings.account,
        settings.endpoint.rstrip("/"),
        settings.sas_token.get_secret_value(),
        settings.account_key.get_secret_value(),
    )
    connection_string = settings.connection_string.get_secret_value()
    if connection_string:
        given = _parse(connection_string, 'az: "connection_string"')
        if not (given.sas or given.key or own.sas or own.key or settings.anonymous):
            raise InvalidRequest('az: "connection_string" has neither an AccountKey nor a SharedAccessSignature')
        if own.sas or own.key:
            # A job's, which stand for themselves: the string only says where.
            account = own.account or given.account or account_in(given.endpoint)
            own = own._replace(account=account, endpoint=given.endpoint or own.endpoint)
        else:
            endpoint = given.endpoint or _moved(own.endpoint, given.account)
            own = given._replace(endpoint=endpoint, account=given.account or account_in(endpoint))
    elif settings.anonymous or not (own.sas or own.key):
        own = _completed(own, environment)
    endpoint = _moved(own.endpoint, own.account) or _default_endpoint(own.account)
    if settings.anonymous:
        return Access(endpoint, own.account or account_in(endpoint), is_anonymous=True)
    access = Access(endpoint, own.account or account_in(endpoint), sas=own.sas.strip().lstrip("?"), key=own.key.strip())
    if access.key and not access.sas:
        _check_key(access)
    return access


def account_in(endpoint: str) -> str:
    """The account that an endpoint belongs to, empty where it does not tell: in the host, or first in the path."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if ".blob." in host:
        return host.partition(".")[0].removesuffix("-secondary")
    return parts.path.strip("/").partition("/")[0]


def _completed(own: _Given, environment: Mapping[str, str]) -> _Given:
    """With what the environment says of the same account: as az does it, its connection string before all else."""
    named = own.account or account_in(own.endpoint)
    connection_string = environment.get("AZURE_STORAGE_CONNECTION_STRING", "")
    if connection_string:
        given = _parse(connection_string, "AZURE_STORAGE_CONNECTION_STRING")
        account = given.account or account_in(given.endpoint)
        if not (own.account or own.endpoint):
            return given
        if named and account == named:
            return given._replace(endpoint=own.endpoint or given.endpoint)
    account = environment.get("AZURE_STORAGE_ACCOUNT", "")
    if account and named and account != named:
        return own
    return _Given(
        own.account or account,
        own.endpoint,
        environment.get("AZURE_STORAGE_SAS_TOKEN", ""),
        environment.get("AZURE_STORAGE_KEY", ""),
    )


def _parse(connection_string: str, what: str) -> _Given:
    fields = {}
    for part in connection_string.strip().strip(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals:
            raise InvalidRequest(f'{what} is not of the form "AccountName=…;AccountKey=…"')
        fields[name.strip().lower()] = value.strip()
    account, endpoint = fields.get("accountname", ""), fields.get("blobendpoint", "").rstrip("/")
    if endpoint and not re.match(r"https?://[^?#]+\Z", endpoint):
        raise InvalidRequest(f"{what}: its BlobEndpoint is no address")
    if not endpoint and "endpointsuffix" in fields:
        scheme = fields.get("defaultendpointsprotocol", "https")
        if scheme not in ("http", "https"):
            raise InvalidRequest(f"{what}: its DefaultEndpointsProtocol is neither http nor https")
        endpoint = f"{scheme}://{_checked(account)}.blob.{fields['endpointsuffix']}"
    if not (account or endpoint):
        raise InvalidRequest(f"{what} has neither an AccountName nor a BlobEndpoint")
    return _Given(account, endpoint, fields.get("sharedaccesssignature", ""), fields.get("accountkey", ""))


def _moved(endpoint: str, account: str) -> str:
    """The endpoint of that account, where the given one is visibly another's: in the same cloud."""
    other = account_in(endpoint)
    if not (account and other) or other == account:
        return endpoint
    parts = urlsplit(endpoint)
    if ".blob." in (parts.hostname or ""):
        return f"{parts.scheme}://{_checked(account)}.{parts.netloc.partition('.')[2]}"
    return f"{parts.scheme}://{parts.netloc}/{_checked(account)}"


def _default_endpoint(account: str) -> str:
    if not account:
        raise InvalidRequest(
            'az: no storage account is named: give "account", "endpoint" or "connection_string" in the section [az] of '
            "the backends_file, or AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING in every node's environment"
        )
    return f"https://{_checked(account)}.blob.{_SUFFIX}"


def _checked(account: str) -> str:
    """It becomes part of a host's name, and may come with a job: nothing but a name may get there."""
    if not _ACCOUNT.match(account):
        raise InvalidRequest('az: "account" has to be 3 to 24 lower-case letters and digits')
    return account


def _check_key(access: Access) -> None:
    if not access.account:
        raise InvalidRequest(f'az: "account_key" needs "account" besides, as {access.host} does not tell it')
    try:
        base64.b64decode(access.key, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest('az: "account_key" is not Base64; it has to be copied as the portal shows it') from None
