"""What a typed source means, and the body that is posted for it."""

from __future__ import annotations

from typing import Any

import pytest

from cli.downloads import requests, sources
from cli.downloads.joboptions import Options
from cli.downloads.naming import ObjectList
from cli.downloads.sources import ALL, InBucket, Selection, Web
from cli.errors import UsageError
from cli.uris import parse
from common.backends.sources import parse_source, source_prefix
from common.names import Bucket, normalize_object_name


def build(source: str, destination: str, selection: Selection = ALL, objects: ObjectList | None = None) -> Any:
    body = requests.build(source, parse(destination), objects, Options(), selection)
    if destination.startswith("ais://b"):
        assert body.pop("bucket") == {"name": "b", "provider": "ais", "namespace": {"uuid": "", "name": ""}}
    return body


@pytest.mark.parametrize(
    ("typed", "link"),
    [
        ("s3://bucket/a/b.bin", "s3://bucket/a/b.bin"),
        ("aws://bucket/x", "s3://bucket/x"),
        ("gs://bucket/what?.txt", "gs://bucket/what%3F.txt"),
        ("gcp://bucket/x", "gs://bucket/x"),
        ("az://bucket/a#1", "az://bucket/a%231"),
        ("s3://bucket/100%", "s3://bucket/100%25"),
        ("s3://bucket/%41", "s3://bucket/%2541"),
        ("s3://bucket/a b", "s3://bucket/a%20b"),
        ("s3://bucket/ä", "s3://bucket/%C3%A4"),
        ("S3://bucket//abs", "s3://bucket//abs"),
        ("ais://@west/bucket/x", "ais://@west/bucket/x"),
        ("ais://@west#ns/bucket/x?", "ais://@west/%23ns/bucket/x%3F"),
        ("ais://h:8081/bucket/x y", "http://h:8081/v1/objects/bucket/x%20y"),
        ("ais://h.example.org/bucket/x", "http://h.example.org:8080/v1/objects/bucket/x"),
        ("ais://localhost/bucket/x", "http://localhost:8080/v1/objects/bucket/x"),
        ("ais://[::1]:80/bucket/x", "http://[::1]:80/v1/objects/bucket/x"),
        ("http://h/a%20b?c=d", "http://h/a%20b?c=d"),
        ("h/x", "h/x"),
    ],
)
def test_one_object(typed: str, link: str) -> None:
    assert build(typed, "ais://b") == {"type": "single", "link": link}


@pytest.mark.parametrize("name", ["a b/%41?#1", "ä/ö", "x//y", "100%", "a:b@c", "it's", "(1)*x", "tilde~$&=+,;"])
@pytest.mark.parametrize("bucket", ["s3://bucket", "gs://bucket", "az://bucket", "ais://@west/bucket", "ais://@w#n/b"])
def test_targets_read_exactly_the_name_that_was_typed(bucket: str, name: str) -> None:
    found = sources.parse(f"{bucket}/{name}")
    assert isinstance(found, InBucket)
    assert parse_source(found.link(name)) == (found.bucket, name)
    assert found.base.replace("@", "") == source_prefix(found.bucket)


def test_a_name_behind_a_directory_is_the_one_that_was_typed() -> None:
    sent = build("s3://bucket/dir/what?#%41", "ais://b/to/")["object_name"]
    assert normalize_object_name(sent) == "to/what?#%41"
    assert build("s3://bucket/x", "ais://b/y")["object_name"] == "y"


def test_templates() -> None:
    assert build("s3://bucket/a?/obj-{0..9}.bin", "ais://b/to/") == {
        "type": "range",
        "template": "s3://bucket/a%3F/obj-{0..9}.bin",
        "subdir": "to",
    }
    assert build("ais://h:81/bucket/obj-{0..9}", "ais://b")["template"] == "http://h:81/v1/objects/bucket/obj-{0..9}"


GS: dict[str, object] = {"name": "bucket", "provider": "gcp", "namespace": {"uuid": "", "name": ""}}


