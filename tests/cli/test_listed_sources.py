"""Another cluster's buckets and a web server's index pages, fetched into a real cluster by the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from tests.backends.test_web import page_of, site
from tests.cli.conftest import Haul
from tests.cli.standin import Cluster as Standin
from tests.cluster import Cluster
from tests.serving import serving

CONTENTS = {"dir/a b": b"1", "dir/what?#%41": b"22", "dir/sub/ü": b"333", "other": b"4444"}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("other"), targets=2) as cluster:
        cluster.api.create_bucket("src")
        for name, content in CONTENTS.items():
            cluster.api.put("src", name, content)
        yield cluster


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, other: Cluster) -> Iterator[Cluster]:
    backends = f'[clusters.west]\nurl = "{other.api.url}"\n'
    with Cluster(tmp_path_factory.mktemp("own"), targets=2, backends=backends) as cluster:
        yield cluster


@pytest.fixture
def address(other: Cluster, own: Cluster, monkeypatch: pytest.MonkeyPatch, state_home: Path) -> str:
    monkeypatch.setenv("HAUL_ENDPOINT", own.api.url)
    return f"ais://{other.api.url.removeprefix('http://')}"


def stored(own: Cluster, bucket: str) -> dict[str, bytes]:
    return {entry["name"]: own.api.get(bucket, entry["name"]).content for entry in own.api.list(bucket)}


def test_a_whole_bucket_of_another_cluster(haul: Haul, own: Cluster, address: str) -> None:
    outcome = haul("download", f"{address}/src", "ais://whole/to/", "--wait")
    assert outcome.code == 0, outcome.err
    assert "Found 4 objects" in outcome.err
    assert stored(own, "whole") == {f"to/{name}": content for name, content in CONTENTS.items()}


def test_a_prefix_an_object_and_a_template_of_another_cluster(haul: Haul, own: Cluster, address: str) -> None:
    assert haul("download", f"{address}/src/dir/", "ais://part", "--suffix", "b", "--wait").code == 0
    assert haul("download", f"{address}/src/dir/what?#%41", "ais://part", "--wait").code == 0
    assert haul("download", f"{address}/src/othe{{0..1}}", "ais://part", "--wait").code == 1
    assert stored(own, "part") == {"dir/a b": b"1", "what?#%41": b"22"}


def test_sizes_and_digests_go_along(haul: Haul, cluster: Standin, other: Cluster) -> None:
    address = f"ais://{other.api.url.removeprefix('http://')}"
    assert haul("download", f"{address}/src/other*", "ais://b", "--credentials", "-", stdin=b'{"token":"t"}').code == 0
    link = f"{other.api.url}/v1/objects/src/other"
    fields = {"link": link, "size": 4, "xxh64": xxhash.xxh64_hexdigest(b"4444")}
    (body,) = cluster.posted
    assert body["objects"] == {"other": fields}
    assert (body["headers"], "credentials" in body) == ({"Authorization": ["Bearer t"]}, False)
    assert haul("download", f"{address}/src/other", "ais://b", "--credentials", "-", stdin=b'{"token":"t"}').code == 0
    assert cluster.posted[1]["link"] == link
    assert cluster.posted[1]["headers"] == {"Authorization": ["Bearer t"]}


def test_files_behind_index_pages(haul: Haul, own: Cluster, address: str) -> None:
    pages: dict[str, Any] = {
        "/d/": page_of("a%20b", "sub/", "%ff", "?C=N"),
        "/d/sub/": page_of("x.bin", "y.txt"),
        "/d/a b": b"1",
        "/d/sub/x.bin": b"22",
        "/d/sub/y.txt": b"333",
    }
    with serving(site(pages)) as url:
        outcome = haul("download", f"{url}/d/", "ais://web/to", "--recursive", "--wait")
        assert outcome.code == 0, outcome.err
        assert "Left out 1 link" in outcome.err
        assert (
            haul("download", f"{url}/d", "ais://web", "-r", "--prefix", "sub/", "--suffix", ".bin", "--wait").code == 0
        )
    assert stored(own, "web") == {"to/a b": b"1", "to/sub/x.bin": b"22", "to/sub/y.txt": b"333", "sub/x.bin": b"22"}


@pytest.mark.parametrize(
    ("source", "options", "code", "message"),
    [
        ("{address}/none", [], 1, "does not exist"),
        ("{address}/src/nothing/", [], 1, "lists no object"),
        ("{address}/src", ["--sync"], 2, "--sync is for buckets"),
        ("ais://127.0.0.1:9/src", [], 1, "does not answer"),
        ("http://127.0.0.1:9/d/", ["--recursive"], 1, "does not answer"),
        ("http://127.0.0.1:9/d{{0..9}}/", ["--recursive"], 2, "not a template"),
        ("ftp://127.0.0.1:9/d", ["--recursive"], 1, "http(s)"),
    ],
)
def test_what_cannot_be_listed(
    haul: Haul, address: str, source: str, options: list[str], code: int, message: str
) -> None:
    outcome = haul("download", source.format(address=address), "ais://b", *options)
    assert (outcome.code, message in outcome.err) == (code, True), outcome.err


def test_in_json_only_the_job_is_told(haul: Haul, cluster: Standin, other: Cluster) -> None:
    address = f"ais://{other.api.url.removeprefix('http://')}"
    assert json.loads(haul("download", f"{address}/src/other*", "ais://b", "--json").out) == {"id": "dnl-new"}


@pytest.mark.usefixtures("address")
def test_buckets_of_a_configured_cluster(haul: Haul, own: Cluster) -> None:
    assert haul("download", "ais://@west/src/dir/", "ais://named/to", "--wait").code == 0
    assert haul("download", "ais://@west/src/dir/what?#%41", "ais://named", "--wait").code == 0
    assert haul("download", "ais://@west/src/dir/a b", "ais://named/one", "--wait").code == 0
    assert haul("download", "ais://@west/src/othe{0..1}", "ais://named", "--wait").code == 1
    inside = {f"to/{name}": content for name, content in CONTENTS.items() if name.startswith("dir/")}
    assert stored(own, "named") == inside | {"what?#%41": b"22", "one": b"1"}


@pytest.mark.usefixtures("address")
def test_a_bucket_is_kept_as_its_source_is(haul: Haul, own: Cluster, other: Cluster) -> None:
    other.api.create_bucket("changing")
    for name in ("x", "y"):
        other.api.put("changing", name, name.encode())
    assert haul("download", "ais://@west/changing", "ais://copy", "--sync", "--wait").code == 0
    assert stored(own, "copy") == {"x": b"x", "y": b"y"}
    other.api.put("changing", "x", b"new")
    assert haul("evict", "ais://@west/none").code == 1
    other.api.http.delete("/v1/objects/changing/y")
    assert haul("download", "ais://@west/changing", "ais://copy", "--sync", "--max-delete", "1", "--wait").code == 0
    assert stored(own, "copy") == {"x": b"new"}


@pytest.mark.usefixtures("address")
def test_a_bucket_elsewhere_is_filled_from_itself_and_evicted(haul: Haul, other: Cluster) -> None:
    other.api.create_bucket("kept")
    for name in ("x", "y"):
        other.api.put("kept", name, name.encode())

    def cached() -> list[str]:
        listed = haul("ls", "ais://@west/kept", "--json")
        return [entry["name"] for entry in json.loads(listed.out) if entry["cached"]]

    assert haul("download", "ais://@west/kept", "--suffix", "x", "--wait").code == 0
    assert cached() == ["x"]
    assert haul("evict", "ais://@west/kept").code == 0
    assert cached() == []
