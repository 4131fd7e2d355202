"""Buckets: made, removed, read about, copied, renamed, summed up."""

import json

import pytest
import requests
from aistore.sdk.errors import (
    AISError,
    ErrBckAlreadyExists,
    ErrBckNotFound,
    ErrRemoteBckNotFound,
    InvalidBckProvider,
)


def names(bucket, **options):
    return [entry.name for entry in bucket.list_all_objects(**options)]


def fill(bucket, *object_names):
    for name in object_names:
        bucket.object(name).get_writer().put_content(name.encode())
    return bucket


def test_create_twice(client, new_name):
    bucket = client.bucket(new_name()).create()
    with pytest.raises(ErrBckAlreadyExists):
        bucket.create()
    assert bucket.create(exist_ok=True) is bucket


def test_delete_what_is_missing(client, new_name):
    bucket = client.bucket(new_name())
    with pytest.raises(ErrBckNotFound):
        bucket.delete()
    bucket.delete(missing_ok=True)


def test_delete_removes_the_objects(client, bucket):
    fill(bucket, "a")
    bucket.delete()
    bucket.create()
    assert names(bucket) == []


def test_buckets_elsewhere_are_not_created(remote):
    with pytest.raises(InvalidBckProvider):
        remote.create()


def test_head_has_the_properties(bucket):
    properties = json.loads(bucket.head()["Ais-Bucket-Props"])
    assert properties["provider"] == "ais"
    assert properties["checksum"]["type"]
    assert properties["bid"] != "0"


def test_head_of_missing_buckets(client, new_name):
    # requests gives no body for HEAD, so the SDK can only tell that something is not there
    with pytest.raises((AISError, requests.HTTPError)) as raised:
        client.bucket(new_name()).head()
    assert "404" in str(raised.value)


def test_missing_buckets_when_listed(client, new_name):
    with pytest.raises(ErrBckNotFound):
        client.bucket(new_name()).list_objects()


def test_missing_buckets_of_a_service(client):
    with pytest.raises(ErrRemoteBckNotFound):
        client.bucket("there-is-no-such-bucket", provider="aws").list_objects()


def test_info(bucket):
    fill(bucket, "a", "bb")
    properties, summary = bucket.info()
    assert json.loads(properties)["provider"] == "ais"
    assert summary["name"] == bucket.name
    assert summary["ObjCount"]["obj_count_present"] == "2"
    assert summary["TotalSize"]["size_all_present_objs"] == "3"


def test_summary(bucket):
    fill(bucket, "a", "bb", "deep/ccc")
    summary = bucket.summary()
    assert summary["name"] == bucket.name
    assert summary["provider"] == "ais"
    assert summary["is_present"] is True
    assert summary["ObjCount"]["obj_count_present"] == "3"
    assert summary["TotalSize"]["size_all_present_objs"] == str(1 + 2 + len("deep/ccc"))
    assert summary["ObjSize"]["obj_min_size"] == 1
    assert summary["ObjSize"]["obj_max_size"] == len("deep/ccc")


def test_summary_of_a_prefix(bucket):
    fill(bucket, "a", "deep/b")
    assert bucket.summary(prefix="deep/")["ObjCount"]["obj_count_present"] == "1"


def test_summary_of_nothing_there(client, new_name):
    with pytest.raises(ErrBckNotFound):
        client.bucket(new_name()).summary()


def test_copy(client, bucket, new_name):
    fill(bucket, "a", "b", "c/d")
    copy = client.bucket(new_name())
    job_id = bucket.copy(to_bck=copy)
    assert client.job(job_id, job_kind="copy-bck").wait(timeout=30)
    assert names(copy) == ["a", "b", "c/d"]
    assert copy.object("c/d").get_reader().read_all() == b"c/d"
    assert names(bucket) == ["a", "b", "c/d"]


def test_copy_of_a_prefix_with_another(client, bucket, new_name):
    fill(bucket, "a", "b/1", "b/2")
    copy = client.bucket(new_name()).create()
    job_id = bucket.copy(to_bck=copy, prefix_filter="b/", prepend="was/")
    assert client.job(job_id, job_kind="copy-bck").wait(timeout=30)
    assert names(copy) == ["was/b/1", "was/b/2"]


def test_copy_with_other_extensions(client, bucket, new_name):
    fill(bucket, "one.jpg", "two.txt")
    copy = client.bucket(new_name()).create()
    job_id = bucket.copy(to_bck=copy, ext={"jpg": "png"})
    assert client.job(job_id, job_kind="copy-bck").wait(timeout=30)
    assert names(copy) == ["one.png", "two.txt"]


def test_dry_copy(client, bucket, new_name):
    fill(bucket, "a")
    copy = client.bucket(new_name()).create()
    job_id = bucket.copy(to_bck=copy, dry_run=True)
    assert client.job(job_id, job_kind="copy-bck").wait(timeout=30)
    assert names(copy) == []


def test_rename(client, bucket, new_name):
    fill(bucket, "a", "b/c")
    old, new = bucket.name, new_name()
    job_id = bucket.rename(new)
    assert client.job(job_id, job_kind="move-bck").wait(timeout=30)
    assert bucket.name == new
    assert names(bucket) == ["a", "b/c"]
    assert bucket.object("b/c").get_reader().read_all() == b"b/c"
    with pytest.raises(ErrBckNotFound):
        client.bucket(old).list_objects()


def test_evict_is_for_buckets_elsewhere(bucket):
    with pytest.raises(InvalidBckProvider):
        bucket.evict()


def test_put_a_directory(bucket, tmp_path):
    for path in ("one.txt", "two.bin", "sub/three.txt"):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(path)
    assert sorted(bucket.put_files(tmp_path)) == ["one.txt", "two.bin"]
    put = bucket.put_files(tmp_path, recursive=True, pattern="*.txt", prepend="all/")
    assert sorted(put) == ["all/one.txt", "all/sub/three.txt"]
    assert bucket.put_files(tmp_path, dry_run=True, prepend="never/") != []
    assert names(bucket) == ["all/one.txt", "all/sub/three.txt", "one.txt", "two.bin"]
    assert bucket.object("all/sub/three.txt").get_reader().read_all() == b"sub/three.txt"


def test_urls_of_all_objects(bucket):
    fill(bucket, "a b", "c")
    for url, content in zip(bucket.list_urls(), (b"a b", b"c"), strict=True):
        assert requests.get(url, timeout=10).content == content
