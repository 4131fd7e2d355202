"""Buckets of S3, read from moto's server; Amazon's host names lead there, too, where they matter."""

import base64
import hashlib
import itertools
import json
import ssl
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import google_crc32c
import pytest

from common.backends.base import Backend, OriginUnavailable, RemoteBucketNotFound, SourceRequest
from common.backends.s3 import S3Backend
from common.backends.settings import S3Settings
from common.errors import AccessDenied, HaulError, InvalidRequest, ObjectNotFound, OriginError, Retry, Unsupported
from target.transfer.request import FetchError
from target.transfer.verification import known_digests
from tests.backends.amazon import Amazon
from tests.backends.contract import BackendContract, DenialContract, all_pages, fetch, names_of
from tests.backends.gateway import Gateway
from tests.backends.s3server import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, MotoS3
from tests.faults import Status
from tests.origin import Origin

CONTENT = bytes(range(256)) * 20


def settings_for(endpoint: str, **more: Any) -> S3Settings:
    keys = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}
    return S3Settings(**{"endpoint": endpoint, "region": REGION, **keys, **more})


def without_keys(endpoint: str, **more: Any) -> S3Settings:
    return settings_for(endpoint, access_key_id="", secret_access_key="", **more)


class S3Service:
    """moto's S3 as the contract uses it."""

    def __init__(self, s3: MotoS3) -> None:
        self.s3 = s3
        self.client = s3.client()
        self._numbers = itertools.count()

    def make_bucket(self) -> str:
        name = f"bucket-{next(self._numbers)}"
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        for name, body in objects.items():
            self.client.put_object(Bucket=bucket, Key=name, Body=body)

    def backend(self, bucket: str) -> Backend:
        return S3Backend(bucket, settings_for(self.s3.endpoint))

    def through(self, gateway: Gateway, bucket: str) -> Backend:
        return S3Backend(bucket, settings_for(gateway.url))

    def address(self) -> tuple[str, int]:
        return self.s3.host, self.s3.port


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials and settings but those of a test."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def service() -> Iterator[S3Service]:
    with MotoS3() as s3:
        yield S3Service(s3)


@pytest.fixture
def bucket(service: S3Service) -> str:
    return service.make_bucket()


