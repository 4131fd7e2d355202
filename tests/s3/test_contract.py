"""boto3, unpatched and as it comes, against a cluster and against moto: the same program, the same outcome."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

import google_crc32c
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.s3.service import Service

MIB = 1 << 20
KEYS = ["a", "a b+c%25.txt", "dir/x", "dir/y/z", "dir/y/zz", "dir2/x", "ünï/cødé", "zz&<>'\""]


only_haul = pytest.mark.parametrize("service", ["haul"], indirect=True)
"""What S3 and a cluster do, and moto does not."""


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def md5(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def fill(s3: Any, bucket: str, keys: list[str]) -> None:
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def test_buckets_are_made_listed_and_removed(s3: Any, bucket: str) -> None:
    assert bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="one", Body=b"1")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket=bucket)
    assert code_of(error) == ("BucketNotEmpty", 409)
    s3.delete_object(Bucket=bucket, Key="one")
    assert s3.delete_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket=bucket)
    assert code_of(error) == ("404", 404)
    with pytest.raises(ClientError) as error:
        s3.list_objects_v2(Bucket=bucket)
    assert code_of(error) == ("NoSuchBucket", 404)


@only_haul
def test_buckets_are_listed_in_pages(s3: Any) -> None:
    prefix = f"test-{uuid.uuid4().hex[:12]}-"
    names = [f"{prefix}{number}" for number in range(5)]
    for name in names:
        s3.create_bucket(Bucket=name)
    pages = s3.get_paginator("list_buckets").paginate(Prefix=prefix, PaginationConfig={"PageSize": 2})
    assert [[one["Name"] for one in page["Buckets"]] for page in pages] == [names[:2], names[2:4], names[4:]]
    assert s3.list_buckets(Prefix="none")["Buckets"] == []
    assert s3.list_buckets(Prefix=prefix)["Prefix"] == prefix


@pytest.mark.parametrize("key", KEYS)
def test_an_object_comes_back_as_it_went(s3: Any, bucket: str, key: str) -> None:
    data = os.urandom(100_000)
    put = s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=data,
        ContentType="text/x-test",
        CacheControl="max-age=60",
        ContentDisposition="attachment",
        ContentEncoding="x-test",
        ContentLanguage="de",
        Metadata={"one": "1", "two": "zwei, drei = x"},
    )
    assert put["ETag"] == md5(data)
    got = s3.get_object(Bucket=bucket, Key=key)
    head = s3.head_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == data
    for answer in (got, head):
        assert answer["ETag"] == md5(data)
        assert answer["ContentLength"] == len(data)
        assert answer["ContentType"] == "text/x-test"
        assert answer["CacheControl"] == "max-age=60"
        assert answer["ContentDisposition"] == "attachment"
        assert answer["ContentEncoding"] == "x-test"
        assert answer["ContentLanguage"] == "de"
        assert answer["Metadata"] == {"one": "1", "two": "zwei, drei = x"}
        assert abs(answer["LastModified"] - datetime.now(UTC)) < timedelta(minutes=5)
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [(one["Key"], one["Size"], one["ETag"]) for one in listed] == [(key, len(data), md5(data))]
    assert listed[0]["LastModified"].replace(microsecond=0) == head["LastModified"]


def test_headers_may_be_long(s3: Any, bucket: str) -> None:
    """The name of a file in Japanese has nine bytes a letter in them."""
    told = {"ContentDisposition": "attachment; filename*=UTF-8''" + "%E6%97%A5" * 200, "CacheControl": "x=1," * 200}
    s3.put_object(Bucket=bucket, Key="k", Body=b"", **told, Metadata={"a": "a  b\tc"})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    for key in ("k", "copy"):
        head = s3.head_object(Bucket=bucket, Key=key)
        assert {name: head[name] for name in told} == told
        assert head["Metadata"] == {"a": "a  b\tc"}


def test_an_empty_object_is_one(s3: Any, bucket: str) -> None:
    assert s3.put_object(Bucket=bucket, Key="empty")["ETag"] == md5(b"")
    assert s3.get_object(Bucket=bucket, Key="empty")["Body"].read() == b""
    assert s3.head_object(Bucket=bucket, Key="empty")["ContentLength"] == 0


@pytest.mark.parametrize("key", ["dir/", "dir//", "a/b c/ü/"])
def test_a_key_may_end_with_a_slash(s3: Any, bucket: str, key: str) -> None:
    """What tools make for a folder; for S3 it is an object like any other."""
    for body in (b"", b"not empty"):
        put = s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/x-directory")
        assert put["ETag"] == md5(body)
        got = s3.get_object(Bucket=bucket, Key=key)
        assert (got["Body"].read(), got["ContentType"]) == (body, "application/x-directory")
    s3.put_object(Bucket=bucket, Key=f"{key}file", Body=b"1")
    s3.put_object(Bucket=bucket, Key=key.rstrip("/"), Body=b"the file of that name")
    s3.copy_object(Bucket=bucket, Key="copied/", CopySource={"Bucket": bucket, "Key": key})
    assert s3.get_object(Bucket=bucket, Key="copied/")["Body"].read() == b"not empty"
    assert s3.get_object(Bucket=bucket, Key=key.rstrip("/"))["Body"].read() == b"the file of that name"
    assert rows(s3.list_objects_v2(Bucket=bucket))[0] == sorted((key.rstrip("/"), key, f"{key}file", "copied/"))
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [one["Key"] for one in deleted["Deleted"]] == [key]
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key=key)
    assert code_of(error) == ("404", 404)
    assert s3.head_object(Bucket=bucket, Key=f"{key}file")["ContentLength"] == 1
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"in parts")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload=parts)
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"in parts"
    s3.delete_object(Bucket=bucket, Key=key)
    assert key not in rows(s3.list_objects_v2(Bucket=bucket))[0]


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b/", "a/c/"])
def test_folders_that_are_objects_are_listed_as_both(s3: Any, bucket: str, prefix: str, size: int) -> None:
    """Below their own name they are a row, one level above it a common prefix; either comes once."""
    made = ["a/", "a/b/", "a/b/x", "a/b/y/z", "a/c/", "a/x", "b"]
    fill(s3, bucket, made)
    below = [key for key in made if key.startswith(prefix)]
    flat = [key for key in below if "/" not in key[len(prefix) :]]
    rolled = {prefix + key[len(prefix) :].partition("/")[0] + "/" for key in below if key not in flat}
    for delimiter, keys, prefixes in (("", below, []), ("/", flat, sorted(rolled))):
        asked = {"Bucket": bucket, "Prefix": prefix, "Delimiter": delimiter, "PaginationConfig": {"PageSize": size}}
        found = [rows(page) for page in s3.get_paginator("list_objects_v2").paginate(**asked)]
        assert [key for page, _ in found for key in page] == keys
        assert [shown for _, page in found for shown in page] == prefixes
        assert all(len(page) + len(shown) <= size for page, shown in found)


def test_what_is_not_there_is_no_such_key(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="none")
    assert code_of(error) == ("NoSuchKey", 404)
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key="none")
    assert code_of(error) == ("404", 404)
    assert s3.delete_object(Bucket=bucket, Key="none")["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "none"})
    assert code_of(error) == ("NoSuchKey", 404)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=90-", 90, 100),
        ("bytes=-7", 93, 100),
        ("bytes=99-500", 99, 100),
    ],
)
def test_ranges_are_parts(s3: Any, bucket: str, asked: str, start: int, end: int) -> None:
    data = bytes(range(100))
    s3.put_object(Bucket=bucket, Key="r", Body=data)
    got = s3.get_object(Bucket=bucket, Key="r", Range=asked)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {start}-{end - 1}/100"
    assert got["Body"].read() == data[start:end]


def test_a_range_beyond_the_end_is_an_error(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="r", Body=b"0123")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="r", Range="bytes=4-9")
    assert code_of(error) == ("InvalidRange", 416)


def test_conditions_of_reads(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="c", Body=b"data")
    etag, past = md5(b"data"), datetime(2000, 1, 1, tzinfo=UTC)
    future = datetime.now(UTC) + timedelta(hours=1)
    for read in (s3.get_object, s3.head_object):
        assert read(Bucket=bucket, Key="c", IfMatch=etag)["ETag"] == etag
        assert read(Bucket=bucket, Key="c", IfNoneMatch='"other"')["ETag"] == etag
        assert read(Bucket=bucket, Key="c", IfModifiedSince=past)["ETag"] == etag
        assert read(Bucket=bucket, Key="c", IfUnmodifiedSince=future)["ETag"] == etag
        for condition, status in [
            ({"IfMatch": '"other"'}, 412),
            ({"IfUnmodifiedSince": past}, 412),
            ({"IfNoneMatch": etag}, 304),
            ({"IfModifiedSince": datetime.now(UTC) + timedelta(seconds=2)}, 304),
        ]:
            with pytest.raises(ClientError) as error:
                read(Bucket=bucket, Key="c", **condition)
            assert code_of(error)[1] == status, condition


@only_haul
def test_a_condition_goes_before_a_range(s3: Any, bucket: str) -> None:
    """So that who reads on in an object that was replaced by a shorter one learns that it is another."""
    etag = s3.put_object(Bucket=bucket, Key="c", Body=b"data")["ETag"]
    for read in (s3.get_object, s3.head_object):
        for condition, status in (
            ({"IfMatch": '"other"'}, 412),
            ({"IfUnmodifiedSince": datetime(2000, 1, 1, tzinfo=UTC)}, 412),
            ({"IfNoneMatch": etag}, 304),
            ({"IfMatch": etag}, 416),
            ({}, 416),
        ):
            with pytest.raises(ClientError) as error:
                read(Bucket=bucket, Key="c", Range="bytes=4-", **condition)
            assert code_of(error)[1] == status, condition


def test_conditions_of_writes(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="c", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="c", Body=b"second", IfNoneMatch="*")
    assert code_of(error) == ("PreconditionFailed", 412)
    assert s3.get_object(Bucket=bucket, Key="c")["Body"].read() == b"first"


def test_a_condition_on_what_is_not_there(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="none", Body=b"x", IfMatch='"0"')
    assert code_of(error) == ("NoSuchKey", 404)


@only_haul
def test_conditions_of_deletions(s3: Any, bucket: str) -> None:
    """moto looks at none. Source: Amazon S3's user guide, "How to perform conditional deletes"."""
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"hello")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.delete_object(Bucket=bucket, Key="k", IfMatch='"bad"')
    assert code_of(error) == ("PreconditionFailed", 412)
    refused = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": '"bad"'}]})
    assert [(one["Key"], one["Code"]) for one in refused["Errors"]] == [("k", "PreconditionFailed")]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    for wanted in (etag, "*"):
        with pytest.raises(ClientError) as error:
            s3.delete_object(Bucket=bucket, Key="k", IfMatch=wanted)
        assert code_of(error) == ("NoSuchKey", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": etag}]})
    assert [one["Key"] for one in deleted["Deleted"]] == ["k"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    s3.delete_object(Bucket=bucket, Key="k", IfMatch="*")
    assert not rows(s3.list_objects_v2(Bucket=bucket))[0]


def test_answers_can_have_other_headers(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="o", Body=b"data", ContentType="text/plain")
    got = s3.get_object(
        Bucket=bucket, Key="o", ResponseContentType="image/png", ResponseContentDisposition='attachment; filename="x"'
    )
    assert (got["ContentType"], got["ContentDisposition"]) == ("image/png", 'attachment; filename="x"')


@only_haul
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256", "SHA512"])
def test_checksums_are_kept_and_told(s3: Any, bucket: str, algorithm: str) -> None:
    if algorithm == "CRC32C":
        value = base64.b64encode(google_crc32c.Checksum(b"data").digest()).decode()
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumCRC32C=value)
    else:
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"data"
    assert put[f"Checksum{algorithm}"] == got[f"Checksum{algorithm}"] != ""


@only_haul
def test_a_wrong_checksum_stores_nothing(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="w", Body=b"data", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    assert code_of(error)[1] == 400
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key="w")
    assert code_of(error)[1] == 404


def test_copies_keep_or_replace_what_is_told_of_them(s3: Any, bucket: str) -> None:
    source = {"Bucket": bucket, "Key": "dir/source ü+"}
    s3.put_object(**source, Body=b"data", Metadata={"a": "1"}, ContentType="text/plain")
    copied = s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    assert copied["CopyObjectResult"]["ETag"] == md5(b"data")
    s3.copy_object(
        Bucket=bucket,
        Key="replaced",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"b": "2"},
        ContentType="text/css",
    )
    kept, replaced = (s3.get_object(Bucket=bucket, Key=key) for key in ("kept", "replaced"))
    assert (kept["Body"].read(), kept["Metadata"], kept["ContentType"]) == (b"data", {"a": "1"}, "text/plain")
    assert (replaced["Body"].read(), replaced["Metadata"]) == (b"data", {"b": "2"})
    assert replaced["ContentType"] == "text/css"
    s3.copy_object(**source, CopySource=source, MetadataDirective="REPLACE", Metadata={"c": "3"})
    again = s3.get_object(**source)
    assert (again["Body"].read(), again["Metadata"]) == (b"data", {"c": "3"})


