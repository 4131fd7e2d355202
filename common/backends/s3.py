"""Buckets of S3, or of what speaks its API, through boto3; which of its errors means what is left to `s3errors`."""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from common.backends.base import (
    MAX_PAGE,
    Capabilities,
    ObjectPage,
    SourceObject,
    SourceRequest,
    missing_extra,
)
from common.backends.s3errors import Asked, code_of, is_busy, status_of, translated
from common.backends.settings import S3Settings
from common.errors import HaulError, InvalidRequest, OriginError, Unsupported
from common.expectation import HEX_LENGTHS

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_ATTEMPTS = 2
"""More are left to whoever asks: they can wait, and this blocks a thread."""
_URL_SECONDS = 6 * 3600
"""How long a signed URL is valid; one that is signed with temporary credentials no longer than these."""
_DIRECTORY_BUCKET = "--x-s3"
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
_PLAIN_MD5 = re.compile(r'"([0-9a-f]{32})"\Z')
_PARTS = re.compile(r'-[0-9]+"\Z', re.ASCII)
"""How the ETag of an object ends that was uploaded in parts."""
_CHECKSUMS = {
    "ChecksumSHA256": "sha256",
    "ChecksumSHA512": "sha512",
    "ChecksumSHA1": "sha1",
    "ChecksumMD5": "md5",
    "ChecksumCRC32C": "crc32c",
}


class S3Backend:
    """One bucket. The region of one of Amazon's is asked for when it is first needed: a URL is signed for a region.

    Listings tell no digests: whether an ETag is an MD5 depends on the encryption, which they do not tell.
    """

    def __init__(self, bucket: str, settings: S3Settings) -> None:
        try:
            import boto3  # noqa: PLC0415 - an extra
        except ImportError:
            raise missing_extra("S3 buckets", "s3") from None
        if bucket.endswith(_DIRECTORY_BUCKET):
            raise Unsupported(f"s3://{bucket}: directory buckets (S3 Express One Zone) are not supported")
        secret = settings.secret_access_key.get_secret_value()
        if bool(settings.access_key_id) != bool(secret):
            raise InvalidRequest(f"s3://{bucket}: access_key_id and secret_access_key need each other")
        if settings.session_token.get_secret_value() and not secret:
            raise InvalidRequest(f"s3://{bucket}: session_token needs access_key_id and secret_access_key")
        self.capabilities = Capabilities(has_versions=True)
        self._bucket = bucket
        self._settings = settings
        self._asked = Asked(bucket, _service(settings), _credentials(settings))
        self._payer = {"RequestPayer": "requester"} if settings.requester_pays else {}
        self._lock = threading.Lock()
        self._client: Any = None
        with self._understood():
            self._session = boto3.Session(
                aws_access_key_id=settings.access_key_id or None,
                aws_secret_access_key=secret or None,
                aws_session_token=settings.session_token.get_secret_value() or None,
                region_name=settings.region or None,
                profile_name=settings.profile or None,
            )

    def page(self, prefix: str = "", token: str = "", limit: int = MAX_PAGE) -> ObjectPage:
        going_on = {"ContinuationToken": token} if token else {}
        with self._understood():
            answer = self._connected().list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, MaxKeys=min(limit, MAX_PAGE), **going_on, **self._payer
            )
        following = answer.get("NextContinuationToken", "")
        # Otherwise the listing of a service that knows only the first version of this call, or is none, would be
        # taken for a whole one.
        if "IsTruncated" not in answer or bool(answer["IsTruncated"]) != bool(following):
            raise OriginError(f"{self._asked.shown}: {self._asked.service} does not list as S3 does (ListObjectsV2)")
        return ObjectPage([_listed(entry) for entry in answer.get("Contents", ())], following)

    def head(self, name: str, version: str = "") -> SourceObject:
        with self._understood(name, version):
            answer = self._looked_at(self._connected(), self._object(name, version))
        return SourceObject(
            name,
            answer["ContentLength"],
            answer.get("ETag", ""),
            answer.get("VersionId", ""),
            _unix_ns(answer),
            _digests(answer),
        )

    def request(self, name: str, version: str = "") -> SourceRequest:
        with self._understood(name, version):
            url = self._connected().generate_presigned_url(
                "get_object", Params=self._object(name, version), ExpiresIn=_URL_SECONDS
            )
        # botocore leaves these two in the headers, and signs that they are there.
        paid = (("x-amz-request-payer", "requester"),) if self._payer else ()
        return SourceRequest(url, (("x-amz-checksum-mode", "ENABLED"), *paid))

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _object(self, name: str, version: str) -> dict[str, str]:
        """What names an object, or a version of it, and asks for its checksums."""
        named = {"Bucket": self._bucket, "Key": name, "ChecksumMode": "ENABLED", **self._payer}
        return named | ({"VersionId": version} if version else {})

    def _looked_at(self, client: Any, named: Mapping[str, str]) -> Mapping[str, Any]:
        """The answer to a HEAD. Where it is an error it has no body that says why, so a listing is asked."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - an extra

        try:
            answer: Mapping[str, Any] = client.head_object(**named)
            return answer
        except ClientError as error:
            refusal = error
        if not is_busy(refusal.response):
            try:
                client.list_objects_v2(Bucket=self._bucket, MaxKeys=1, **self._payer)
            except ClientError as error:
                # Who may not list is told of a missing object nevertheless, by some.
                if status_of(refusal.response) != 404 or code_of(error.response) == "NoSuchBucket":
                    raise error from None
        raise refusal

    @contextmanager
    def _understood(self, name: str = "", version: str = "") -> Iterator[None]:
        """Errors of boto3 become those that a `Backend` raises."""
        try:
            yield
        except HaulError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's have no common root
            raise translated(error, self._asked._replace(name=name, version=version)) from None

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        if self._settings.endpoint:
            return self._open("path", self._settings.region)
        first = self._open("auto", self._settings.region)
        try:
            region = self._region_by(first)
            is_amazon = (urlsplit(first.meta.endpoint_url).hostname or "").endswith(_AMAZON)
        finally:
            first.close()
        # "auto" would sign URLs of a host for all regions, which newer regions do not know. An endpoint may also be in
        # the environment or in a profile.
        style = "virtual" if is_amazon else "auto"
        return self._open("path" if self._settings.path_style else style, region)

    def _region_by(self, client: Any) -> str:
        """Where the bucket is; also refusals tell that. Where nothing is told, the region of the settings."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - an extra

        try:
            answer = client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if is_busy(error.response):
                raise
            answer = error.response
        headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
        return str(headers.get("x-amz-bucket-region", self._settings.region))

    def _open(self, style: str, region: str) -> Any:
        from botocore import UNSIGNED  # noqa: PLC0415 - an extra
        from botocore.config import Config  # noqa: PLC0415

        return self._session.client(
            "s3",
            region_name=region or None,
            endpoint_url=self._settings.endpoint or None,
            config=Config(
                signature_version=UNSIGNED if self._settings.anonymous else "s3v4",
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_ANSWER_SECONDS,
                retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                s3={"addressing_style": style},
            ),
        )


