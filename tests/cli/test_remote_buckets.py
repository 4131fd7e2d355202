"""Commands on buckets elsewhere: what they send, and what they show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Haul
from tests.cli.standin import Cluster

AWS = {"provider": "aws"}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["s3://bucket"], {"template": ""}),
        (["s3://bucket/a b"], {"objnames": ["a b"]}),
        (["s3://bucket/dir/"], {"template": "dir/"}),
        (["s3://bucket/di*"], {"template": "di"}),
        (["s3://bucket/obj-{0..9}"], {"template": "obj-{0..9}"}),
        (["s3://bucket", "--prefix", "p"], {"template": "p"}),
        (["s3://bucket", "--template", "o{1..2}"], {"template": "o{1..2}"}),
        (["s3://bucket", "--list", "-"], {"objnames": ["x", "y z"]}),
    ],
)
def test_objects_that_are_prefetched(haul: Haul, cluster: Cluster, words: list[str], value: dict[str, object]) -> None:
    outcome = haul("prefetch", *words, stdin=b"x\ny z\n")
    assert (outcome.code, outcome.out) == (0, "Started job dnl-9\n")
    message = {"action": "prefetch-listrange", "value": value | {"latest-ver": False}}
    assert cluster.asked == [("POST", "bucket", AWS, message)]


def test_the_latest_version_and_json(haul: Haul, cluster: Cluster) -> None:
    outcome = haul("prefetch", "ais://@west#ns/bucket/x", "--latest", "--json")
    assert json.loads(outcome.out) == {"id": "dnl-9"}
    ((_, _, query, message),) = cluster.asked
    assert query == {"provider": "ais", "namespace": "@west#ns"}
    assert message["value"] == {"objnames": ["x"], "latest-ver": True}


def test_evicting(haul: Haul, cluster: Cluster) -> None:
    assert haul("evict", "s3://bucket").out == "Evicted s3://bucket\n"
    assert json.loads(haul("evict", "s3://bucket", "--keep-md", "--json").out) == {"uri": "s3://bucket"}
    assert haul("evict", "gs://bucket/x").out == "Started job dnl-9\n"
    assert haul("evict", "gs://bucket", "--prefix", "p").code == 0
    whole = {"action": "evict-remote-bck"}
    assert cluster.asked == [
        ("DELETE", "bucket", AWS, whole),
        ("DELETE", "bucket", AWS | {"keep_bck_md": "true"}, whole),
        ("DELETE", "bucket", {"provider": "gcp"}, {"action": "evict-listrange", "value": {"objnames": ["x"]}}),
        ("DELETE", "bucket", {"provider": "gcp"}, {"action": "evict-listrange", "value": {"template": "p"}}),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prefetch", "s3://bucket/x", "--prefix", "y"], "name the objects once"),
        (["evict", "s3://bucket", "--template", "x", "--list", "-"], "name the objects once"),
        (["evict", "s3://bucket/x", "--keep-md"], "whole buckets"),
        (["prefetch", "s3://bucket/a/../b"], "invalid object name"),
        (["prefetch", "s3://bucket", "--list", "-"], "expected names"),
        (["bucket", "props", "set", "ais://b", "mirror.copies"], "expected NAME=VALUE"),
        (["bucket", "props", "set", "ais://b", "{"], "no JSON object"),
        (["bucket", "props", "set", "ais://b", "mirror=1", "mirror.copies=2"], "both a value and"),
        (["bucket", "props", "set", "ais://b", "backend_bck"], "such as backend_bck="),
        (["bucket", "props", "set", "ais://b", "backend_bck=s3://x/y"], "a bucket is expected"),
    ],
)
def test_what_cannot_be_meant(haul: Haul, cluster: Cluster, words: list[str], message: str) -> None:
    outcome = haul(*words, stdin=b'{"a": "b"}')
    assert (outcome.code, cluster.asked) == (2, [])
    assert message in outcome.err


def test_a_bucket_in_front_of_another(haul: Haul, cluster: Cluster) -> None:
    assert haul("bucket", "props", "set", "ais://b", "backend_bck=gcp://x").code == 0
    assert haul("bucket", "props", "set", "ais://b", "backend_bck=none").out == "Changed ais://b: backend_bck=none\n"
    other = {"name": "x", "provider": "gcp", "namespace": {"uuid": "", "name": ""}}
    none = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}
    assert cluster.asked == [
        ("PATCH", "b", {"provider": "ais"}, {"action": "set-bprops", "value": {"backend_bck": bucket}})
        for bucket in (other, none)
    ]


def test_properties_of_all_kinds_are_set(haul: Haul, cluster: Cluster) -> None:
    words = ["mirror.copies=2", "mirror.enabled=false", "checksum.type=md5", "access=12"]
    assert haul("bucket", "props", "set", "b", *words).out == f"Changed ais://b: {', '.join(words)}\n"
    assert haul("bucket", "props", "set", "ais://b", '{"mirror": {"copies": 2}}').code == 0
    assert haul("bucket", "props", "reset", "ais://b").out == "Reset the properties of ais://b\n"
    mirror = {"copies": 2, "enabled": False}
    assert [message for _, _, _, message in cluster.asked] == [
        {"action": "set-bprops", "value": {"mirror": mirror, "checksum": {"type": "md5"}, "access": "12"}},
        {"action": "set-bprops", "value": {"mirror": {"copies": 2}}},
        {"action": "reset-bprops"},
    ]


def test_properties(haul: Haul, cluster: Cluster) -> None:
    cluster.buckets["b"] = {}
    assert haul("bucket", "props", "show", "ais://b").out == (
        "PROPERTY        VALUE\nbackend_bck     none\nbid             7\nmirror.copies   2\nmirror.enabled  false\n"
    )
    assert json.loads(haul("bucket", "props", "show", "ais://b", "--json").out)["bid"] == "7"
    assert haul("show", "bucket", "ais://b", "mirror").out.splitlines()[1:] == [
        "mirror.copies   2",
        "mirror.enabled  false",
    ]
    assert json.loads(haul("bucket", "props", "show", "ais://b", "bid", "--json").out) == "7"
    assert "Did you mean mirror?" in haul("bucket", "props", "show", "ais://b", "miror").err
    assert haul("bucket", "props", "show", "ais://none").code == 1


def test_what_is_there_and_what_of_it_is_here(haul: Haul, cluster: Cluster) -> None:
    cluster.outside["bucket"] = [{"name": "x", "size": "1024", "flags": 64}, {"name": "y", "size": "1"}]
    assert haul("ls", "s3://bucket").out == (
        "      SIZE  CACHED  NAME\n  1.00 KiB  yes     x\n       1 B  no      y\n2 objects, 1.00 KiB\n"
    )
    assert "cached" in cluster.asked[0][3]["value"]["props"]
    assert [entry["cached"] for entry in json.loads(haul("ls", "s3://bucket", "--json").out)] == [True, False]


def test_credentials_are_read_from_a_file(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text('{"access_key_id": "id", "secret_access_key": "SECRET"}')
    assert haul("download", "s3://bucket/", "ais://b", "--credentials", str(secrets)).code == 0
    assert haul("download", "gs://bucket/x", "ais://b", "--credentials", "-", stdin=b'{"token": "t"}').code == 0
    given = [body["credentials"] for body in cluster.posted]
    assert given == [{"access_key_id": "id", "secret_access_key": "SECRET"}, {"token": "t"}]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"token": 1}', '"SECRET"', "SECRET"])
def test_credentials_that_are_none_are_not_repeated(haul: Haul, cluster: Cluster, content: str) -> None:
    outcome = haul("download", "s3://bucket/", "ais://b", "--credentials", "-", stdin=content.encode())
    assert (outcome.code, cluster.posted) == (2, [])
    assert "JSON object of strings" in outcome.err
    assert "SECRET" not in outcome.err


def test_credentials_belong_to_buckets(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    web = haul("download", "http://h/x", "ais://b", "--credentials", "-", stdin=b'{"token": "t"}')
    assert (web.code, "--header" in web.err) == (2, True)
    missing = haul("download", "s3://bucket/", "ais://b", "--credentials", str(tmp_path / "none"))
    assert (missing.code, "cannot read the credentials" in missing.err) == (1, True)
    other = haul("download", "ais://h:1/b/x", "ais://b", "--credentials", "-", stdin=b'{"account_key": "t"}')
    assert (other.code, '{"token"' in other.err) == (2, True)


def test_the_destination_may_be_left_out_for_a_whole_bucket(haul: Haul, cluster: Cluster) -> None:
    assert haul("download", "s3://bucket").code == 0
    bucket = {"name": "bucket", "provider": "aws", "namespace": {"uuid": "", "name": ""}}
    assert cluster.posted == [{"type": "backend", "bucket": bucket, "sync": False}]
    assert haul("download", "s3://bucket/x").code == 2
    assert haul("download", "http://h/x").code == 2
    listed = haul("download", "--object-list", "-", "http://h", "ais://b", "--sync", stdin=b"x")
    assert (listed.code, "sources that are listed" in listed.err) == (2, True)
