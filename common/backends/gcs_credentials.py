"""Who a node is to Google Cloud Storage: credentials from settings, and headers with a token that is good for a while.

Imported only where google-auth is installed. What the settings leave out is found by google-auth: application default
credentials.
"""

from __future__ import annotations

import functools
import json
import os
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import google.auth
import google.auth.credentials
import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.credentials
import google.oauth2.service_account
import requests

from common.backends.settings import GcsSettings
from common.errors import InvalidRequest

Credentials = google.auth.credentials.Credentials
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_only",)
_EARLY = timedelta(minutes=10)
_PAUSE = timedelta(minutes=1)
_REFRESH_TIMEOUT_SECONDS = 10.0
_TOKEN = re.compile(r"[!-~]+")
_EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"


def configured_credentials(settings: GcsSettings, where: str) -> Credentials | None:
    """What the settings say, None when that is nothing; asks nobody. Raises InvalidRequest that names `where`."""
    if settings.anonymous:
        return google.auth.credentials.AnonymousCredentials()
    if token := settings.token.get_secret_value().strip():
        if not _TOKEN.fullmatch(token):
            raise InvalidRequest(f"{where}: token has characters that no access token has")
        return google.oauth2.credentials.Credentials(token)
    if text := settings.credentials_json.get_secret_value():
        return _from_key(_parsed(text, f"{where}: credentials_json"), f"{where}: credentials_json", is_file=False)
    if settings.credentials_file is not None:
        source = f"{where}: credentials_file {settings.credentials_file}"
        try:
            text = settings.credentials_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{source} cannot be read ({type(error).__name__})") from None
        return _from_key(_parsed(text, source), source, is_file=True)
    return None


def default_credentials(settings: GcsSettings) -> Credentials:
    """Those of this machine; may ask its metadata service. Raises google.auth's DefaultCredentialsError."""
    if not settings.endpoint and os.environ.get(_EMULATOR_VARIABLE):
        return google.auth.credentials.AnonymousCredentials()
    credentials, _ = google.auth.default(scopes=SCOPES)
    return credentials


def _parsed(text: str, source: str) -> dict[str, object]:
    try:
        info = json.loads(text)
    except ValueError:
        info = None
    if not isinstance(info, dict):
        raise InvalidRequest(f"{source} is not a JSON object")
    return info


def _from_key(info: dict[str, object], source: str, *, is_file: bool) -> Credentials:
    """Of other kinds, which may name files and programs, none is taken from a job."""
    kind = info.get("type")
    try:
        if kind == "service_account":
            key: Credentials = google.oauth2.service_account.Credentials.from_service_account_info(info, scopes=SCOPES)
            return key
        if kind == "authorized_user" and is_file:
            user: Credentials = google.oauth2.credentials.Credentials.from_authorized_user_info(info, scopes=SCOPES)
            return user
    except (ValueError, TypeError, google.auth.exceptions.GoogleAuthError):
        # Without the library's words: they may quote the key.
        raise InvalidRequest(f"{source} is not a complete and well-formed {kind}") from None
    wanted = "a service account's key" + (" or a user's credentials" if is_file else "")
    raise InvalidRequest(
        f"{source} is not {wanted}; leave other kinds to the variable GOOGLE_APPLICATION_CREDENTIALS of every node"
    )


class Authorization:
    """Headers that show who asks; any thread.

    A token is renewed when less than ten minutes are left of it, so a new header is good for that long: tokens live for
    an hour at most, and one that is configured is taken as it is.
    """

    def __init__(self, credentials: Credentials, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._credentials = credentials
        self._now = now
        self._lock = threading.Lock()
        self._refreshed_at: datetime | None = None
        self._session = requests.Session()
        ask = google.auth.transport.requests.Request(self._session)
        self._ask = functools.partial(ask, timeout=_REFRESH_TIMEOUT_SECONDS)

    def headers(self) -> dict[str, str]:
        """Empty for the anonymous; raises GoogleAuthError when there is no token to be had."""
        with self._lock:
            if self._is_due():
                self._refresh()
            found: dict[str, str] = {}
            self._credentials.apply(found)
            return {name.title(): value for name, value in found.items()}

    def session(self) -> google.auth.transport.requests.AuthorizedSession:
        """For the client library; renews nothing by itself when it is refused, so that the service's words are kept."""
        return google.auth.transport.requests.AuthorizedSession(
            self._credentials, refresh_status_codes=(), auth_request=self._ask
        )

    @property
    def token(self) -> str:
        """The secret as it is now, empty for the anonymous."""
        return self._credentials.token or ""

    def close(self) -> None:
        """Let go of connections."""
        self._session.close()

    def _is_due(self) -> bool:
        if isinstance(self._credentials, google.auth.credentials.AnonymousCredentials):
            return False
        if not self._credentials.valid:
            return True
        if self._credentials.expiry is None:
            return False
        if self._credentials.expiry.replace(tzinfo=UTC) - self._now() > _EARLY:
            return False
        # Metadata services answer the same token until minutes before its end: they are not asked for every object.
        return self._refreshed_at is None or self._now() - self._refreshed_at > _PAUSE

    def _refresh(self) -> None:
        self._refreshed_at = self._now()
        try:
            self._credentials.refresh(self._ask)
            if not _TOKEN.fullmatch(self.token):
                # It would become more than one header.
                self._credentials.token = None
                raise google.auth.exceptions.RefreshError("malformed_token")
        except google.auth.exceptions.GoogleAuthError:
            if not self._credentials.valid:
                raise