@only_haul
def test_an_object_is_not_copied_to_itself_for_nothing(s3: Any, bucket: str) -> None:
    source = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**source, Body=b"data")
    with pytest.raises(ClientError) as error:
        s3.copy_object(**source, CopySource=source)
    assert code_of(error) == ("InvalidRequest", 400)
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="no", CopySource=source, CopySourceIfMatch='"other"')
    assert code_of(error) == ("PreconditionFailed", 412)


@only_haul
def test_many_are_deleted_by_one_request(s3: Any, bucket: str) -> None:
    fill(s3, bucket, KEYS)
    names = [{"Key": key} for key in [*KEYS, "none"]]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": names})
    assert sorted(one["Key"] for one in answer["Deleted"]) == sorted([*KEYS, "none"])
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    fill(s3, bucket, ["a"])
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert "Errors" not in quiet


def rows(answer: dict[str, Any]) -> tuple[list[str], list[str]]:
    contents, prefixes = answer.get("Contents", []), answer.get("CommonPrefixes", [])
    return [one["Key"] for one in contents], [one["Prefix"] for one in prefixes]


@pytest.mark.parametrize(
    ("asked", "keys", "prefixes"),
    [
        ({}, KEYS, []),
        ({"Delimiter": "/"}, ["a", "a b+c%25.txt", "zz&<>'\""], ["dir/", "dir2/", "ünï/"]),
        ({"Delimiter": "/", "Prefix": "dir/"}, ["dir/x"], ["dir/y/"]),
        ({"Prefix": "dir/y"}, ["dir/y/z", "dir/y/zz"], []),
        ({"Prefix": "dir", "Delimiter": "r"}, [], []),
        ({"Delimiter": "ir"}, ["a", "a b+c%25.txt", "ünï/cødé", "zz&<>'\""], ["dir"]),
        ({"Delimiter": "y/z"}, ["a", "a b+c%25.txt", "dir/x", "dir2/x", "ünï/cødé", "zz&<>'\""], ["dir/y/z"]),
        ({"StartAfter": "dir/y/z"}, ["dir/y/zz", "dir2/x", "ünï/cødé", "zz&<>'\""], []),
        ({"StartAfter": "dir/"}, ["dir/x", "dir/y/z", "dir/y/zz", "dir2/x", "ünï/cødé", "zz&<>'\""], []),
        ({"Prefix": "none"}, [], []),
    ],
)
def test_listings(s3: Any, bucket: str, asked: dict[str, str], keys: list[str], prefixes: list[str]) -> None:
    fill(s3, bucket, KEYS)
    if asked == {"Prefix": "dir", "Delimiter": "r"}:  # behind the prefix, not in it
        keys = ["dir/x", "dir/y/z", "dir/y/zz", "dir2/x"]
    for size in (1000, 1, 2, 3):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": size}, **asked
        )
        found = [rows(page) for page in pages]
        assert sorted(key for page, _ in found for key in page) == sorted(keys)
        assert [prefix for _, page in found for prefix in page] == sorted(prefixes)
        assert all(len(page) + len(shown) <= size for page, shown in found)


