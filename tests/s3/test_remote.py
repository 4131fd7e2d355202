"""Buckets that are outside, by S3: read and listed through the cluster, not written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.backends.s3server import MotoS3
from tests.cluster import Cluster
from tests.s3.service import Service

KEYS = ["a", "dir/b", "dir/c", "z"]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with MotoS3() as outside:
        there = outside.client()
        there.create_bucket(Bucket="outside")
        for key in KEYS:
            there.put_object(Bucket="outside", Key=key, Body=key.encode())
        with Cluster(tmp_path_factory.mktemp("remote"), backends=outside.settings_toml()) as cluster:
            body = {"action": "create-bck"}
            assert cluster.api.call("POST", "/v1/buckets/outside?provider=s3", body).status_code == 200
            yield Service(cluster.urls["p1"] + "/s3", cluster).client()


def test_what_is_outside_is_read(s3: Any) -> None:
    assert s3.head_object(Bucket="outside", Key="dir/b")["ContentLength"] == 5
    assert s3.get_object(Bucket="outside", Key="dir/b")["Body"].read() == b"dir/b"
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="outside", Key="none")
    assert error.value.response["Error"]["Code"] == "NoSuchKey"


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
def test_what_is_outside_is_listed(s3: Any, version: str) -> None:
    pages = s3.get_paginator(version).paginate(Bucket="outside", PaginationConfig={"PageSize": 3})
    found = [one for page in pages for one in page.get("Contents", [])]
    assert [(one["Key"], one["Size"]) for one in found] == [(key, len(key)) for key in KEYS]
    level = getattr(s3, version)(Bucket="outside", Delimiter="/")
    assert [one["Key"] for one in level["Contents"]] == ["a", "z"]
    assert [one["Prefix"] for one in level["CommonPrefixes"]] == ["dir/"]


def test_nothing_is_changed_outside(s3: Any, tmp_path: Path) -> None:
    for call in (
        lambda: s3.put_object(Bucket="outside", Key="new", Body=b"1"),
        lambda: s3.delete_object(Bucket="outside", Key="a"),
        lambda: s3.delete_bucket(Bucket="outside"),
        lambda: s3.create_bucket(Bucket="outside"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        code = error.value.response["Error"]["Code"]
        assert code in ("NotImplemented", "MethodNotAllowed", "BucketAlreadyExists")
    assert s3.get_object(Bucket="outside", Key="a")["Body"].read() == b"a"
