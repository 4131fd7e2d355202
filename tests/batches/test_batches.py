"""Batches over a whole cluster: every entry in order, from all targets; and never is half of one taken for whole."""

import base64
import concurrent.futures
import email
import email.policy
import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.access import Permission
from tests.cluster import Cluster
from tests.storage.archivefiles import MEMBERS, tar, tgz, zipped
from tests.waiting import wait_for

SMALL = {f"small/{number:03}": bytes([number]) * (number * 37) for number in range(200)}
LARGE = {f"large/{number}": random.Random(number).randbytes((1 << 20) + number * 1000) for number in range(5)}
OTHER = {"in another bucket ü": b"other"}
SHARDS = {"s.tar": tar(MEMBERS), "s.tgz": tgz(MEMBERS), "s.zip": zipped(MEMBERS)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("batches")) as running:
        running.api.create_bucket("b")
        running.api.create_bucket("other")
        for bucket, objects in (("b", SMALL | LARGE | SHARDS), ("other", OTHER)):
            for name, data in objects.items():
                running.api.put(bucket, name, data)
        yield running


def ask(cluster: Cluster, entries: list[dict[str, Any]], method: str = "GET", **options: Any) -> httpx.Response:
    body = {"in": entries, "strm": True, **options}
    return cluster.api.http.request(method, "/v1/ml/moss/b?provider=ais", content=json.dumps(body))


def members(answer: httpx.Response, mime: str = ".tar") -> list[tuple[str, bytes]]:
    assert answer.status_code == 200, answer.text[:500]
    return unpacked(answer.content, mime)


def unpacked(data: bytes, mime: str) -> list[tuple[str, bytes]]:
    if mime == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(info.filename, archive.read(info)) for info in archive.infolist()]
    found = []
    with tarfile.open(fileobj=io.BytesIO(data if mime == ".tar" else gzip.decompress(data)), mode="r|") as stream:
        for info in stream:
            file = stream.extractfile(info)
            assert file is not None
            found.append((info.name, file.read()))
    return found


@pytest.mark.parametrize("mime", [".tar", ".tgz", ".tar.gz", ".zip"])
@pytest.mark.parametrize("only_names", [False, True])
def test_entries_come_in_order_whoever_has_them(cluster: Cluster, mime: str, only_names: bool) -> None:
    names = [*SMALL, *LARGE, *list(SMALL)[:3]]
    random.Random(1).shuffle(names)
    answer = ask(cluster, [{"objname": name} for name in names], mime=mime, onob=only_names)
    assert answer.headers["content-type"] == {".tar": "application/x-tar", ".zip": "application/zip"}.get(
        mime, "application/x-tgz"
    )
    objects = SMALL | LARGE
    assert members(answer, mime) == [(name if only_names else f"b/{name}", objects[name]) for name in names]


@pytest.mark.parametrize("mime", [".tar", ".zip"])
def test_objects_that_s3_tools_have_made_for_folders_are_entries_like_others(cluster: Cluster, mime: str) -> None:
    cluster.api.http.put("/s3/b/folder/", content=b"").raise_for_status()
    answer = ask(cluster, [{"objname": "folder/"}, {"objname": "small/001"}], mime=mime, onob=True)
    found = [(name.rstrip("/"), data) for name, data in members(answer, mime)]
    assert found == [("folder", b""), ("small/001", SMALL["small/001"])]


def test_members_of_archives_and_parts_come_too(cluster: Cluster) -> None:
    entries: list[dict[str, Any]] = []
    wanted = []
    for shard in SHARDS:
        for member, data in MEMBERS.items():
            entries.append({"objname": shard, "archpath": member})
            wanted.append((f"b/{shard}/{member}", data))
    shard_part = {"objname": "s.tgz", "archpath": "a/sample.seg.png", "start": 10, "length": 20}
    parts = [
        ({"objname": "large/1", "start": 5, "length": 700_000}, ("b/large/1", LARGE["large/1"][5:700_005])),
        ({"objname": "large/2", "start": 1_000_000, "length": -1}, ("b/large/2", LARGE["large/2"][1_000_000:])),
        ({"objname": "large/2", "length": 3}, ("b/large/2", LARGE["large/2"][:3])),
        ({"objname": "small/000", "length": -1}, ("b/small/000", b"")),
        (shard_part, ("b/s.tgz/a/sample.seg.png", MEMBERS["a/sample.seg.png"][10:30])),
        ({"objname": "in another bucket ü", "bucket": "other"}, ("other/in another bucket ü", b"other")),
        ({"uname": "ais/@#/other/in another bucket ü"}, ("other/in another bucket ü", b"other")),
    ]
    answer = ask(cluster, [*entries, *(part for part, _ in parts)], "POST")
    assert members(answer) == [*wanted, *(part for _, part in parts)]


