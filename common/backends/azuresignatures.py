"""Shared access signatures (SAS) for reading one container of Azure, made when needed and used for hours.

Which credentials there are is left to `common.backends.azureaccess`.
"""

from __future__ import annotations

import base64
import hmac
import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from common import clock
from common.backends.azureaccess import CREDENTIALS_HINT, Access
from common.errors import InvalidRequest

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import UserDelegationKey

_VERSION = "2021-12-02"
"""What is signed, line by line, is fixed for a version for ever. The library signs as its newest version does, which
not every cloud and emulator knows yet."""
VALID_FOR = timedelta(hours=8)
LEFT_AT_LEAST = timedelta(hours=1)
_CLOCK_SKEW = timedelta(minutes=15)


class KeptSignature:
    """The query of a URL that signs it, renewed in time; `make` is told until when it has to be valid. Any thread."""

    def __init__(self, make: Callable[[datetime], str], now_ns: Callable[[], int] = clock.unix_ns) -> None:
        self._make = make
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._query = ""
        self._until = datetime.fromtimestamp(0, UTC)

    def query(self) -> str:
        """Valid for more than an hour; raises what `make` raises."""
        now = datetime.fromtimestamp(self._now_ns() // 1_000_000_000, UTC)
        with self._lock:
            if self._until - now <= LEFT_AT_LEAST:
                until = now + VALID_FOR
                self._query = self._make(until)
                self._until = until
            return self._query


def signed_by_key(access: Access, container: str, until: datetime) -> str:
    """A signature that allows to read what is in the container, and nothing else; `access` has its account's key."""
    return _signed(access, container, until, access.key, [""], {})


def signed_by_identity(access: Access, container: str, until: datetime, key: UserDelegationKey) -> str:
    """The same, by a key that the service has given to an identity."""
    told = {
        "skoid": key.signed_oid,
        "sktid": key.signed_tid,
        "skt": key.signed_start,
        "ske": key.signed_expiry,
        "sks": key.signed_service,
        "skv": key.signed_version,
    }
    plain = {name: str(value or "") for name, value in told.items()}
    return _signed(access, container, until, str(key.value), [*plain.values(), "", "", ""], plain)


def delegation_times(until: datetime) -> tuple[datetime, datetime]:
    """From when and until when such a key has to be valid: clocks differ."""
    return until - VALID_FOR - _CLOCK_SKEW, until


def default_identity() -> TokenCredential:
    """Whoever azure-identity finds this node to be; raises InvalidRequest where it is not installed."""
    try:
        identity: Any = importlib.import_module("azure.identity")
    except ImportError:
        raise InvalidRequest(
            f"az: there are no credentials: {CREDENTIALS_HINT}; anonymous = true for a public container; or, for "
            "managed identities and service principals: pip install azure-identity"
        ) from None
    credential: TokenCredential = identity.DefaultAzureCredential()
    return credential


def _signed(
    access: Access, container: str, until: datetime, key: str, signer: Sequence[str], told: Mapping[str, str]
) -> str:
    """A service SAS of the container; the order of the lines is the service's."""
    expiry = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    protocol = "https" if access.endpoint.startswith("https:") else "https,http"
    resource = f"/blob/{access.account}/{container}"
    unused_overrides = [""] * 7
    lines = ["r", "", expiry, resource, *signer, "", protocol, _VERSION, "c", *unused_overrides]
    digest = hmac.digest(base64.b64decode(key), "\n".join(lines).encode(), "sha256")
    query = {"sv": _VERSION, "sr": "c", "sp": "r", "se": expiry, "spr": protocol, **told}
    return urlencode(query | {"sig": base64.b64encode(digest).decode()})