def _service(settings: S3Settings) -> str:
    """The service as texts name it: an endpoint might have a password in it."""
    return urlsplit(settings.endpoint).netloc.rpartition("@")[2] or "S3"


def _credentials(settings: S3Settings) -> str:
    """Whose credentials are used, as texts name them; keys are not shown, as one may be in the place of another."""
    if settings.anonymous:
        return "anonymous readers"
    if settings.access_key_id:
        return "the access keys that were given"
    if settings.profile:
        return f'the profile "{settings.profile}"'
    return "the credentials of this node (its environment, default profile or role)"


def _listed(entry: Mapping[str, Any]) -> SourceObject:
    etag = entry.get("ETag", "")
    quoted = etag if not etag or etag.endswith('"') else f'"{etag}"'  # as the header has it
    return SourceObject(entry["Key"], entry["Size"], quoted, modified_ns=_unix_ns(entry))


def _unix_ns(answer: Mapping[str, Any]) -> int:
    """In whole seconds, which is all that a header tells."""
    return int(answer["LastModified"].timestamp()) * 1_000_000_000 if "LastModified" in answer else 0


def _digests(answer: Mapping[str, Any]) -> dict[str, str]:
    """Digests of a whole object: checksums that are not of parts, and the ETag where it is an MD5."""
    found: dict[str, str] = {}
    etag = answer.get("ETag", "")
    assumed = "COMPOSITE" if _PARTS.search(etag) else "FULL_OBJECT"
    is_of_whole = answer.get("ChecksumType", assumed) == "FULL_OBJECT"
    for field, algorithm in _CHECKSUMS.items() if is_of_whole else ():
        try:
            raw = base64.b64decode(answer.get(field, ""), validate=True)  # "…-3", of three parts, is no base64
        except (binascii.Error, ValueError):
            continue
        if len(raw) * 2 == HEX_LENGTHS[algorithm]:
            found[algorithm] = raw.hex()
    plain = _PLAIN_MD5.match(etag)
    is_of_content = (
        "x-amz-request-id" in answer["ResponseMetadata"].get("HTTPHeaders", {})
        and not answer.get("ServerSideEncryption", "").startswith("aws:")
        and "SSECustomerAlgorithm" not in answer
    )
    if plain and is_of_content:
        found.setdefault("md5", plain[1])
    return found
