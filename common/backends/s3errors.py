"""What an error of boto3 means for the user: whose fault it is, what to do, and whether trying again helps; pure.

Texts are our own: those of botocore and of services may carry what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from common.backends.base import OriginUnavailable, RemoteBucketNotFound
from common.errors import AccessDenied, HaulError, InvalidRequest, ObjectNotFound, OriginError
from common.names import printable

_MAX_RETRY_AFTER_SECONDS = 300.0
_BUSY = frozenset(
    {"InternalError", "RequestLimitExceeded", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable"}
    | {"SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)
_BUSY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_NO_BUCKET = frozenset({"NoSuchBucket", "InvalidBucketName"})
_EXPIRED = "they have expired"
_REFUSED_KEYS = {
    "InvalidAccessKeyId": "their access key is not known there",
    "SignatureDoesNotMatch": "their secret key does not belong to their access key",
    "InvalidToken": "their session token is not valid",
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "RequestTimeTooSkewed": "the clock of this node differs from the service's by too much",
}
_OF_ANOTHER_REGION = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "301", "307"}
)
_WITHOUT_CREDENTIALS = (
    "CredentialRetrievalError",
    "LoginError",
    "MetadataRetrievalError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "RefreshWithMFAUnsupportedError",
    "SSOError",
    "TokenRetrievalError",
    "UnknownCredentialError",
)
_BAD_SETTINGS = (
    "ConfigNotFound",
    "ConfigParseError",
    "InvalidRegionError",
    "NoRegionError",
    "ProfileNotFound",
    "ParamValidationError",
    "UnknownRegionError",
)


class Asked(NamedTuple):
    """What was asked for: the object, if it was one, the service as people know it, and with whose credentials."""

    bucket: str
    service: str
    credentials: str
    name: str = ""
    version: str = ""

    @property
    def shown(self) -> str:
        name = f"/{printable(self.name)}" if self.name else ""
        return f"s3://{self.bucket}{name}"


def translated(error: Exception, asked: Asked) -> HaulError:
    """The error that a user understands."""
    from botocore import exceptions  # noqa: PLC0415 - an extra

    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, exceptions.ClientError):
        return _answered(error.response, asked)
    if not kinds.isdisjoint(_WITHOUT_CREDENTIALS):
        return AccessDenied(
            f"{asked.shown}: there are no credentials for {asked.service} from {asked.credentials} "
            f"({type(error).__name__}): give the job some, or the nodes (keys, a profile or anonymous = true "
            "in their backends_file)"
        )
    if not kinds.isdisjoint(_BAD_SETTINGS):
        return InvalidRequest(f"{asked.shown}: the request or the settings for S3 are not valid: {_what(error)}")
    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return OriginError(
            f"{asked.shown}: the certificate of {asked.service} cannot be verified; "
            "AWS_CA_BUNDLE names the file with its authority"
        )
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError | exceptions.IncompleteReadError):
        return OriginUnavailable(
            f"{asked.shown}: {asked.service} does not answer ({type(error).__name__}); try again later"
        )
    return OriginError(f"{asked.shown}: {asked.service} does not answer as S3 does ({type(error).__name__})")


def code_of(answer: Mapping[str, Any]) -> str:
    """The code of S3 for an error; where the answer had no body, its HTTP status."""
    return str(answer.get("Error", {}).get("Code", ""))


def status_of(answer: Mapping[str, Any]) -> int:
    """The HTTP status of an answer."""
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_busy(answer: Mapping[str, Any]) -> bool:
    """Whether the service wants to be asked later."""
    return code_of(answer) in _BUSY or status_of(answer) in _BUSY_STATUSES


def _answered(answer: Mapping[str, Any], asked: Asked) -> HaulError:
    code, status = code_of(answer), status_of(answer)
    shown = printable(code, 64)
    if is_busy(answer):
        return OriginUnavailable(
            f"{asked.shown}: {asked.service} is busy ({shown}); try again later",
            _retry_after_seconds(answer["ResponseMetadata"].get("HTTPHeaders", {}).get("retry-after", "")),
        )
    if code in _NO_BUCKET or (status == 404 and not asked.name):
        return RemoteBucketNotFound(f"bucket s3://{asked.bucket} does not exist at {asked.service}")
    if status in (404, 405) or (status == 400 and asked.version and code in ("400", "InvalidArgument")):
        version = f" in version {printable(asked.version, 64)}" if asked.version else ""
        return ObjectNotFound(f"{asked.shown} does not exist{version}")
    if code in _REFUSED_KEYS or status in (401, 403):
        return _denied(code, asked)
    if code in _OF_ANOTHER_REGION:
        return OriginError(f"{asked.shown}: the bucket is in another region than asked for ({shown}); set its region")
    return OriginError(f"{asked.shown}: {asked.service} answers {status or 'an error'} ({shown})")


def _denied(code: str, asked: Asked) -> AccessDenied:
    """The keys are at fault, or whoever they belong to may not do this."""
    shown = printable(code, 64)
    if code in _REFUSED_KEYS:
        return AccessDenied(
            f"{asked.shown}: {asked.service} refuses {asked.credentials}: {_REFUSED_KEYS[code]} ({shown})"
        )
    return AccessDenied(
        f"{asked.shown}: {asked.service} denies access to {asked.credentials} ({shown}): "
        "it needs others, or the right to list the bucket and to read its objects"
    )


def _what(error: Exception) -> str:
    """The text of an error about names of profiles, regions, files and parameters, none of which is a secret."""
    return printable(" ".join(str(error).split()))


def _retry_after_seconds(value: str) -> float | None:
    value = value.strip()
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
        return None
    return min(float(value), _MAX_RETRY_AFTER_SECONDS)