def query_of(request: SourceRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


class TestS3(BackendContract):
    pass


class TestUnknownKeys(DenialContract):
    @pytest.fixture
    def denied(self, service: S3Service, bucket: str) -> Iterator[Backend]:
        with service.s3.enforcing():
            yield service.backend(bucket)


class TestUserWithoutRights(DenialContract):
    @pytest.fixture
    def denied(self, service: S3Service, bucket: str) -> Iterator[Backend]:
        keys = new_user(service.s3, bucket, {})
        with service.s3.enforcing():
            yield S3Backend(bucket, settings_for(service.s3.endpoint, **keys))


def new_user(s3: MotoS3, name: str, policy: Mapping[str, Any]) -> dict[str, str]:
    """Keys of a user who may do what a policy says; IAM does not check them."""
    iam = s3.client("iam")
    iam.create_user(UserName=name)
    if policy:
        iam.put_user_policy(UserName=name, PolicyName="one", PolicyDocument=json.dumps(policy))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return {"access_key_id": made["AccessKeyId"], "secret_access_key": made["SecretAccessKey"]}


# Credentials


def test_what_is_wrong_with_credentials_is_said_without_showing_them(service: S3Service, bucket: str) -> None:
    service.put(bucket, {"one": b"1"})
    keys = new_user(service.s3, bucket, {})
    wrong = {**keys, "secret_access_key": "canarySECRETcanary"}
    with service.s3.enforcing():
        refusals = {
            code: S3Backend(bucket, settings_for(service.s3.endpoint, **given))
            for code, given in (("AccessDenied", keys), ("SignatureDoesNotMatch", wrong), ("InvalidAccessKeyId", {}))
        }
        for code, backend in refusals.items():
            for ask in (backend.page, lambda backend=backend: backend.head("one")):
                with pytest.raises(AccessDenied, match=f"s3://{bucket}.*the access keys that were given.*{code}") as no:
                    ask()
                for secret in (*keys.values(), SECRET_ACCESS_KEY, ACCESS_KEY_ID):
                    assert secret not in str(no.value)
                    assert secret not in repr(backend)


def test_keys_with_the_right_to_read_are_enough(service: S3Service, bucket: str) -> None:
    service.put(bucket, {"one": CONTENT})
    allowed = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"}
    keys = new_user(service.s3, bucket, {"Version": "2012-10-17", "Statement": [allowed]})
    with service.s3.enforcing():
        backend = S3Backend(bucket, settings_for(service.s3.endpoint, **keys))
        assert names_of(backend) == ["one"]
        assert backend.head("one").size_bytes == len(CONTENT)


def test_without_any_credentials_it_says_where_to_give_some(service: S3Service, bucket: str) -> None:
    backend = S3Backend(bucket, without_keys(service.s3.endpoint))
    for ask in (backend.page, lambda: backend.head("one"), lambda: backend.request("one")):
        with pytest.raises(AccessDenied, match=r"no credentials .* profile .* backends_file"):
            ask()


def test_anonymous_readers_sign_nothing(service: S3Service, bucket: str) -> None:
    service.put(bucket, {"private": b"secret"})
    service.client.put_object(Bucket=bucket, Key="a+b c", Body=CONTENT, ACL="public-read")
    backend = S3Backend(bucket, without_keys(service.s3.endpoint, anonymous=True))
    assert names_of(backend) == ["a+b c", "private"]
    request = backend.request("a+b c")
    assert request.url == f"{service.s3.endpoint}/{bucket}/a%2Bb%20c"
    assert fetch(request)[0] == CONTENT
    with pytest.raises(FetchError, match="403"):
        fetch(backend.request("private"))


def test_anonymous_wins_over_credentials_of_the_node(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHENODE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canarySECRETcanary")
    assert query_of(S3Backend("bucket", without_keys(service.s3.endpoint, anonymous=True)).request("one")) == {}
    signed = S3Backend("bucket", without_keys(service.s3.endpoint)).request("one")
    assert query_of(signed)["X-Amz-Credential"].startswith("AKIAOFTHENODE/")


def test_given_keys_sign_and_win_over_those_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHENODE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canarySECRETcanary")
    backend = S3Backend("bucket", settings_for("http://minio.test:9000", session_token="token+of/a=session"))
    signed = query_of(backend.request("one"))
    assert signed["X-Amz-Credential"].split("/")[:1] == [ACCESS_KEY_ID]
    assert signed["X-Amz-Credential"].split("/")[2:] == [REGION, "s3", "aws4_request"]
    assert signed["X-Amz-Security-Token"] == "token+of/a=session"
    assert 3600 <= int(signed["X-Amz-Expires"]) <= 7 * 24 * 3600


def test_a_profile_is_found_where_boto3_looks(service: S3Service, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "aws-config").write_text(
        "[profile reader]\naws_access_key_id = AKIAOFPROFILE\naws_secret_access_key = canarySECRETcanary\n"
    )
    service.put(bucket, {"one": CONTENT})
    backend = S3Backend(bucket, without_keys(service.s3.endpoint, profile="reader"))
    assert names_of(backend) == ["one"]
    assert query_of(backend.request("one"))["X-Amz-Credential"].startswith("AKIAOFPROFILE/")
    assert fetch(backend.request("one"))[0] == CONTENT
    with service.s3.enforcing(), pytest.raises(AccessDenied, match='the profile "reader"'):
        backend.page()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"profile": "nobody"}, "nobody"),
        ({"access_key_id": "AKIA", "secret_access_key": ""}, "need each other"),
        ({"access_key_id": "", "secret_access_key": "canarySECRETcanary"}, "need each other"),
        (
            {"access_key_id": "", "secret_access_key": "", "session_token": "canarySECRETcanary"},
            "session_token needs",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(more: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        S3Backend("bucket", settings_for("http://127.0.0.1:1", **more))
    assert "SECRET" not in str(refused.value)


def test_a_region_that_is_none_is_refused(service: S3Service) -> None:
    with pytest.raises(InvalidRequest, match=r"s3://bucket.*no good"):
        S3Backend("bucket", settings_for(service.s3.endpoint, region="no good")).page()


def test_directory_buckets_are_refused() -> None:
    with pytest.raises(Unsupported, match="directory buckets"):
        S3Backend("bucket--use1-az4--x-s3", settings_for("http://127.0.0.1:1"))


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(Unsupported, match=r"haul\[s3\]"):
        S3Backend("bucket", S3Settings())


# Objects


def test_who_requests_and_pays_says_so_every_time() -> None:
    listing = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    with Origin() as origin:
        origin.put("/bucket", listing, content_type="application/xml")
        origin.put("/bucket/one", CONTENT)
        backend = S3Backend("bucket", settings_for(origin.base, requester_pays=True))
        backend.page()
        backend.head("one")
        assert [r.headers.get("x-amz-request-payer") for r in origin.requests] == ["requester", "requester"]
        request = backend.request("one")
        fetch(request)
        assert origin.requests[-1].headers["x-amz-request-payer"] == "requester"
    assert "x-amz-request-payer" in query_of(request)["X-Amz-SignedHeaders"].split(";")


def test_all_headers_that_are_signed_are_sent(service: S3Service, bucket: str) -> None:
    for pays in (False, True):
        request = S3Backend(bucket, settings_for(service.s3.endpoint, requester_pays=pays)).request("one", "v+1")
        signed = set(query_of(request)["X-Amz-SignedHeaders"].split(";")) - {"host"}
        assert signed == {name for name, _ in request.headers}
        assert query_of(request)["versionId"] == "v+1"


def test_a_version_stays_what_it_was(service: S3Service, bucket: str) -> None:
    enabled = {"Status": "Enabled"}
    service.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    service.put(bucket, {"one": b"first"})
    backend = service.backend(bucket)
    first = backend.head("one")
    service.put(bucket, {"one": b"the second"})
    second = backend.head("one")
    assert first.version
    assert first.version != second.version
    assert fetch(backend.request("one", first.version))[0] == b"first"
    assert fetch(backend.request("one"))[0] == b"the second"
    assert backend.head("one", first.version) == first
    marker = service.client.delete_object(Bucket=bucket, Key="one")["VersionId"]
    for version in ("", marker, "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(ObjectNotFound, match=f"s3://{bucket}/one does not exist.*{version}"):
            backend.head("one", version)


def test_checksums_are_told_by_a_look_and_by_the_answer_to_a_signed_request(service: S3Service, bucket: str) -> None:
    crc32c = google_crc32c.value(CONTENT).to_bytes(4, "big")
    digests = {
        "SHA256": {"sha256": hashlib.sha256(CONTENT).hexdigest()},
        "SHA1": {"sha1": hashlib.sha1(CONTENT).hexdigest()},
        "CRC32C": {"crc32c": crc32c.hex()},
        "CRC32": {},
    }
    for algorithm in digests:
        given = {"ChecksumCRC32C": base64.b64encode(crc32c).decode()} if algorithm == "CRC32C" else {}
        service.client.put_object(Bucket=bucket, Key=algorithm, Body=CONTENT, ChecksumAlgorithm=algorithm, **given)
    backend = service.backend(bucket)
    for name, expected in digests.items():
        assert backend.head(name).digests == expected
        assert known_digests(fetch(backend.request(name))[1]) == expected
    assert all(found.digests == {} for page in all_pages(backend) for found in page)


def test_checksums_of_parts_are_no_digests(service: S3Service, bucket: str) -> None:
    part = bytes(5 << 20)
    upload = service.client.create_multipart_upload(Bucket=bucket, Key="parts", ChecksumAlgorithm="SHA256")["UploadId"]
    named = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    parts = []
    for number in (1, 2):
        made = service.client.upload_part(**named, PartNumber=number, Body=part, ChecksumAlgorithm="SHA256")
        parts.append({"PartNumber": number, "ETag": made["ETag"], "ChecksumSHA256": made["ChecksumSHA256"]})
    service.client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    backend = service.backend(bucket)
    looked = backend.head("parts")
    body, head = fetch(backend.request("parts"))
    assert looked.etag == head.etag
    assert looked.etag.endswith('-2"')
    assert body == part * 2
    assert head.headers["x-amz-checksum-sha256"]
    assert looked.digests == known_digests(head) == {}


@pytest.mark.parametrize(
    ("headers", "algorithms"),
    [
        ({"x_amz_request_id": "1"}, {"md5"}),
        ({"x_amz_request_id": "1", "x_amz_server_side_encryption": "AES256"}, {"md5"}),
        ({"x_amz_request_id": "1", "x_amz_server_side_encryption": "aws:kms"}, set()),
        ({"x_amz_request_id": "1", "x_amz_server_side_encryption": "aws:kms:dsse"}, set()),
        ({"x_amz_request_id": "1", "x_amz_server_side_encryption_customer_algorithm": "AES256"}, set()),
        ({}, set()),
        ({"x_amz_checksum_sha256": "short"}, set()),
        ({"x_amz_checksum_sha256": "{sha256}"}, {"sha256"}),
        ({"x_amz_checksum_sha256": "{sha256}-3"}, set()),
        ({"x_amz_checksum_sha256": "{sha256}", "x_amz_checksum_type": "COMPOSITE"}, set()),
        ({"x_amz_checksum_sha256": "{sha256}", "x_amz_checksum_type": "FULL_OBJECT"}, {"sha256"}),
    ],
)
def test_a_look_claims_no_digest_that_it_cannot_know(headers: dict[str, str], algorithms: set[str]) -> None:
    encoded = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    given = {name: value.replace("{sha256}", encoded) for name, value in headers.items()}
    with Origin() as origin:
        origin.put("/bucket/one", CONTENT, etag=f'"{hashlib.md5(CONTENT).hexdigest()}"', **given)
        backend = S3Backend("bucket", settings_for(origin.base))
        digests = backend.head("one").digests
        assert known_digests(fetch(backend.request("one"))[1]) == digests
    assert digests.keys() == algorithms
    for algorithm, digest in digests.items():
        assert digest == hashlib.new(algorithm, CONTENT).hexdigest()


def test_names_that_only_encoded_listings_can_tell(service: S3Service, bucket: str) -> None:
    names = ["control\x01\x1f", "tab\t", "back\\slash", "<xml>&amp;", "//two", "/first", "plus+and space", "%2F"]
    service.put(bucket, {name: name.encode() for name in names})
    backend = service.backend(bucket)
    assert sorted(names_of(backend, limit=3)) == sorted(names)
    for name in names:
        assert backend.head(name).size_bytes == len(name.encode()), name


def test_many_threads_share_a_backend(service: S3Service, bucket: str) -> None:
    names = [f"object-{number}" for number in range(40)]
    service.put(bucket, {name: name.encode() for name in names})
    backend = service.backend(bucket)
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(backend.head, names))
        requests = list(pool.map(backend.request, names))
    assert [head.name for head in heads] == names
    assert [urlsplit(request.url).path for request in requests] == [f"/{bucket}/{name}" for name in names]
    backend.close()
    backend.close()


# What a service answers


def xml(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>canarySECRETcanary</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "error", "retry", "says"),
    [
        (404, "NoSuchBucket", RemoteBucketNotFound, Retry.NEVER, "bucket s3://bucket does not exist"),
        (404, "", RemoteBucketNotFound, Retry.NEVER, "bucket s3://bucket does not exist"),
        (400, "InvalidBucketName", RemoteBucketNotFound, Retry.NEVER, "bucket s3://bucket does not exist"),
        (403, "AllAccessDisabled", AccessDenied, Retry.NEVER, "AllAccessDisabled.*right to list"),
        (401, "", AccessDenied, Retry.NEVER, "right to list"),
        (400, "ExpiredToken", AccessDenied, Retry.NEVER, "expired"),
        (403, "RequestTimeTooSkewed", AccessDenied, Retry.NEVER, "clock"),
        (429, "", OriginUnavailable, Retry.LATER, "busy"),
        (503, "SlowDown", OriginUnavailable, Retry.LATER, "SlowDown"),
        (500, "InternalError", OriginUnavailable, Retry.LATER, "InternalError"),
        (400, "RequestTimeout", OriginUnavailable, Retry.LATER, "RequestTimeout"),
        (400, "IllegalLocationConstraintException", OriginError, Retry.NEVER, "region"),
        (400, "InvalidArgument", OriginError, Retry.NEVER, "InvalidArgument"),
        (501, "NotImplemented", OriginError, Retry.NEVER, "501"),
    ],
)
def test_errors_say_whose_fault_it_is_and_whether_to_come_back(
    status: int, code: str, error: type[HaulError], retry: Retry, says: str
) -> None:
    with Origin() as origin:
        origin.misbehave("/bucket", Status(status, {}, xml(code) if code else b""), lasting=True)
        with pytest.raises(error, match=f"s3://bucket.*{says}|{says}") as raised:
            S3Backend("bucket", settings_for(origin.base)).page()
        shown = origin.base.removeprefix("http://")
    assert type(raised.value) is error
    assert raised.value.retry is retry
    assert shown in str(raised.value) or "region" in says
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("100000", 300.0), ("soon", None), ("-1", None), ("", None)]
)
def test_a_busy_service_says_when_to_come_back(value: str, seconds: float | None) -> None:
    with Origin() as origin:
        origin.misbehave("/bucket", Status(503, {"Retry-After": value}, xml("SlowDown")), lasting=True)
        with pytest.raises(OriginUnavailable) as busy:
            S3Backend("bucket", settings_for(origin.base)).page()
        assert origin.count("/bucket") == 2
    assert busy.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html><body>Welcome!</body></html>", "does not list as S3 does"),
        (b"", "does not list as S3 does"),
        # the first version of the call, which goes on by a name
        (
            b"<ListBucketResult><IsTruncated>true</IsTruncated><NextMarker>b</NextMarker></ListBucketResult>",
            "does not list as S3 does",
        ),
        # for botocore, a listing that broke off
        (b"Welcome!", "try again later"),
        (b"<ListBucketResult><IsTruncated>false</IsTr", "try again later"),
    ],
)
def test_what_is_no_listing_is_not_taken_for_an_empty_one(body: bytes, says: str) -> None:
    with Origin() as origin:
        origin.put("/bucket", body, content_type="application/xml")
        with pytest.raises(OriginError, match=says):
            S3Backend("bucket", settings_for(origin.base)).page()