@only_haul
def test_rows_that_were_rolled_up_do_not_come_again(s3: Any, bucket: str) -> None:
    last = "\U0010ffff"
    for key in ("a/x", f"a/{last}1", f"a/{last}{last}2", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    for operation in ("list_objects", "list_objects_v2"):
        found = []
        pages = s3.get_paginator(operation).paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1})
        for page in pages:
            found += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
            found += [one["Key"] for one in page.get("Contents", [])]
            assert len(found) <= 2
        assert found == ["a/", "b"]


@only_haul
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_listings_of_version_1_go_on_by_markers(s3: Any, bucket: str, delimiter: str) -> None:
    fill(s3, bucket, KEYS)
    whole = rows(s3.list_objects(Bucket=bucket, Delimiter=delimiter))
    pages = s3.get_paginator("list_objects").paginate(
        Bucket=bucket, Delimiter=delimiter, PaginationConfig={"PageSize": 2}
    )
    found = [rows(page) for page in pages]
    assert [key for page, _ in found for key in page] == whole[0]
    assert [prefix for _, page in found for prefix in page] == whole[1]
    assert rows(s3.list_objects(Bucket=bucket, Marker="dir/y/z"))[0] == [k for k in sorted(KEYS) if k > "dir/y/z"]


def test_a_page_says_how_it_goes_on(s3: Any, bucket: str) -> None:
    fill(s3, bucket, ["1", "2", "3"])
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=2, FetchOwner=True)
    assert (page["IsTruncated"], page["KeyCount"], page["MaxKeys"]) == (True, 2, 2)
    assert page["Contents"][0]["Owner"]["ID"]
    last = s3.list_objects_v2(Bucket=bucket, MaxKeys=2, ContinuationToken=page["NextContinuationToken"])
    assert (last["IsTruncated"], last["KeyCount"]) == (False, 1)
    whole = s3.list_objects_v2(Bucket=bucket, MaxKeys=3)
    assert (whole["IsTruncated"], "NextContinuationToken" in whole) == (False, False)
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0


