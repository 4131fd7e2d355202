"""HuggingFace repositories as the source of jobs, from a hub of our own that the real huggingface_hub takes for one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from tests.cluster import Api, Cluster
from tests.hub import LARGE_BYTES, TOKEN, Hub, place_of

FILES = {
    **{f"data/part-{n:02}.bin": f"part {n} ".encode() * 200 for n in range(40)},
    **{f"small/{n}.json": json.dumps({"n": n}).encode() for n in range(8)},
    "README.md": b"# about",
    "odd names/100% ünï?#.txt": b"odd",
}
AUTHORIZED = {"Authorization": [f"Bearer {TOKEN}"]}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def cluster(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), targets=2, mountpaths=1, hf_endpoint=hub.url) as cluster:
        yield cluster


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return cluster.api


def fetch(api: Api, bucket: str, **fields: object) -> tuple[int, int, int]:
    """What a job of a repository has finished, skipped and not been able to do."""
    status = api.finished(api.download(type="hf", bucket={"name": bucket}, **fields))
    return status["finished_cnt"], status["skipped_cnt"], status["error_cnt"]


def stored(api: Api, bucket: str) -> dict[str, bytes]:
    return {entry["name"]: api.get(bucket, entry["name"]).content for entry in api.list(bucket)}


def refused(api: Api, **fields: object) -> tuple[int, str]:
    response = api.call("POST", "/v1/download", {"type": "hf", "bucket": {"name": "refused"}, **fields})
    return response.status_code, str(response.json()["message"])


def test_the_real_client_takes_this_hub_for_one(hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("models", "org/real", FILES)
    got = Path(huggingface_hub.snapshot_download("org/real", endpoint=hub.url, cache_dir=tmp_path, token=False))
    assert got.name == commit
    assert {str(path.relative_to(got)): path.read_bytes() for path in got.rglob("*") if path.is_file()} == FILES


def test_a_model_arrives_whole_and_verified_and_is_not_fetched_again(api: Api, hub: Hub) -> None:
    hub.add("models", "org/model", {**FILES, ".gitattributes": b"*.bin lfs"})
    assert fetch(api, "model", model="org/model", subdir="m") == (len(FILES), 0, 0)
    assert stored(api, "model") == {f"m/{path}": data for path, data in FILES.items()}
    large = {f"m/{path}" for path, data in FILES.items() if len(data) > LARGE_BYTES}

    assert sum(hub.storage.counts().values()) >= len(large)
    bodies, asked = hub.storage.counts(), hub.files_asked()
    assert fetch(api, "model", model="org/model", subdir="m") == (len(FILES), len(FILES), 0)
    assert (hub.storage.counts(), hub.files_asked()) == (bodies, asked), "not a single file is even asked for"


def test_what_is_there_already_is_not_fetched_for_another_commit_that_has_it_too(api: Api, hub: Hub) -> None:
    hub.add("models", "org/grown", {"kept.json": b"{}", "kept.bin": b"kept" * 100})
    assert fetch(api, "grown", model="org/grown") == (2, 0, 0)
    hub.add("models", "org/grown", {"kept.json": b"{}", "kept.bin": b"kept" * 100, "new.json": b"[]"})
    job = {"type": "hf", "bucket": {"name": "grown"}, "model": "org/grown"}
    found = api.call("POST", "/v1/download", {**job, "dry_run": True}).json()
    assert (found["present"], found["to_fetch"], found["bytes"]) == (2, 1, 2)
    assert fetch(api, "grown", model="org/grown") == (3, 2, 0)


def test_the_ledger_has_the_digests_and_is_a_manifest(api: Api, hub: Hub) -> None:
    hub.add("models", "org/ledger", {"small.json": b"{}", "large.bin": b"large" * 100})
    ended = api.download(type="hf", bucket={"name": "ledger"}, model="org/ledger")
    api.finished(ended)
    ledger = api.call("GET", f"/v1/download/{ended}/ledger").text
    lines = {line["name"]: line for line in map(json.loads, ledger.splitlines())}
    assert lines["small.json"]["gitsha1"] == hashlib.sha1(b"blob 2\0{}").hexdigest()
    assert lines["large.bin"]["sha256"] == hashlib.sha256(b"large" * 100).hexdigest()
    assert {line["grade"] for line in lines.values()} == {"user"}
    api.put("ledger", "lists/all.jsonl", ledger.encode())
    asked = hub.files_asked()
    again = api.finished(api.download(type="multi", bucket={"name": "ledger"}, manifest="ais://ledger/lists/all.jsonl"))
    assert (again["finished_cnt"], again["skipped_cnt"], hub.files_asked()) == (2, 2, asked)


def test_what_does_not_have_its_digest_is_an_error(api: Api, hub: Hub) -> None:
    hub.add("models", "org/broken", {"good.bin": b"good" * 100, "bad.bin": b"bad!" * 100, "bad.json": b"bad"})
    hub.storage.put(place_of(b"bad!" * 100), b"BAD!" * 100)
    hub.lie(b"bad", b"BAD")
    assert fetch(api, "broken", model="org/broken") == (1, 0, 2)
    assert set(stored(api, "broken")) == {"good.bin"}


def test_a_branch_that_moves_meanwhile_does_not_mix(api: Api, hub: Hub) -> None:
    first = hub.add("models", "org/moving", {"a.txt": b"1"})
    second = hub.add("models", "org/moving", {"a.txt": b"2"})
    assert fetch(api, "moving", model="org/moving", revision=first) == (1, 0, 0)
    assert stored(api, "moving") == {"a.txt": b"1"}
    assert fetch(api, "moving", model="org/moving") == (1, 0, 0)
    assert stored(api, "moving") == {"a.txt": b"2"}
    shown = api.call("GET", "/v1/download", {"regex": "org/moving"}).json()
    assert [job["source"] for job in shown] == [f"hf://org/moving@{commit}" for commit in (first, second)]
    assert [job["description"] for job in shown] == [
        f"hf://org/moving@{commit[:7]} -> ais://moving" for commit in (first, second)
    ]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"include": ["small/"]}, {f"small/{n}.json" for n in range(8)}),
        ({"include": ["*.md", "small/[01].json"], "exclude": ["*/0.json"]}, {"README.md", "small/1.json"}),
        ({"file": "small/3.json"}, {"small/3.json"}),
        ({"file": "small/3.json", "subdir": "x/y"}, {"x/y/small/3.json"}),
        ({"file": "small/3.json", "object_name": "three%.json"}, {"three%.json"}),
    ],
)
def test_a_part_of_a_repository(
    fields: dict[str, object], names: set[str], api: Api, hub: Hub, request: pytest.FixtureRequest
) -> None:
    hub.add("models", "org/part", FILES)
    bucket = f"part-{abs(hash(request.node.name))}"
    assert fetch(api, bucket, model="org/part", **fields) == (len(names), 0, 0)
    assert set(stored(api, bucket)) == names


OWN = {"squad.py": b"script", "train.json": b"[]"}
PARQUET = {
    f"{configuration}/{split}/0000.parquet": f"{configuration} {split}".encode() * 50
    for configuration in ("plain", "v2")
    for split in ("train", "validation")
}


class TestDatasets:
    def test_all_parquet_files_of_all_configurations(self, api: Api, hub: Hub) -> None:
        hub.add("datasets", "squad", OWN)
        hub.add("datasets", "squad", PARQUET, branch="refs/convert/parquet")
        assert fetch(api, "datasets", dataset="squad", subdir="squad") == (4, 0, 0)
        assert stored(api, "datasets") == {f"squad/{path}": data for path, data in PARQUET.items()}

    def test_its_own_files_when_a_revision_is_given(self, api: Api, hub: Hub) -> None:
        hub.add("datasets", "own", OWN)
        hub.add("datasets", "own", PARQUET, branch="refs/convert/parquet")
        assert fetch(api, "own", dataset="own", revision="main") == (2, 0, 0)
        assert stored(api, "own") == OWN

    def test_its_own_files_when_only_a_part_has_been_converted(self, api: Api, hub: Hub) -> None:
        hub.add("datasets", "huge", OWN)
        hub.add("datasets", "huge", {"plain/partial-train/0000.parquet": b"p"}, branch="refs/convert/parquet")
        assert fetch(api, "huge", dataset="huge") == (2, 0, 0)
        hub.add("datasets", "unconverted", OWN)
        assert fetch(api, "unconverted", dataset="unconverted") == (2, 0, 0)


def test_the_hubs_limits_are_kept_by_all_targets_together(api: Api, hub: Hub) -> None:
    hub.add("models", "org/limited", FILES)
    hub.limit("resolvers", len(FILES) // 2, 1)
    assert fetch(api, "limited", model="org/limited") == (len(FILES), 0, 0)
    assert hub.unlimit() <= len(FILES) // 2, "each file is refused once at most"


class TestTokens:
    def test_private_and_gated_ones_with_a_token_that_goes_nowhere_else(
        self, api: Api, hub: Hub, cluster: Cluster
    ) -> None:
        hub.add("models", "org/private", FILES, private=True)
        hub.add("models", "org/gated", FILES, gated=True)
        for name in ("private", "gated"):
            status, message = refused(api, model=f"org/{name}")
            assert status in (403, 404)
            assert f"hf://org/{name}" in message
            assert fetch(api, name, model=f"org/{name}", headers=AUTHORIZED) == (len(FILES), 0, 0)
        seen = {line for request in hub.storage.requests for line in request.headers.items()}
        assert not [value for _, value in seen if TOKEN in value], "the storage is another host"
        shown = api.call("GET", "/v1/download").text
        assert "org/private" in shown
        assert TOKEN not in shown
        assert "canarySIGNATURE" not in shown


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 400, "either a 'model' or a 'dataset'"),
        ({"model": "a", "dataset": "b"}, 400, "either a 'model' or a 'dataset'"),
        ({"model": "../../x"}, 400, "is no name of a HuggingFace repository"),
        ({"model": "org/none"}, 404, "hf://org/none does not exist, or it needs a token"),
        ({"model": "org/refuse", "revision": "none"}, 404, "hf://org/refuse@none: there is no such revision"),
        ({"model": "org/refuse", "file": "none.bin"}, 400, 'has no file "none.bin"'),
        ({"model": "org/refuse", "include": ["*.none"]}, 400, "has no file that is asked for"),
        ({"model": "org/refuse", "include": 1}, 400, "'include' must be a list of patterns"),
        ({"model": "org/refuse", "file": "a", "include": ["a"]}, 400, "not for one 'file'"),
        ({"model": "org/refuse", "object_name": "a"}, 400, "'object_name' is for one 'file'"),
        ({"model": "org/refuse", "objects": {"a": "http://h/a"}}, 200, ""),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    fields: dict[str, object], status: int, message: str, api: Api, hub: Hub
) -> None:
    hub.add("models", "org/refuse", {"a": b"a"})
    response = api.call("POST", "/v1/download", {"type": "hf", "bucket": {"name": "refused"}, **fields})
    assert response.status_code == status, response.text
    assert message in response.json().get("message", "")
    if status != 200:
        assert "refused" not in api.call("GET", "/v1/buckets", {"action": "list"}).text


def test_a_hub_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    with Cluster(tmp_path, targets=1, mountpaths=1, hf_endpoint="http://127.0.0.1:1") as cluster:
        status, message = refused(cluster.api, model="org/any")
        assert status == 503
        assert "the Hub does not answer" in message
