"""The S3 API by plain HTTP: who is let in, bodies that are not what they claim, and what has no right answer."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from common.access import Permission
from proxy.s3.crc64 import Crc64Nvme
from proxy.s3.signature import Signed, sign, signing_key
from tests.actions.acting import copy, ended
from tests.s3.service import ACCESS_KEY, SECRET_KEY, Service, new_bucket
from tests.waiting import wait_for

MIB = 1 << 20
NO_RECURSION = str(1 << 11)


@pytest.fixture
def bucket(haul: Service) -> str:
    return new_bucket(haul.client())


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


def signed_headers(method: str, url: str, headers: Mapping[str, str], payload: str) -> dict[str, str]:
    """The headers of a request whose body is described by `payload` alone."""

    class Auth(S3SigV4Auth):
        def payload(self, request: Any) -> str:
            return payload

        def _should_sha256_sign_payload(self, request: Any) -> bool:
            return True

    request = AWSRequest(method=method, url=url, headers={**headers, "X-Amz-Content-SHA256": payload})
    Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def code_in(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("<")[0]


def is_there(haul: Service, bucket: str, key: str) -> bool:
    return [one["Key"] for one in haul.client().list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])] == [key]


def test_only_who_has_a_key_is_let_in(haul: Service, bucket: str, http: httpx.Client) -> None:
    assert haul.cluster is not None
    for base in (haul.endpoint, haul.cluster.urls["p1"] + "/s3"):
        for method in ("GET", "PUT", "DELETE", "POST"):
            answer = http.request(method, f"{base}/{bucket}/key", content=b"data" if method == "PUT" else None)
            assert (answer.status_code, code_in(answer)) == (403, "AccessDenied")
            assert answer.headers["x-amz-request-id"] in answer.text
    with pytest.raises(ClientError) as error:
        haul.client(secret="another secret").list_buckets()
    assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    url = haul.client().generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    answer = http.get(url)
    assert (answer.status_code, code_in(answer)) == (400, "InvalidRequest")
    assert "s3v4" in answer.text


def test_the_api_is_mounted_beside_the_rest(haul: Service, bucket: str) -> None:
    assert haul.cluster is not None
    mounted = Service(haul.cluster.urls["p1"] + "/s3", haul.cluster).client()
    mounted.put_object(Bucket=bucket, Key="a/b", Body=b"same")
    assert haul.client().get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"same"
    assert haul.cluster.api.get(bucket, "a/b").content == b"same"


def test_a_bucket_may_have_the_name_of_another_api(haul: Service) -> None:
    s3 = haul.client()
    for name in ("ais", "v1-x", "s3."):
        s3.create_bucket(Bucket=name)
        s3.put_object(Bucket=name, Key="objects/x", Body=b"1")
        assert s3.get_object(Bucket=name, Key="objects/x")["Body"].read() == b"1"
        s3.delete_object(Bucket=name, Key="objects/x")
        s3.delete_bucket(Bucket=name)


def chunked(data: bytes, trailers: Mapping[str, str], chunk_bytes: int = 65536) -> bytes:
    body = b""
    for start in range(0, len(data), chunk_bytes):
        chunk = data[start : start + chunk_bytes]
        body += b"%x\r\n%b\r\n" % (len(chunk), chunk)
    return body + b"0\r\n" + b"".join(f"{name}:{value}\r\n".encode() for name, value in trailers.items()) + b"\r\n"


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def put_chunked(
    http: httpx.Client, url: str, body: bytes, size: int, *, trailer: str = "x-amz-checksum-crc32"
) -> httpx.Response:
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(size),
        "X-Amz-Trailer": trailer,
    }
    signed = signed_headers("PUT", url, headers, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    return http.put(url, headers=signed, content=body)


@pytest.mark.parametrize("size", [0, 1, 65536, 300_001, 5 * MIB])
def test_a_checksum_may_follow_the_body(haul: Service, bucket: str, http: httpx.Client, size: int) -> None:
    data = bytes(size)
    url = f"{haul.endpoint}/{bucket}/t"
    answer = put_chunked(http, url, chunked(data, {"x-amz-checksum-crc32": crc32(data)}), size)
    assert (answer.status_code, answer.headers["x-amz-checksum-crc32"]) == (200, crc32(data))
    got = haul.client().get_object(Bucket=bucket, Key="t")
    assert got["Body"].read() == data
    assert "ContentEncoding" not in got


@pytest.mark.parametrize("size", [0, 1, 300_001, 5 * MIB])
def test_what_does_not_have_its_checksum_is_never_there(
    haul: Service, bucket: str, http: httpx.Client, size: int
) -> None:
    data, url = bytes(size), f"{haul.endpoint}/{bucket}/never"
    right = {"x-amz-checksum-crc32": crc32(data)}
    for body, told, code in [
        (chunked(data, {"x-amz-checksum-crc32": crc32(b"other")}), size, "BadDigest"),
        (chunked(data, {"x-amz-checksum-crc32": "nonsense"}), size, "InvalidRequest"),
        (chunked(data, {}), size, "MalformedTrailerError"),
        (chunked(data, right), size + 1, "IncompleteBody"),
        (chunked(data + b"x", right), size, "IncompleteBody"),
    ]:
        answer = put_chunked(http, url, body, told)
        assert (answer.status_code, code_in(answer)) == (400, code)
        assert not is_there(haul, bucket, "never")


def test_signed_chunks(haul: Service, bucket: str, http: httpx.Client) -> None:
    url, kind = f"{haul.endpoint}/{bucket}/signed", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    data = bytes(range(256)) * 1000
    for changed_at in (None, 10, 200_000):
        headers = signed_headers("PUT", url, {"X-Amz-Decoded-Content-Length": str(len(data))}, kind)
        timestamp = headers["X-Amz-Date"]
        scope = f"{timestamp[:8]}/us-east-1/s3/aws4_request"
        previous = headers["Authorization"].rpartition("Signature=")[2]
        signer = Signed(
            ACCESS_KEY, previous, timestamp, scope, signing_key(SECRET_KEY, timestamp[:8], "us-east-1", "s3")
        )
        body = b""
        for start in range(0, len(data) + 1, 65536):
            chunk = data[start : start + 65536]
            for piece in (chunk, b"") if start + 65536 > len(data) else (chunk,):
                empty, digest = (hashlib.sha256(one).hexdigest() for one in (b"", piece))
                text = f"AWS4-HMAC-SHA256-PAYLOAD\n{timestamp}\n{scope}\n{previous}\n{empty}\n{digest}"
                previous = sign(signer.signing_key, text)
                body += f"{len(piece):x};chunk-signature={previous}\r\n".encode() + piece + b"\r\n"
        if changed_at is not None:
            body = body[:changed_at] + bytes([body[changed_at] ^ 1]) + body[changed_at + 1 :]
            answer = http.put(url, headers=headers, content=body)
            assert (answer.status_code in (400, 403), is_there(haul, bucket, "signed")) == (True, False)
            continue
        assert http.put(url, headers=headers, content=body).status_code == 200
        assert haul.client().get_object(Bucket=bucket, Key="signed")["Body"].read() == data
        haul.client().delete_object(Bucket=bucket, Key="signed")


def test_a_body_that_is_not_what_was_signed_is_refused(haul: Service, bucket: str, http: httpx.Client) -> None:
    url = f"{haul.endpoint}/{bucket}/hash"
    headers = signed_headers("PUT", url, {}, hashlib.sha256(b"right").hexdigest())
    answer = http.put(url, headers=headers, content=b"wrong")
    assert (answer.status_code, code_in(answer)) == (400, "XAmzContentSHA256Mismatch")
    assert not is_there(haul, bucket, "hash")


def test_a_body_that_breaks_off_leaves_nothing(haul: Service, bucket: str) -> None:
    url = f"{haul.endpoint}/{bucket}/broken"
    headers = signed_headers("PUT", url, {}, "UNSIGNED-PAYLOAD")
    host, _, port = haul.host.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        lines = [f"PUT /{bucket}/broken HTTP/1.1", f"Host: {haul.host}", f"Content-Length: {10 * MIB}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + bytes(5 * MIB))
    haul.client().put_object(Bucket=bucket, Key="after", Body=b"1")
    assert not is_there(haul, bucket, "broken")


def test_a_client_that_waits_for_permission_gets_it_or_the_error(haul: Service, bucket: str) -> None:
    host, _, port = haul.host.partition(":")
    for path, secret, expected in [
        (f"/{bucket}/e", SECRET_KEY, b"HTTP/1.1 100 Continue"),
        ("/no-such-bucket/e", SECRET_KEY, b"HTTP/1.1 404 Not Found"),
        (f"/{bucket}/e", "", b"HTTP/1.1 403 Forbidden"),
    ]:
        headers = signed_headers("PUT", haul.endpoint + path, {}, "UNSIGNED-PAYLOAD") if secret else {}
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            lines = [f"PUT {path} HTTP/1.1", f"Host: {haul.host}", "Content-Length: 4", "Expect: 100-continue"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            assert connection.recv(4096).startswith(expected)


def test_a_client_goes_on_after_a_refusal(haul: Service, bucket: str) -> None:
    """boto3 waits for permission, does not send the body of what is refused, and uses the connection again."""
    s3 = haul.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"first", IfNoneMatch="*")
    for _ in range(3):
        with pytest.raises(ClientError) as raised:
            s3.put_object(Bucket=f"no-{bucket}", Key="k", Body=b"second")
        assert raised.value.response["Error"]["Code"] == "NoSuchBucket"
        with pytest.raises(ClientError) as raised:
            s3.put_object(Bucket=bucket, Key="k", Body=b"second", IfNoneMatch="*")
        assert raised.value.response["Error"]["Code"] == "PreconditionFailed"
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"first"


@pytest.mark.parametrize("key", ["../up", "a/./b", "~/home"])
def test_names_that_no_object_can_have(haul: Service, bucket: str, http: httpx.Client, key: str) -> None:
    url = f"{haul.endpoint}/{bucket}/{key}"

    def ask(method: str) -> httpx.Response:
        headers = signed_headers(method, url, {}, "UNSIGNED-PAYLOAD")
        request = http.build_request(method, haul.endpoint, headers=headers, content=b"" if method == "PUT" else None)
        request.extensions["target"] = f"/{bucket}/{key}".encode()
        return http.send(request)

    assert (ask("PUT").status_code, code_in(ask("PUT"))) == (400, "InvalidArgument")
    assert (ask("GET").status_code, code_in(ask("GET"))) == (404, "NoSuchKey")
    assert ask("DELETE").status_code == 204


def test_folders_that_s3_has_made_are_read_listed_copied_and_removed_by_the_dialect(haul: Service, bucket: str) -> None:
    """It makes none itself: AIStore refuses such names."""
    assert haul.cluster is not None
    api, s3 = haul.cluster.api, haul.client()
    made = ["a/", "a/b/", "a/b/x", "a/c", "d/"]
    for key in made:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())

    def listed(name: str, **message: Any) -> list[str]:
        names, token = [], ""
        while True:
            value = {"pagesize": 1, "continuation_token": token, **message}
            page = api.call("GET", f"/v1/buckets/{name}", {"action": "list", "value": value}).json()
            names += [entry["name"] for entry in page["entries"] or ()]
            token = page["continuation_token"]
            if not token:
                return names

    assert listed(bucket) == made
    assert listed(bucket, flags=NO_RECURSION) == ["a/", "d/"]
    assert listed(bucket, flags=NO_RECURSION, prefix="a/") == ["a/", "a/b/", "a/c"]
    assert api.get(bucket, "a/b/").content == b"a/b/"
    assert api.http.head(f"/v1/objects/{bucket}/a/b/").status_code == 200
    refused = api.http.put(f"/v1/objects/{bucket}/e/", content=b"")
    assert (refused.status_code, refused.json()["message"]) == (400, 'invalid object name "e/"')
    assert ended(api, copy(api, bucket, f"{bucket}-copy"))["err"] == ""
    assert listed(f"{bucket}-copy") == made
    assert api.http.delete(f"/v1/objects/{bucket}/d/").status_code == 200
    removal = {"action": "delete-listrange", "value": {"objnames": ["a/", "a/c"]}}
    removed = api.call("DELETE", f"/v1/buckets/{bucket}", removal)
    assert removed.status_code == 200, removed.text
    wait_for(lambda: listed(bucket) == ["a/b/", "a/b/x"])


def test_headers_cannot_be_smuggled_into_an_answer(haul: Service, bucket: str, http: httpx.Client) -> None:
    s3 = haul.client(signature_version="s3v4")
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    asked = {"Bucket": bucket, "Key": "k", "ResponseContentType": "text/plain\r\nX-Evil: 1"}
    answer = http.get(s3.generate_presigned_url("get_object", asked))
    assert (answer.status_code, code_in(answer)) == (400, "InvalidArgument")
    assert "x-evil" not in answer.headers


def test_names_of_several_providers_are_ambiguous(tmp_path: Path, haul: Service) -> None:
    assert haul.cluster is not None
    name = f"test-{uuid.uuid4().hex[:12]}"
    for namespace in ("", "%23other"):
        path = f"/v1/buckets/{name}?namespace={namespace}"
        assert haul.cluster.api.call("POST", path, {"action": "create-bck"}).status_code == 200
    with pytest.raises(ClientError) as error:
        haul.client().list_objects_v2(Bucket=name)
    assert error.value.response["Error"]["Code"] == "AmbiguousBucketName"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/{bucket}?max-keys=x", 400, "InvalidArgument"),
        ("GET", "/{bucket}?list-type=2&continuation-token=nonsense", 400, "InvalidArgument"),
        ("GET", "/{bucket}?list-type=3", 400, "InvalidArgument"),
        ("GET", "/{bucket}?encoding-type=x", 400, "InvalidArgument"),
        ("GET", "/{bucket}?inventory", 501, "NotImplemented"),
        ("PUT", "/{bucket}?cors", 501, "NotImplemented"),
        ("PUT", "/{bucket}?abac", 501, "NotImplemented"),
        ("PUT", "/{bucket}?metadataInventoryTable", 501, "NotImplemented"),
        ("PUT", "/{bucket}?invented-tomorrow", 501, "NotImplemented"),
        ("DELETE", "/{bucket}?invented-tomorrow", 501, "NotImplemented"),
        ("GET", "/{bucket}?session", 501, "NotImplemented"),
        ("PUT", "/{bucket}/k?renameObject", 501, "NotImplemented"),
        ("PUT", "/{bucket}/k?annotation", 501, "NotImplemented"),
        ("DELETE", "/{bucket}/k?annotation", 501, "NotImplemented"),
        ("DELETE", "/{bucket}/k?invented-tomorrow=", 501, "NotImplemented"),
        ("PUT", "/{bucket}?acl", 501, "NotImplemented"),
        ("POST", "/{bucket}", 501, "NotImplemented"),
        ("POST", "/{bucket}?delete", 400, "MalformedXML"),
        ("POST", "/{bucket}/k?restore", 501, "NotImplemented"),
        ("POST", "/{bucket}/k?uploadId=x", 400, "MalformedXML"),
        ("PUT", "/{bucket}/k?uploadId=x&partNumber=1", 404, "NoSuchUpload"),
        ("GET", "/{bucket}/k?versionId=x", 404, "NoSuchVersion"),
        ("GET", "/{bucket}/%ff", 400, "InvalidURI"),
        ("PATCH", "/{bucket}/k", 405, "MethodNotAllowed"),
        ("PUT", "/UPPER..case", 400, "InvalidBucketName"),
        ("PUT", "/", 405, "MethodNotAllowed"),
        ("GET", "/none/k", 404, "NoSuchBucket"),
    ],
)
def test_what_cannot_be_done_says_so(
    haul: Service, bucket: str, http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    url = haul.endpoint + path.replace("{bucket}", bucket)
    answer = http.request(method, url, headers=signed_headers(method, url, {}, "UNSIGNED-PAYLOAD"))
    assert (answer.status_code, code_in(answer)) == (status, code)
    assert answer.headers["content-type"] == "application/xml"


def test_an_etag_cannot_smuggle_headers_to_a_target(haul: Service, bucket: str) -> None:
    s3 = haul.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    etag = '"x"\r\n\r\nDELETE /v1/objects/' + bucket + "/k HTTP/1.1\r\nhost: x"
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": etag}]})
    assert [(one["Key"], one["Code"]) for one in deleted["Errors"]] == [("k", "InvalidRequest")]
    assert is_there(haul, bucket, "k")


def test_checksums_that_would_not_be_compared_are_refused(haul: Service, bucket: str, http: httpx.Client) -> None:
    url = f"{haul.endpoint}/{bucket}/k"
    headers = signed_headers("PUT", url, {"x-amz-checksum-xxhash64": "AA=="}, "UNSIGNED-PAYLOAD")
    answer = http.put(url, content=b"data", headers=headers)
    assert (answer.status_code, code_in(answer)) == (501, "NotImplemented")
    assert not is_there(haul, bucket, "k")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Content-MD5", "", "InvalidDigest"),
        ("Content-MD5", "YWJyYWNhZGFicmE=", "InvalidDigest"),
        ("Content-MD5", "rL0Y20xC+Fzt72VPzMSk2A==", "BadDigest"),
        ("x-amz-checksum-crc32", "", "InvalidRequest"),
    ],
)
def test_checksums_that_are_none_are_refused(
    haul: Service, bucket: str, http: httpx.Client, name: str, value: str, code: str
) -> None:
    url = f"{haul.endpoint}/{bucket}/k"
    answer = http.put(url, content=b"data", headers=signed_headers("PUT", url, {name: value}, "UNSIGNED-PAYLOAD"))
    assert (answer.status_code, code_in(answer)) == (400, code)
    assert not is_there(haul, bucket, "k")


def test_a_body_that_has_no_length_is_not_an_empty_one(haul: Service, bucket: str) -> None:
    s3 = haul.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    host, _, port = haul.host.partition(":")
    for path in (f"/{bucket}/k", f"/{bucket}/m?uploadId={upload}&partNumber=1"):
        headers = signed_headers("PUT", haul.endpoint + path, {}, "UNSIGNED-PAYLOAD")
        lines = [f"PUT {path} HTTP/1.1", f"Host: {haul.host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            told = b""
            while data := connection.recv(1 << 16):
                told += data
        assert told.startswith(b"HTTP/1.1 411 ")
        assert b"<Code>MissingContentLength</Code>" in told
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)


def test_a_form_is_told_that_forms_are_not_offered(haul: Service, bucket: str, http: httpx.Client) -> None:
    """Not that it is unsigned: its signature is one of its fields."""
    form = haul.client(signature_version="s3v4").generate_presigned_post(bucket, "k")
    answer = http.post(form["url"], data=form["fields"], files={"file": b"data"})
    assert (answer.status_code, code_in(answer)) == (501, "NotImplemented")
    assert not is_there(haul, bucket, "k")


def test_a_part_that_is_to_be_encrypted_is_refused(haul: Service, bucket: str) -> None:
    s3 = haul.client()
    upload = {"Bucket": bucket, "Key": "m", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]}
    with pytest.raises(ClientError) as refused:
        s3.upload_part(**upload, PartNumber=1, Body=b"x", SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32)
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert "Parts" not in s3.list_parts(**upload)


def test_a_range_of_an_empty_object_tells_its_size(haul: Service, bucket: str, http: httpx.Client) -> None:
    """By which AWS's CRT, and PyTorch's connector with it, finds that it is empty."""
    haul.client().put_object(Bucket=bucket, Key="empty", Body=b"")
    url = f"{haul.endpoint}/{bucket}/empty"
    headers = {**signed_headers("GET", url, {}, "UNSIGNED-PAYLOAD"), "range": "bytes=0-8388607"}
    answer = http.get(url, headers=headers)
    assert (answer.status_code, code_in(answer)) == (416, "InvalidRange")
    assert "<ActualObjectSize>0</ActualObjectSize>" in answer.text
    answer = http.get(url, headers={**headers, "range": "bytes=5-2"})
    assert (answer.status_code, answer.content) == (200, b""), "what cannot be a range is none"


def test_names_behind_all_others_of_their_directory_are_rolled_up_too(haul: Service, bucket: str) -> None:
    """So many that a page has nothing else."""
    assert haul.cluster is not None
    client = haul.client(read_timeout=20)
    for number in range(40):
        client.put_object(Bucket=bucket, Key=f"a/\U0010ffff{number}", Body=b"")
    client.put_object(Bucket=bucket, Key="b", Body=b"")
    found = client.list_objects_v2(Bucket=bucket, Delimiter="/", MaxKeys=5)
    assert [one["Prefix"] for one in found["CommonPrefixes"]] == ["a/"]
    assert [one["Key"] for one in found["Contents"]] == ["b"]
    value = {"flags": "2048", "pagesize": 10, "props": "name"}
    message = {"action": "list", "value": value}
    entries = haul.cluster.api.call("GET", f"/v1/buckets/{bucket}", message).json()["entries"]
    assert [entry["name"] for entry in entries] == ["a/", "b"]


def test_what_access_does_not_permit_is_refused(haul: Service, bucket: str) -> None:
    assert haul.cluster is not None
    s3, api = haul.client(), haul.cluster.api
    other = f"{bucket}-other"
    s3.create_bucket(Bucket=other)
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    s3.put_object(Bucket=other, Key="o", Body=b"data")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    other_upload = s3.create_multipart_upload(Bucket=other, Key="m")["UploadId"]
    one = {"Bucket": bucket, "Key": "k"}
    part = {"UploadId": upload, "PartNumber": 1}
    copied = {"Bucket": other, "Key": "copy", "CopySource": f"{bucket}/k"}
    refused = {
        Permission.GET: [
            lambda: s3.get_object(**one),
            lambda: s3.copy_object(**copied),
            lambda: s3.upload_part_copy(**copied | {"Key": "m", "UploadId": other_upload, "PartNumber": 1}),
            lambda: s3.list_parts(Bucket=bucket, Key="m", UploadId=upload),
        ],
        Permission.HEAD_OBJECT: [
            lambda: s3.head_object(**one),
            lambda: s3.get_object_attributes(**one, ObjectAttributes=["ETag"]),
            lambda: s3.get_object_acl(**one),
        ],
        Permission.PUT: [
            # Each on a connection of its own: what is refused before its body came leaves it unread.
            lambda: haul.client().put_object(**one, Body=b"x"),
            lambda: s3.copy_object(Bucket=bucket, Key="new", CopySource=f"{other}/o"),
            lambda: s3.create_multipart_upload(**one),
            lambda: haul.client().upload_part(Bucket=bucket, Key="m", Body=b"x", **part),
            lambda: s3.complete_multipart_upload(
                Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "x"}]}
            ),
        ],
        Permission.DELETE_OBJECT: [
            lambda: s3.delete_object(**one),
            lambda: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]}),
            lambda: s3.abort_multipart_upload(Bucket=bucket, Key="m", UploadId=upload),
        ],
        Permission.HEAD_BUCKET: [
            lambda: s3.head_bucket(Bucket=bucket),
            lambda: s3.get_bucket_location(Bucket=bucket),
        ],
        Permission.LIST_OBJECTS: [
            lambda: s3.list_objects_v2(Bucket=bucket),
            lambda: s3.list_multipart_uploads(Bucket=bucket),
        ],
        Permission.DESTROY_BUCKET: [lambda: s3.delete_bucket(Bucket=bucket)],
    }
    everything = (1 << 64) - 1
    for bit, requests in refused.items():
        value = {"access": str(everything & ~bit)}
        assert api.call("PATCH", f"/v1/buckets/{bucket}", {"action": "set-bprops", "value": value}).status_code == 200
        for request in requests:
            with pytest.raises(ClientError) as error:
                request()
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, bit
    api.call("PATCH", f"/v1/buckets/{bucket}", {"action": "reset-bprops"})
    assert s3.get_object(**one)["Body"].read() == b"data"


@pytest.mark.parametrize("number", ["", "x", "0", "10001", "0000000011", "1" * 5000])
def test_a_part_that_has_no_number(haul: Service, bucket: str, http: httpx.Client, number: str) -> None:
    s3 = haul.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    url = f"{haul.endpoint}/{bucket}/m?uploadId={upload}"
    body = f"<CompleteMultipartUpload><Part><PartNumber>{number}</PartNumber></Part></CompleteMultipartUpload>".encode()
    source = {"x-amz-copy-source": f"{bucket}/k"}
    for method, place, headers, content in (
        ("PUT", f"{url}&partNumber={number}", {}, b"x"),
        ("PUT", f"{url}&partNumber={number}" if number else url, source, b""),
        ("POST", url, {}, body),
    ):
        signed = signed_headers(method, place, headers, hashlib.sha256(content).hexdigest())
        answer = http.request(method, place, headers=signed, content=content)
        assert (answer.status_code, code_in(answer)) == (400, "InvalidArgument"), answer.text


def test_a_body_that_stops_coming_leaves_nothing(haul: Service, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.patience.BODY_SECONDS", 0.5)
    s3 = haul.client(signature_version="s3v4")
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "half"})
    host, _, path = url.partition("//")[2].partition("/")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=60) as connection:
        connection.sendall(f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nabc".encode())
        told = b""
        while data := connection.recv(1 << 16):
            told += data
    assert told.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>RequestTimeout</Code>" in told
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])] == []


@pytest.mark.parametrize("size", [256 * 1024 - 1, 256 * 1024, (3 << 20) + 5])
def test_large_bodies_are_compared_with_crc64(haul: Service, bucket: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    digest = Crc64Nvme()
    digest.update(data)
    right = base64.b64encode(digest.digest()).decode()
    put = haul.client(signature_version="s3v4", request_checksum_calculation="when_required").put_object
    put(Bucket=bucket, Key="right", Body=data, ChecksumCRC64NVME=right)
    assert haul.client().get_object(Bucket=bucket, Key="right")["Body"].read() == data
    with pytest.raises(ClientError) as error:
        put(Bucket=bucket, Key="wrong", Body=data[:-1] + bytes([data[-1] ^ 1]), ChecksumCRC64NVME=right)
    assert error.value.response["Error"]["Code"] == "BadDigest"
    assert not is_there(haul, bucket, "wrong")