def test_versions_are_one_of_each(s3: Any, bucket: str) -> None:
    fill(s3, bucket, KEYS)
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [one["Key"] for one in versions] == sorted(KEYS)
    assert all(one["IsLatest"] and one["VersionId"] == "null" for one in versions)


def test_large_objects_go_in_parts(s3: Any, bucket: str) -> None:
    data = os.urandom(17 * MIB + 5)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(data), bucket, "large", Config=config, ExtraArgs={"Metadata": {"m": "1"}})
    head = s3.head_object(Bucket=bucket, Key="large")
    parts = [
        hashlib.md5(data[at : at + 5 * MIB], usedforsecurity=False).digest() for at in range(0, len(data), 5 * MIB)
    ]
    combined = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    assert head["ETag"] == f'"{combined}-{len(parts)}"'
    assert head["Metadata"] == {"m": "1"}
    target = io.BytesIO()
    s3.download_fileobj(bucket, "large", target, Config=config)
    assert target.getvalue() == data
    s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "copy", Config=config)
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == data


@only_haul
def test_an_upload_in_parts_step_by_step(s3: Any, bucket: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="m/n", ContentType="text/plain", Metadata={"x": "y"})
    upload = {"Bucket": bucket, "Key": "m/n", "UploadId": begun["UploadId"]}
    first, second = os.urandom(5 * MIB), b"the end"
    etags = [
        s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"] for number, body in ((1, first), (2, second))
    ]
    assert etags == [md5(first), md5(second)]
    assert [one["Key"] for one in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["m/n"]
    none = s3.list_parts(**upload, MaxParts=0)
    assert (none["IsTruncated"], "Parts" in none) == (False, False)
    page = s3.list_parts(**upload, MaxParts=1)
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 1)
    parts = s3.list_parts(**upload)
    assert [(one["PartNumber"], one["Size"]) for one in parts["Parts"]] == [(1, 5 * MIB), (2, 7)]
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key="m/n")
    assert code_of(error)[1] == 404
    wanted = [{"PartNumber": number + 1, "ETag": etag} for number, etag in enumerate(etags)]
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": wanted[::-1]})
    assert code_of(error) == ("InvalidPartOrder", 400)
    wrong = [wanted[0], {"PartNumber": 2, "ETag": etags[0]}]
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": wrong})
    assert code_of(error) == ("InvalidPart", 400)
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": wanted})
    assert done["ETag"].endswith('-2"')
    got = s3.get_object(Bucket=bucket, Key="m/n")
    assert got["Body"].read() == first + second
    assert (got["ETag"], got["ContentType"], got["Metadata"]) == (done["ETag"], "text/plain", {"x": "y"})
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