def test_a_missing_object_is_told_from_a_missing_bucket_by_a_look_too(service: S3Service, bucket: str) -> None:
    with pytest.raises(ObjectNotFound, match=f"s3://{bucket}/a b does not exist"):
        service.backend(bucket).head("a b")
    with pytest.raises(RemoteBucketNotFound, match=f"s3://{bucket}-missing"):
        service.backend(f"{bucket}-missing").head("a b")


def test_who_may_read_but_not_list_learns_that_an_object_is_missing() -> None:
    with Origin() as origin:
        origin.misbehave("/bucket", Status(403, {}, xml("AccessDenied")), lasting=True)
        with pytest.raises(ObjectNotFound, match="s3://bucket/one"):
            S3Backend("bucket", settings_for(origin.base)).head("one")


def test_an_expired_token_is_told_by_a_look_too() -> None:
    with Origin() as origin:
        origin.misbehave("/bucket/one", Status(400, {}, b""), lasting=True)
        origin.misbehave("/bucket", Status(400, {}, xml("ExpiredToken")), lasting=True)
        with pytest.raises(AccessDenied, match=r"s3://bucket/one.*expired"):
            S3Backend("bucket", settings_for(origin.base)).head("one")


def test_a_name_that_is_none_is_refused() -> None:
    backend = S3Backend("bucket", settings_for("http://127.0.0.1:1"))
    for ask in (backend.head, backend.request):
        with pytest.raises(InvalidRequest, match="Key"):
            ask("")


