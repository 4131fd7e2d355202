"""What S3's clients are told when something is wrong: codes and statuses of S3, and which of ours become which; pure.

Writing the document is left to `documents`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from common.errors import (
    AccessDenied,
    BadChecksum,
    BucketExists,
    BucketNotFound,
    HaulError,
    InvalidName,
    MethodNotAllowed,
    ObjectNotFound,
    RequestError,
    RequestTooLarge,
    Retry,
    Unavailable,
)

_STATUS: Mapping[str, int] = {
    "AccessDenied": 403,
    "AmbiguousBucketName": 404,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InsufficientStorage": 507,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidURI": 400,
    "KeyTooLongError": 400,
    "MalformedTrailerError": 400,
    "MalformedXML": 400,
    "MaxMessageLengthExceeded": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NoSuchWebsiteConfiguration": 404,
    "NotImplemented": 501,
    "ObjectLockConfigurationNotFoundError": 404,
    "OwnershipControlsNotFoundError": 404,
    "PreconditionFailed": 412,
    "ReplicationConfigurationNotFoundError": 404,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServerSideEncryptionConfigurationNotFoundError": 404,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "XAmzContentSHA256Mismatch": 400,
}
"""Every code that is answered."""
_BY_STATUS: Mapping[int, str] = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    409: "ServiceUnavailable",
    412: "PreconditionFailed",
    413: "MaxMessageLengthExceeded",
    416: "InvalidRange",
    501: "NotImplemented",
    503: "ServiceUnavailable",
    507: "InsufficientStorage",
}
"""409 is NotOwner: where objects are has changed a moment ago, and trying again helps."""
_BY_TYPE: Mapping[type[HaulError], str] = {
    AccessDenied: "AccessDenied",
    BadChecksum: "BadDigest",
    BucketExists: "BucketAlreadyExists",
    BucketNotFound: "NoSuchBucket",
    InvalidName: "InvalidArgument",
    MethodNotAllowed: "MethodNotAllowed",
    ObjectNotFound: "NoSuchKey",
    RequestTooLarge: "MaxMessageLengthExceeded",
}
_BY_CODE: Mapping[str, str] = {
    "ErrBckNotFound": "NoSuchBucket",
    "ErrRemoteBckNotFound": "NoSuchBucket",
    "ErrBadCksum": "BadDigest",
    "errInvalidPath": "InvalidArgument",
}
"""By the code of a target's error, where its status does not say all."""


_PASSING = frozenset({"ServiceUnavailable", "InsufficientStorage", "RequestTimeout"})


class S3Error(RequestError):
    """An error with one of S3's codes; `details` are further elements of its document."""

    def __init__(self, code: str, message: str, details: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.details = tuple(details)
        self.status = _STATUS[code]
        self.retry = (
            Retry.LATER if code in ("ServiceUnavailable", "InsufficientStorage", "RequestTimeout") else Retry.NEVER
        )


def not_implemented(what: str) -> S3Error:
    """Something of S3 that is not offered."""
    return S3Error("NotImplemented", f"{what} is not implemented by this cluster")


def range_not_satisfiable(size_bytes: str) -> S3Error:
    """Of an object of that size; AWS's CRT takes an object of which nothing can be read for an empty one by it."""
    return S3Error("InvalidRange", "The requested range is not satisfiable", [("ActualObjectSize", size_bytes)])


def precondition_failed(reason: str = "") -> S3Error:
    """A condition does not hold; clients look for AWS's words."""
    message = "At least one of the pre-conditions you specified did not hold"
    return S3Error("PreconditionFailed", f"{message}: {reason}" if reason else message)


def as_s3(error: HaulError) -> S3Error:
    """One of our errors, as S3 would say it."""
    if isinstance(error, S3Error):
        return error
    if isinstance(error, Unavailable):
        return S3Error("ServiceUnavailable", f"{error.message}; please try again")
    for kind, code in _BY_TYPE.items():
        if isinstance(error, kind):
            return S3Error(code, error.message)
    return _by_code_and_status(error.code, error.status, error.message)


def of_target(status: int, body: bytes) -> S3Error:
    """An error that a target has answered with, in the dialect's JSON."""
    try:
        fields = json.loads(body)
        return _by_code_and_status(str(fields.get("tcode", "")), status, str(fields["message"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _by_code_and_status("", status, f"a target has answered {status}")


def _by_code_and_status(code: str, status: int, message: str) -> S3Error:
    found = _BY_CODE.get(code) or _BY_STATUS.get(status, "InternalError")
    return precondition_failed(message) if found == "PreconditionFailed" else S3Error(found, message)