@only_haul
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C"])
def test_an_upload_in_parts_has_the_checksum_of_the_whole(s3: Any, bucket: str, algorithm: str) -> None:
    data = os.urandom(9 * MIB + 5)
    digest = google_crc32c.Checksum(data).digest() if algorithm == "CRC32C" else zlib.crc32(data).to_bytes(4, "big")
    right, wrong, of_parts = base64.b64encode(digest).decode(), "AAAAAA==", "AAAAAA==-2"
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    parts = []
    for number, body in enumerate((data[: 5 * MIB], data[5 * MIB :]), 1):
        part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    asked = {"Bucket": bucket, "Key": "k", "UploadId": upload, "MultipartUpload": {"Parts": parts}}
    for checksum, code, status in ((wrong, "BadDigest", 400), (of_parts, "NotImplemented", 501)):
        with pytest.raises(ClientError) as error:
            s3.complete_multipart_upload(**asked, **{f"Checksum{algorithm}": checksum})
        assert code_of(error) == (code, status)
        assert not rows(s3.list_objects_v2(Bucket=bucket))[0]
    s3.complete_multipart_upload(**asked, **{f"Checksum{algorithm}": right}, ChecksumType="FULL_OBJECT")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == data


@only_haul
def test_an_upload_in_parts_has_the_size_that_is_promised(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"12345")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    asked = {"Bucket": bucket, "Key": "k", "UploadId": upload, "MultipartUpload": parts}
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(**asked, MpuObjectSize=6)
    assert code_of(error) == ("InvalidRequest", 400)
    for _ in range(2):  # again, as when the first answer was lost
        s3.complete_multipart_upload(**asked, MpuObjectSize=5)
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 5