def test_a_password_in_the_endpoint_is_not_shown() -> None:
    backend = S3Backend("bucket", settings_for("http://user:canarySECRETcanary@127.0.0.1:1"))
    with pytest.raises(OriginUnavailable, match=r"127\.0\.0\.1:1 does not answer") as raised:
        backend.page()
    assert "SECRET" not in str(raised.value)


# Amazon


@pytest.fixture
def amazon(service: S3Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    with Amazon(tmp_path, service.address(), ["us-east-1", "eu-south-1"]) as amazon:
        for name, value in amazon.environment.items():
            monkeypatch.setenv(name, value)
        yield amazon


def fetched_through(amazon: Amazon, request: SourceRequest) -> bytes:
    trusted = ssl.create_default_context(cafile=amazon.environment["AWS_CA_BUNDLE"])
    with urlopen(Request(request.url, headers=dict(request.headers)), context=trusted) as answer:
        body: bytes = answer.read()
        return body


@pytest.mark.parametrize("region", ["", "us-east-1", "eu-south-1"])
def test_urls_are_signed_for_the_region_and_the_host_of_the_bucket(
    service: S3Service, amazon: Amazon, region: str
) -> None:
    name = f"south-{region or 'none'}"
    service.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-south-1"})
    service.put(name, {"a b": CONTENT})
    backend = S3Backend(name, settings_for("", region=region))
    request = backend.request("a b")
    assert query_of(request)["X-Amz-Credential"].split("/")[2] == "eu-south-1"
    assert urlsplit(request.url).hostname == f"{name}.s3.eu-south-1.amazonaws.com"
    assert len(amazon.hosts) == 1
    assert fetched_through(amazon, request) == CONTENT
    backend.request("another")
    assert names_of(backend) == ["a b"]
    assert amazon.hosts[1:] == [f"{name}.s3.eu-south-1.amazonaws.com"] * 2
    assert (
        S3Backend(name, settings_for("", region=region, path_style=True))
        .request("a")
        .url.startswith(f"https://s3.eu-south-1.amazonaws.com/{name}/a?")
    )


def test_a_name_with_dots_is_no_part_of_the_host(service: S3Service, amazon: Amazon) -> None:
    south = {"LocationConstraint": "eu-south-1"}
    service.client.create_bucket(Bucket="with.dots.in", CreateBucketConfiguration=south)
    service.put("with.dots.in", {"one": CONTENT})
    backend = S3Backend("with.dots.in", settings_for(""))
    assert names_of(backend) == ["one"]
    request = backend.request("one")
    assert urlsplit(request.url).hostname == "s3.eu-south-1.amazonaws.com"
    assert fetched_through(amazon, request) == CONTENT


def test_a_bucket_that_is_missing_there_is_told_when_it_is_listed(amazon: Amazon) -> None:
    backend = S3Backend("missing-there", settings_for("", region="eu-south-1"))
    with pytest.raises(RemoteBucketNotFound, match=r"s3://missing-there .* at S3"):
        backend.page()
    assert amazon.hosts


def test_a_certificate_of_somebody_else_is_refused_for_good(amazon: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    backend = S3Backend("bucket", settings_for(""))
    with pytest.raises(OriginError, match=r"certificate .* AWS_CA_BUNDLE") as raised:
        backend.page()
    assert raised.value.retry is Retry.NEVER


def test_an_endpoint_of_the_environment_is_used(
    service: S3Service, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", service.s3.endpoint)
    service.put(bucket, {"one": CONTENT})
    backend = S3Backend(bucket, settings_for(""))
    assert names_of(backend) == ["one"]
    assert fetch(backend.request("one"))[0] == CONTENT
