"""Signature Version 4 against AWS's published examples and against what botocore signs; and what must be refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.s3.errors import S3Error
from proxy.s3.request import S3Request, parse
from proxy.s3.signature import EMPTY_SHA256, verify

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SECRETS = {ACCESS_KEY: SECRET}
THEN = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"
DOMAINS = ("s3.amazonaws.com",)


def request_of(method: str, target: str, headers: Mapping[str, str]) -> S3Request:
    path, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "method": method,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    return parse(scope, is_mounted=False, domains=DOMAINS)


def authorization(signed_headers: str, signature: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={signed_headers},Signature={signature}"
    )


PLAIN = "host;x-amz-content-sha256;x-amz-date"
PUBLISHED = [
    (
        "GET",
        "/test.txt",
        {"Range": "bytes=0-9"},
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    (
        "PUT",
        "/test%24file.text",
        {
            "Date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
            "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        },
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    ("GET", "/?lifecycle", {}, PLAIN, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    ("GET", "/?max-keys=2&prefix=J", {}, PLAIN, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
]


@pytest.mark.parametrize(("method", "target", "headers", "signed", "signature"), PUBLISHED)
def test_aws_examples_verify(method: str, target: str, headers: dict[str, str], signed: str, signature: str) -> None:
    given_headers = {
        "Host": HOST,
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": EMPTY_SHA256,
        **headers,
        "Authorization": authorization(signed, signature),
    }
    found = verify(request_of(method, target, given_headers), SECRETS, THEN)
    assert found.access_key == ACCESS_KEY
    assert found.scope == "20130524/us-east-1/s3/aws4_request"


PRESIGNED = (
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3"
    "%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)


def test_the_presigned_example_verifies_until_it_expires() -> None:
    request = request_of("GET", PRESIGNED, {"Host": HOST})
    assert verify(request, SECRETS, THEN).access_key == ACCESS_KEY
    assert verify(request, SECRETS, THEN + timedelta(seconds=86400)).access_key == ACCESS_KEY
    for wrong_time in (THEN + timedelta(seconds=86401), THEN - timedelta(minutes=16)):
        with pytest.raises(S3Error) as refused:
            verify(request, SECRETS, wrong_time)
        assert refused.value.code == "AccessDenied"


def botocore_signed(method: str, url: str, headers: Mapping[str, str] | None = None) -> tuple[S3Request, datetime]:
    request = AWSRequest(method=method, url=url, headers=dict(headers or {}))
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET), "s3", "eu-central-1").add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    signed = {**{k: v if isinstance(v, str) else v.decode() for k, v in prepared.headers.items()}, "Host": parts.netloc}
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return request_of(method, target, signed), datetime.now(UTC)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=24)


@given(key=TEXT, prefix=TEXT, value=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
@settings(max_examples=100, deadline=None)
def test_what_botocore_signs_verifies(key: str, prefix: str, value: str) -> None:
    url = f"http://127.0.0.1:8080/s3/bucket/{quote(key, safe='/~')}?prefix={quote(prefix, safe='-_.~')}&uploads="
    request, now = botocore_signed("PUT", url, {"x-amz-meta-note": f"a  b {value}"})
    assert verify(request, SECRETS, now).access_key == ACCESS_KEY
    assert request.query["prefix"] == prefix


def test_what_botocore_presigns_verifies() -> None:
    request = AWSRequest(method="PUT", url="http://127.0.0.1/bucket/a%20key", headers={"Content-Type": "text/plain"})
    S3SigV4QueryAuth(Credentials(ACCESS_KEY, SECRET), "s3", "us-east-1", expires=60).add_auth(request)
    parts = urlsplit(request.url)
    headers = {"Host": "127.0.0.1", "Content-Type": "text/plain"}
    found = verify(request_of("PUT", f"{parts.path}?{parts.query}", headers), SECRETS, datetime.now(UTC))
    assert found.access_key == ACCESS_KEY


def changed(**changes: str) -> S3Request:
    """The first published example, with other headers; an empty one is left out."""
    headers = {
        "host": HOST,
        "range": "bytes=0-9",
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": EMPTY_SHA256,
        "authorization": authorization(PUBLISHED[0][3], PUBLISHED[0][4]),
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return request_of("GET", "/test.txt", {name: value for name, value in headers.items() if value})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"range": "bytes=0-10"}, "SignatureDoesNotMatch"),
        ({"host": "other.s3.amazonaws.com"}, "SignatureDoesNotMatch"),
        ({"x_amz_content_sha256": "UNSIGNED-PAYLOAD"}, "SignatureDoesNotMatch"),
        ({"authorization": ""}, "AccessDenied"),
        ({"authorization": "AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg="}, "InvalidRequest"),
        ({"authorization": "AWS4-HMAC-SHA256 nonsense"}, "AuthorizationHeaderMalformed"),
        ({"authorization": authorization(PLAIN, "f" * 64).replace("/s3/", "/ec2/")}, "AuthorizationHeaderMalformed"),
        ({"authorization": authorization(PLAIN, "f" * 63)}, "AuthorizationHeaderMalformed"),
        ({"authorization": authorization(PLAIN, "f" * 64).replace(ACCESS_KEY, "SOMEBODY")}, "InvalidAccessKeyId"),
        ({"x_amz_meta_added": "later"}, "AccessDenied"),
        ({"x_amz_date": "20130524T001600Z"}, "RequestTimeTooSkewed"),
        ({"x_amz_date": "20130532T000000Z"}, "AuthorizationHeaderMalformed"),
        ({"x_amz_date": ""}, "AccessDenied"),
    ],
)
def test_what_is_wrong_is_refused_with_the_code_of_s3(changes: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as refused:
        verify(changed(**changes), SECRETS, THEN)
    assert refused.value.code == code


def test_a_presigned_url_cannot_be_changed() -> None:
    for old, new, code in [
        ("/test.txt", "/other.txt", "SignatureDoesNotMatch"),
        ("Expires=86400", "Expires=86401", "SignatureDoesNotMatch"),
        ("Expires=86400", "Expires=604801", "AuthorizationQueryParametersError"),
        ("Expires=86400", "Expires=", "AuthorizationQueryParametersError"),
        ("&X-Amz-SignedHeaders=host", "", "AuthorizationQueryParametersError"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "AuthorizationQueryParametersError"),
    ]:
        with pytest.raises(S3Error) as refused:
            verify(request_of("GET", PRESIGNED.replace(old, new), {"Host": HOST}), SECRETS, THEN)
        assert refused.value.code == code, (old, new)
