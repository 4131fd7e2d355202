"""What went wrong at Google Cloud Storage, in Haul's words: errors of its libraries become those of backends.

Imported only where the libraries are installed.
"""

from __future__ import annotations

import re

import google.api_core.exceptions
import google.auth.exceptions
import requests
from google.api_core.retry import Retry

from common.backends.base import OriginUnavailable, RemoteBucketNotFound
from common.errors import AccessDenied, HaulError, ObjectNotFound, OriginError
from common.names import printable

FAILURES = (
    google.api_core.exceptions.GoogleAPIError,
    google.auth.exceptions.GoogleAuthError,
    requests.RequestException,
    # What the library stumbles over in answers that are not those of Google Cloud Storage.
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
)
"""What the client library may raise."""
_BUSY = frozenset({408, 429})
_OAUTH_CODE = re.compile(r"[a-z_]{1,40}(?=:|$)")
_WHOLE_SECONDS = re.compile(r"\d{1,6}\Z", re.ASCII)
_NO_BUCKET = "bucket does not exist"
_RETRY_SECONDS = 3.0


def failure(error: BaseException, bucket: str, name: str = "", token: str = "") -> HaulError:
    """The error to raise for one of FAILURES that came when a bucket was listed, or the object `name` looked at.

    `token` is not shown, should a service have quoted it.
    """
    what = f"gs://{bucket}/{name}" if name else f"gs://{bucket}"
    if isinstance(error, google.api_core.exceptions.RetryError) and error.cause is not None:
        return failure(error.cause, bucket, name, token)
    if isinstance(error, google.api_core.exceptions.GoogleAPICallError) and error.code:
        return _answered(error, int(error.code), bucket, name, token)
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        return _unauthenticated(error, what)
    if isinstance(error, requests.JSONDecodeError):
        return OriginError(f"{what}: the answer is not that of Google Cloud Storage")
    if isinstance(error, requests.RequestException):
        return OriginUnavailable(f"{what}: the service does not answer ({type(error).__name__}); try again later")
    return OriginError(f"{what}: the answer is not that of Google Cloud Storage ({type(error).__name__})")


def patience() -> Retry:
    """Has the client library try again for a few seconds, but not what asks to be left alone for longer."""

    def is_transient(error: Exception) -> bool:
        found = failure(error, "")
        return isinstance(found, OriginUnavailable) and found.retry_after_seconds is None

    return Retry(predicate=is_transient, initial=0.2, maximum=1.0, multiplier=2.0, timeout=_RETRY_SECONDS)


def _answered(
    error: google.api_core.exceptions.GoogleAPICallError, status: int, bucket: str, name: str, token: str
) -> HaulError:
    what = f"gs://{bucket}/{name}" if name else f"gs://{bucket}"
    said = str(error.message).rpartition("prettyPrint=false: ")[2].strip()
    said = printable(said.replace(token, "***") if token else said, 300)
    if status == 404:
        if not name or _NO_BUCKET in said:
            return RemoteBucketNotFound(f"bucket gs://{bucket} does not exist")
        return ObjectNotFound(f"{what} does not exist")
    if status in (401, 403):
        return AccessDenied(
            f"{what}: access denied ({status}: {said}); configure other credentials, or give these the role "
            "Storage Object Viewer"
        )
    if status in _BUSY or status >= 500:
        return OriginUnavailable(f"{what}: the service is busy ({status}); try again later", _retry_after(error))
    return OriginError(f"{what}: the service answers {status}: {said}")


def _unauthenticated(error: google.auth.exceptions.GoogleAuthError, what: str) -> HaulError:
    """Without the library's words, but for the code: whoever gives out tokens may say anything, and quote secrets."""
    if isinstance(error, google.auth.exceptions.DefaultCredentialsError):
        return AccessDenied(
            f"{what}: this node has no usable credentials for Google Cloud Storage; configure some in the section [gs] "
            "of its backends_file, or anonymous = true for public buckets"
        )
    if error.retryable or isinstance(error, google.auth.exceptions.TransportError):
        return OriginUnavailable(f"{what}: whoever gives out tokens does not answer; try again later")
    code = _OAUTH_CODE.match(str(error.args[0])) if error.args else None
    reason = f" ({code[0]})" if code else ""
    return AccessDenied(
        f"{what}: these credentials give no new token{reason}; they are wrong, revoked or expired: configure others"
    )


def _retry_after(error: google.api_core.exceptions.GoogleAPICallError) -> float | None:
    value = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    return float(value) if _WHOLE_SECONDS.match(value) else None