FAILING = [
    ({"objname": "none"}, "b/none", "ais://b/none does not exist"),
    ({"objname": "s.tar", "archpath": "none/"}, "b/s.tar/none", "ais://b/s.tar does not contain"),
    ({"objname": "small/001", "archpath": "x"}, "b/small/001/x", "not an archive"),
    ({"objname": "small/001", "start": 37, "length": -1}, "b/small/001", "not satisfiable"),
    ({"objname": "small/001", "start": 30, "length": 8}, "b/small/001", "not satisfiable"),
]


def test_what_cannot_be_read_is_marked_if_the_rest_is_to_come(cluster: Cluster) -> None:
    entries: list[dict[str, Any]] = []
    wanted = []
    for entry, name, _ in FAILING:
        entries += [entry, {"objname": "small/005"}]
        wanted += [(f"__404__/{name}", b""), ("b/small/005", SMALL["small/005"])]
    for mime in (".tar", ".zip"):
        assert members(ask(cluster, entries, coer=True, mime=mime), mime) == wanted


@pytest.mark.parametrize(("entry", "name", "text"), FAILING)
def test_otherwise_it_is_the_answer(cluster: Cluster, entry: dict[str, Any], name: str, text: str) -> None:
    for streamed in (True, False):
        answer = ask(cluster, [{"objname": "small/001"}, entry], strm=streamed)
        assert answer.status_code in (400, 404, 416)
        assert text in answer.json()["message"]


def test_a_failure_behind_the_first_bytes_breaks_the_answer_off(cluster: Cluster) -> None:
    entries = [{"objname": name} for name in LARGE]
    with pytest.raises(httpx.RemoteProtocolError):
        ask(cluster, [*entries, {"objname": "none"}, *entries])


def test_a_description_comes_before_the_archive(cluster: Cluster) -> None:
    opaque = base64.b64encode(b"\0\xff mine").decode()
    entries: list[dict[str, Any]] = [
        {"objname": "small/007", "opaque": opaque},
        {"objname": "none"},
        {"objname": "s.zip", "archpath": "a/first.txt"},
        {"objname": "large/3"},
    ]
    answer = ask(cluster, entries, strm=False, coer=True)
    assert answer.status_code == 200
    raw = b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.content
    message = email.message_from_bytes(raw, policy=email.policy.HTTP)
    described, archive = message.iter_parts()
    assert described.get_param("name", header="content-disposition") == "metadata"
    assert archive.get_param("name", header="content-disposition") == "archive"
    told = json.loads(described.get_payload(decode=True))
    assert told["uuid"]
    assert "ais://b/none does not exist" in told["out"][1].pop("err_msg")
    common = {"bucket": "b", "provider": "ais"}
    assert told["out"] == [
        {"objname": "small/007", **common, "opaque": opaque, "size": 7 * 37},
        {"objname": "none", **common, "size": 0},
        {"objname": "s.zip", "archpath": "a/first.txt", **common, "size": 5},
        {"objname": "large/3", **common, "size": len(LARGE["large/3"])},
    ]
    begin = answer.content.index(b"\r\n\r\n", answer.content.index(b'name="archive"')) + 4
    assert [name for name, _ in unpacked(answer.content[begin:], ".tar")] == [
        "b/small/007",
        "__404__/b/none",
        "b/s.zip/a/first.txt",
        "b/large/3",
    ]


def test_many_small_entries_come_in_one_answer(cluster: Cluster) -> None:
    names = [*SMALL] * 15
    answer = ask(cluster, [{"objname": name} for name in names])
    assert members(answer) == [(f"b/{name}", SMALL[name]) for name in names]