@pytest.mark.parametrize(
    ("typed", "destination", "selection", "fields"),
    [
        ("gs://bucket", "ais://b", ALL, {}),
        ("gs://bucket/", "ais://b/", ALL, {}),
        ("gs://bucket/*", "ais://b", ALL, {}),
        ("gs://bucket/a/b/", "ais://b/to/", ALL, {"prefix": "a/b/", "subdir": "to"}),
        ("gs://bucket/a/b*", "ais://b", ALL, {"prefix": "a/b"}),
        ("gs://bucket/a", "ais://b", Selection(recursive=True), {"prefix": "a"}),
        ("gs://bucket/a", "ais://b", Selection(suffix=".tar"), {"prefix": "a", "suffix": ".tar"}),
        ("gs://bucket", "ais://b", Selection(prefix="x?"), {"prefix": "x?"}),
        ("gs://bucket/a/", "ais://b", Selection(prefix="x"), {"prefix": "a/x"}),
        ("gs://bucket", "ais://b", Selection(sync=True), {"sync": True}),
        ("gs://bucket", "ais://b", Selection(sync=True, max_delete=0), {"sync": True, "max_delete": 0}),
    ],
)
def test_whole_buckets_and_prefixes(
    typed: str, destination: str, selection: Selection, fields: dict[str, object]
) -> None:
    assert build(typed, destination, selection) == {"type": "backend", "source": GS, "sync": False} | fields


def test_the_name_of_a_cluster_is_the_namespace_of_its_buckets() -> None:
    namespace = {"uuid": "west", "name": "ns"}
    assert build("ais://@west#ns/bucket", "ais://b")["source"] == {
        "name": "bucket",
        "provider": "ais",
        "namespace": namespace,
    }


def test_a_bucket_is_filled_from_itself() -> None:
    assert requests.itself("gs://bucket/a/", ALL) == "gs://bucket"
    assert requests.itself("gs://bucket/a", Selection(sync=True)) == "gs://bucket"
    assert build("gs://bucket/a/", "gs://bucket") == {"type": "backend", "bucket": GS, "prefix": "a/", "sync": False}
    assert requests.itself("http://h/x", ALL) == requests.itself("", ALL) == requests.itself("ais://h:1/b", ALL) == ""
    with pytest.raises(UsageError, match="haul prefetch gs://bucket/x"):
        requests.itself("gs://bucket/x", ALL)
    with pytest.raises(UsageError, match="keep their names"):
        build("gs://bucket", "gs://bucket/dir/")


def test_lists_of_names_in_a_bucket() -> None:
    assert build("gs://bucket/dir", "ais://b/to", objects=["x?", "d/{1}", "http://h/w?x=y", "s3://o/a#"]) == {
        "type": "multi",
        "objects": {
            "to/x%3F": "gs://bucket/dir/x%3F",
            "to/d/{1}": "gs://bucket/dir/d/%7B1%7D",
            "to/w": "http://h/w?x=y",
            "to/a%23": "s3://o/a%23",
        },
    }
    assert build("gs://bucket", "ais://b", objects={"n": "x y"})["objects"] == {"n": "gs://bucket/x%20y"}
    assert build("", "ais://b", objects=["s3://o/a b", "http://h/x"])["objects"] == ["s3://o/a%20b", "http://h/x"]
    assert build("ais://h:1/bucket", "ais://b", objects=["x"])["objects"] == {"x": "http://h:1/v1/objects/bucket/x"}


def test_what_is_listed_here_and_not_by_the_cluster() -> None:
    assert sources.is_listed_here(sources.parse("ais://h:1/bucket"), ALL)
    assert sources.is_listed_here(sources.parse("ais://h:1/bucket/x"), Selection(suffix="y"))
    assert not sources.is_listed_here(sources.parse("ais://h:1/bucket/x"), ALL)
    assert not sources.is_listed_here(sources.parse("s3://bucket"), ALL)
    assert sources.is_listed_here(Web("http://h/d/"), Selection(recursive=True))
    assert not sources.is_listed_here(Web("http://h/d/"), ALL)


@pytest.mark.parametrize(
    ("source", "selection", "message"),
    [
        ("ais://bucket/x", ALL, "a bucket of this cluster"),
        ("ais://#ns/bucket/x", ALL, "a bucket of this cluster"),
        ("ais://h:80", ALL, "names no bucket"),
        ("ais://h:80/no bucket/x", ALL, "bucket name is invalid"),
        ("oc://bucket/x", ALL, "not a source"),
        ("s3://", ALL, "bucket name is missing"),
        ("hf://x/y", ALL, "--hf-model"),
        ("http://h/x", Selection(sync=True), "are for buckets"),
        ("s3://bucket/x", Selection(prefix="y"), "names a prefix already"),
        ("s3://bucket", Selection(max_delete=3), "needs --sync"),
    ],
)
def test_what_cannot_be_meant(source: str, selection: Selection, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(source, "ais://b", selection)


def test_objects_that_were_listed_here() -> None:
    found: list[tuple[str, dict[str, object]]] = [("a?", {"link": "http://h/a%3F", "size": 3})]
    body = requests.build_found(found, parse("ais://b/to/"), Options())
    assert (body["type"], body["objects"]) == ("multi", {"to/a%3F": {"link": "http://h/a%3F", "size": 3}})
    assert Bucket("b").to_wire() == body["bucket"]