@only_haul
def test_an_aborted_upload_leaves_nothing(s3: Any, bucket: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="m")
    upload = {"Bucket": bucket, "Key": "m", "UploadId": begun["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=b"part")
    assert s3.abort_multipart_upload(**upload)["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (
        lambda: s3.upload_part(**upload, PartNumber=2, Body=b"part"),
        lambda: s3.list_parts(**upload),
        lambda: s3.abort_multipart_upload(**upload),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert code_of(error) == ("NoSuchUpload", 404)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_parts_can_be_copied(s3: Any, bucket: str) -> None:
    data = os.urandom(6 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=data)
    upload = {"Bucket": bucket, "Key": "target"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    source = {"Bucket": bucket, "Key": "source"}
    whole = s3.upload_part_copy(**upload, PartNumber=1, CopySource=source)
    piece = s3.upload_part_copy(**upload, PartNumber=2, CopySource=source, CopySourceRange="bytes=10-19")
    etags = [one["CopyPartResult"]["ETag"] for one in (whole, piece)]
    assert etags == [md5(data), md5(data[10:20])]
    wanted = [{"PartNumber": number + 1, "ETag": etag} for number, etag in enumerate(etags)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": wanted})
    assert s3.get_object(Bucket=bucket, Key="target")["Body"].read() == data + data[10:20]


@only_haul
@pytest.mark.parametrize("asked", ["bytes=0-5", "bytes=4-9223372036854775807", "bytes=5-7"])
def test_a_part_is_no_copy_of_less_than_was_asked_for(s3: Any, bucket: str, asked: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=b"01234")
    upload = {"Bucket": bucket, "Key": "target"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    kept = s3.upload_part(**upload, PartNumber=1, Body=b"kept")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.upload_part_copy(**upload, PartNumber=1, CopySource=f"{bucket}/source", CopySourceRange=asked)
    assert code_of(error) == ("InvalidRange", 416)
    assert [one["ETag"] for one in s3.list_parts(**upload)["Parts"]] == [kept]


def test_presigned_urls_are_enough(service: Service, bucket: str) -> None:
    s3 = service.client(signature_version="s3v4")
    put = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "p/q r"}, ExpiresIn=60)
    with urlopen(Request(put, b"by url", {"Content-Type": "text/plain"}, method="PUT")) as answer:
        assert answer.status == 200
    get = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "p/q r"}, ExpiresIn=60)
    with urlopen(get) as answer:
        assert answer.read() == b"by url"


def test_settings_that_nobody_has_made(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert s3.get_object_acl(Bucket=bucket, Key="k")["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    for ask, code in [
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_tagging, "NoSuchTagSet"),
        (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
    ]:
        with pytest.raises(ClientError) as error:
            ask(Bucket=bucket)
        assert code_of(error) == (code, 404)


@only_haul
def test_uploads_in_progress_come_in_pages(s3: Any, bucket: str) -> None:
    keys = [f"dir/{number % 4}" for number in range(12)]
    begun = sorted((key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in [*keys, "z"])
    wanted = [one for one in begun if one[0] != "z"]
    for size in (1, 3, 5, 12, 1000):
        found: list[tuple[str, str]] = []
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": "dir/", "MaxUploads": size}
        while True:
            page = s3.list_multipart_uploads(**asked)
            rows = [(one["Key"], one["UploadId"]) for one in page.get("Uploads", [])]
            assert 0 < len(rows) <= size
            found += rows
            if not page["IsTruncated"]:
                break
            asked |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
        assert sorted(found) == wanted
        assert [key for key, _ in found] == [key for key, _ in wanted]
    after = s3.list_multipart_uploads(Bucket=bucket, KeyMarker="dir/2")
    assert [one["Key"] for one in after["Uploads"]] == ["dir/3"] * 3 + ["z"]
    none = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=0)
    assert (none["IsTruncated"], "Uploads" in none) == (False, False), "or who follows its pages has no end"
    for key, upload_id in begun:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
