"""AWS's Signature Version 4, in headers and in presigned URLs: who has signed a request, and whether rightly; pure.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)". The signatures of a body's chunks are left to
`chunked`, which goes on from what is found here; that the body has the signed hash, to `bodies`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from common.names import printable
from proxy.s3.errors import S3Error
from proxy.s3.request import S3Request

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
_SKEW: Final = timedelta(minutes=15)
_MAX_EXPIRES_SECONDS: Final = 7 * 24 * 3600
_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
_TIMESTAMP: Final = re.compile(r"\d{8}T\d{6}Z\Z")
_SPACES: Final = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Signed:
    """Who has signed, and what the signatures of chunks go on from; no `access_key` when nobody is asked."""

    access_key: str = ""
    signature: str = ""
    timestamp: str = ""
    scope: str = ""
    signing_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says about its signature."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def verify(request: S3Request, secrets: Mapping[str, str], now: datetime) -> Signed:
    """Raise S3Error unless the request is signed with one of the keys, at about this time."""
    is_query = "X-Amz-Algorithm" in request.query
    authorization = request.header("authorization")
    if is_query and authorization:
        raise S3Error("InvalidArgument", "Only one auth mechanism allowed: a header or a presigned URL")
    if is_query:
        claim = _claim_of_query(request)
        payload = request.header("x-amz-content-sha256") or UNSIGNED
        _check_expiry(request, claim, now)
    else:
        claim = _claim_of_header(request, authorization)
        payload = _signed_payload(request)
        _check_skew(claim, now)
    _check_signed_headers(request, claim)
    secret = secrets.get(claim.access_key)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", "The AWS access key Id you provided does not exist in our records.")
    key = signing_key(secret, claim.date, claim.region, claim.service)
    canonical = canonical_request(request, claim.signed_headers, payload, is_query=is_query)
    expected = sign(key, string_to_sign(canonical, claim.timestamp, claim.scope))
    if not hmac.compare_digest(expected, claim.signature):
        raise S3Error(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
        )
    return Signed(claim.access_key, claim.signature, claim.timestamp, claim.scope, key)


def canonical_request(
    request: S3Request, signed_headers: tuple[str, ...], payload: str, *, is_query: bool = False
) -> str:
    """The request in the form that is signed."""
    headers = "".join(f"{name}:{_SPACES.sub(' ', request.header(name).strip())}\n" for name in signed_headers)
    return "\n".join(
        (
            request.method,
            quote(unquote_to_bytes(request.raw_path), safe="/-_.~"),
            _canonical_query(request.raw_query, without_signature=is_query),
            headers,
            ";".join(signed_headers),
            payload,
        )
    )


def string_to_sign(canonical: str, timestamp: str, scope: str) -> str:
    """What the key is applied to."""
    digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


@lru_cache(maxsize=256)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    """A signature, in hex."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def _canonical_query(raw: str, *, without_signature: bool) -> str:
    pairs = []
    for part in raw.split("&") if raw else ():
        if not part:
            continue
        key, _, value = part.partition("=")
        pair = tuple(quote(unquote_to_bytes(text), safe="-_.~") for text in (key, value))
        if not (without_signature and pair[0] == "X-Amz-Signature"):
            pairs.append(pair)
    return "&".join(f"{key}={value}" for key, value in sorted(pairs))


def _claim_of_header(request: S3Request, authorization: str) -> _Claim:
    if not authorization and "Signature" in request.query:
        raise S3Error(
            "InvalidRequest",
            "URLs presigned by Signature Version 2 are not accepted. Please use AWS4-HMAC-SHA256 "
            '(boto3: Config(signature_version="s3v4")).',
        )
    if not authorization:
        raise S3Error("AccessDenied", "Access Denied: the request is not signed, and this cluster wants it to be")
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise S3Error(
            "InvalidRequest",
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
        )
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    timestamp = request.header("x-amz-date") or _timestamp_of_date(request.header("date"))
    if not timestamp:
        raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    return _claim(fields, timestamp, "AuthorizationHeaderMalformed", ("Credential", "SignedHeaders", "Signature"))


def _claim_of_query(request: S3Request) -> _Claim:
    code = "AuthorizationQueryParametersError"
    if request.query["X-Amz-Algorithm"] != ALGORITHM:
        raise S3Error(code, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    names = ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature")
    return _claim(request.query, request.query.get("X-Amz-Date", ""), code, names)


def _claim(fields: Mapping[str, str], timestamp: str, code: str, names: tuple[str, str, str]) -> _Claim:
    for name in names:
        if not fields.get(name):
            raise S3Error(code, f"the authorization is malformed: {name} is missing")
    parts = fields[names[0]].rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise S3Error(
            code,
            f'the authorization is malformed: the credential "{printable(fields[names[0]])}" must be '
            '"ACCESS-KEY/DATE/REGION/SERVICE/aws4_request"',
        )
    access_key, date, region, service, _ = parts
    if not _TIMESTAMP.match(timestamp) or not timestamp.startswith(date):
        raise S3Error(code, "the authorization is malformed: its date must be YYYYMMDDTHHMMSSZ, and the credential's")
    if service != "s3":
        raise S3Error(code, f'the authorization is malformed: incorrect service "{printable(service)}", expecting "s3"')
    signature = fields[names[2]]
    if not _HEX.match(signature):
        raise S3Error(code, f"the authorization is malformed: {names[2]} must have 64 hex digits")
    headers = tuple(sorted({name.lower() for name in fields[names[1]].split(";")}))
    return _Claim(access_key, date, region, service, headers, signature, timestamp)


def _timestamp_of_date(text: str) -> str:
    if _TIMESTAMP.match(text):
        return text
    try:
        return parsedate_to_datetime(text).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError):
        return ""


def _time_of(timestamp: str, code: str) -> datetime:
    try:
        return datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise S3Error(code, f"the authorization is malformed: there is no date {timestamp}") from None


def _check_skew(claim: _Claim, now: datetime) -> None:
    if abs(_time_of(claim.timestamp, "AuthorizationHeaderMalformed") - now) > _SKEW:
        raise S3Error(
            "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
        )


def _check_expiry(request: S3Request, claim: _Claim, now: datetime) -> None:
    code = "AuthorizationQueryParametersError"
    text = request.query.get("X-Amz-Expires", "")
    if not text.isdecimal() or len(text) > 9 or not 0 < int(text) <= _MAX_EXPIRES_SECONDS:
        raise S3Error(code, f"X-Amz-Expires must be a number of seconds, at most {_MAX_EXPIRES_SECONDS}")
    signed_at = _time_of(claim.timestamp, code)
    if signed_at - now > _SKEW:
        raise S3Error("AccessDenied", "Request is not valid yet")
    if now > signed_at + timedelta(seconds=int(text)):
        raise S3Error("AccessDenied", "Request has expired")


def _check_signed_headers(request: S3Request, claim: _Claim) -> None:
    missing = [
        name
        for name in request.headers
        if (name == "host" or name.startswith("x-amz-")) and name not in claim.signed_headers
    ]
    if missing:
        raise S3Error(
            "AccessDenied", f"There were headers present in the request which were not signed: {', '.join(missing)}"
        )


def _signed_payload(request: S3Request) -> str:
    payload = request.header("x-amz-content-sha256")
    if payload:
        return payload
    if request.size_bytes or "transfer-encoding" in request.headers:
        raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    return EMPTY_SHA256