def test_batches_at_the_same_time_do_not_wait_for_each_other(cluster: Cluster) -> None:
    """Each has more large entries open than there would be room for if all of them kept theirs."""
    entries = [{"objname": name} for name in LARGE] * 3

    def one(_: int) -> int:
        with httpx.Client(base_url=cluster.api.url, follow_redirects=True, timeout=60) as http:
            answer = http.request("GET", "/v1/ml/moss/b", content=json.dumps({"in": entries, "strm": True}))
            return len(members(answer))

    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        assert list(threads.map(one, range(12))) == [len(entries)] * 12


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "unmarshal"),
        (b"[]", "expecting an object"),
        ({"in": []}, "'in'"),
        ({"in": "x"}, "'in'"),
        ({"in": [{"objname": "a"}], "mime": ".rar"}, ".rar"),
        ({"in": [{"objname": "a"}, {}]}, "entry 1"),
        ({"in": [{"objname": "../a"}]}, "entry 0"),
        ({"in": [{"objname": "a", "start": -1}]}, "'start'"),
        ({"in": [{"objname": "a", "start": 1}]}, "'length'"),
        ({"in": [{"objname": "a", "length": -2}]}, "'length'"),
        ({"in": [{"objname": "a", "length": 1 << 70}]}, "63 bits"),
        ({"in": [{"objname": "a", "bucket": 1}]}, "'bucket'"),
        ({"in": [{"objname": "a", "archpath": "a\0"}]}, "'archpath'"),
        ({"in": [{"objname": "a", "archpath": "\ud800"}], "strm": True, "coer": True}, "'archpath'"),
        ({"in": [{"uname": "ais/@#/b"}]}, "uname"),
        ({"in": [{"objname": "a", "opaque": "x" * 5000}]}, "'opaque'"),
        ({"in": [{"objname": "a"}] * 100_001}, "at most 100000"),
        ({"in": [{"objname": "a"}], "strm": "yes"}, "'strm'"),
        (b"[" * 100_000, "unmarshal"),
        (b'{"in": [{"objname": "a"}], "more": [' + b"[]," * 1_000_001 + b"1]}", "values"),
    ],
)
def test_a_bad_request_names_what_is_wrong(cluster: Cluster, body: Any, text: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = cluster.api.http.request("GET", "/v1/ml/moss/b", content=content)
    assert answer.status_code == 400
    assert text in answer.json()["message"]


def test_what_is_not_there_or_not_offered(cluster: Cluster) -> None:
    http = cluster.api.http
    assert http.request("GET", "/v1/ml/moss/none", content="{}").status_code == 404
    assert http.put("/v1/ml/moss/b", content="{}").status_code == 405
    assert http.request("GET", "/v1/ml/moss/b/x", content="{}").status_code == 400
    assert http.request("GET", "/v1/ml/moss/b?etl_name=t", content="{}").status_code == 501
    one = json.dumps({"in": [{"objname": "small/001"}], "strm": True})
    answer = http.request("GET", "/v1/ml/moss/b?etl_name=", content=one)
    assert members(answer) == [("b/small/001", SMALL["small/001"])]
    answer = http.request("GET", "/v1/ml/moss", content=json.dumps({"in": [{"objname": "a"}]}))
    assert (answer.status_code, "names no bucket" in answer.text) == (400, True)
    answer = http.request("GET", "/v1/ml/moss/b", content=json.dumps({"in": [{"objname": "a"}], "mime": ".tar.lz4"}))
    assert answer.status_code == 501


def test_a_bucket_that_may_not_be_read_fails_the_batch(cluster: Cluster) -> None:
    name = next(iter(OTHER))
    entries = [{"objname": "small/001"}, {"objname": name, "bucket": "other"}, {"uname": f"ais/@#/other/{name}"}]

    def set_access(bits: int) -> None:
        message = {"action": "set-bprops", "value": {"access": str(bits)}}
        assert cluster.api.call("PATCH", "/v1/buckets/other", message).status_code == 200

    everything = (1 << 64) - 1
    set_access(everything & ~Permission.GET)
    try:
        for refused in (entries, entries[:2], entries[::2]):
            for options in ({}, {"coer": True}, {"coer": True, "strm": False}):
                answer = ask(cluster, refused, **options)
                assert (answer.status_code, "ais://other" in answer.text) == (403, True), answer.text
        assert members(ask(cluster, entries[:1])) == [("b/small/001", SMALL["small/001"])]
    finally:
        set_access(everything)
    assert len(members(ask(cluster, entries))) == 3


@pytest.mark.parametrize("options", [{}, {"coer": True}, {"coer": True, "strm": False}])
def test_a_bucket_that_is_not_there_fails_the_batch(cluster: Cluster, options: dict[str, Any]) -> None:
    for wrong in ({"objname": "small/001", "bucket": "othre"}, {"uname": "ais/@#/othre/small/001"}):
        answer = ask(cluster, [{"objname": "small/001"}, wrong], **options)
        assert (answer.status_code, answer.json()["message"]) == (404, 'bucket "ais://othre" does not exist')


def test_a_bucket_that_was_just_made_is_there(cluster: Cluster) -> None:
    for number in range(5):
        cluster.api.create_bucket(f"new-{number}")
        cluster.api.put(f"new-{number}", "a", b"new")
        entries = [{"objname": "a", "bucket": f"new-{number}"}]
        assert members(ask(cluster, entries)) == [(f"new-{number}/a", b"new")]


def test_a_client_that_goes_away_leaves_nothing_open(cluster: Cluster) -> None:
    entries = [{"objname": name} for name in LARGE] * 20
    before = _descriptors()
    for _ in range(5):
        with httpx.stream(
            "GET",
            f"{cluster.api.url}/v1/ml/moss/b",
            content=json.dumps({"in": entries, "strm": True}),
            follow_redirects=True,
        ) as answer:
            next(answer.iter_raw())
    assert members(ask(cluster, [{"objname": "small/001"}]))
    wait_for(lambda: _descriptors() < before + 40, what="descriptors to be closed")


@pytest.mark.parametrize("streams", [True, False])
def test_a_client_that_takes_nothing_loses_its_place(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    monkeypatch.setattr("common.patience.TAKING_SECONDS", 0.2)
    monkeypatch.setattr("target.api.batches._MAX_BATCHES", 1)
    url = f"{cluster.urls['t1']}/v1/ml/moss/b"
    large = json.dumps({"in": [{"objname": name} for name in LARGE] * 10, "strm": streams})
    small = json.dumps({"in": [{"objname": "small/001"}], "strm": True})
    with httpx.stream("GET", url, content=large, timeout=60) as answer:
        assert answer.status_code == 200
        assert httpx.request("GET", url, content=small).status_code in (200, 503)
        wait_for(
            lambda: httpx.request("GET", url, content=small).status_code == 200, what="the place of who takes nothing"
        )
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()


def test_a_target_that_cannot_send_many_at_once_is_asked_one_by_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("target.batches.relays.PATH", "/intra/v1/of-a-later-version")
    names = [*list(SMALL)[:30], *LARGE]
    assert members(ask(cluster, [{"objname": name} for name in names])) == [
        (f"b/{name}", (SMALL | LARGE)[name]) for name in names
    ]


def test_a_silent_target_fails_the_batch_and_says_to_try_again(cluster: Cluster) -> None:
    names = list(SMALL)[:30]
    asked = json.dumps({"in": [{"objname": name} for name in names], "strm": True})
    marked = json.dumps({"in": [{"objname": name} for name in names], "strm": True, "coer": True})
    cluster.stop("t3")
    try:
        answers = [cluster.api.http.request("GET", f"{cluster.urls['t1']}/v1/ml/moss/b", content=asked)]
        found = members(cluster.api.http.request("GET", f"{cluster.urls['t2']}/v1/ml/moss/b", content=marked))
    finally:
        cluster.start("t3")
        cluster.wait_until_ready()
    assert [(answer.status_code, "retry-after" in answer.headers) for answer in answers] == [(503, True)]
    assert len(found) == len(names)
    assert 0 < sum(name.startswith("__404__/") for name, _ in found) < len(names)


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
