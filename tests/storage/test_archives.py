"""Members of archives over a whole cluster: what is read, what is listed, and what damaged or hostile archives do."""

import json
import os
import random
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from common.errors import Unsupported
from target.archives import walking
from target.archives.formats import Format
from target.archives.index import Index, Indexes
from target.archives.walking import build
from target.storage.metadata import ObjectMetadata
from target.storage.reader import OpenObject
from tests.cluster import Cluster
from tests.storage.archivefiles import MEMBERS, tar, tgz, untar, zipped

FORMATS = {
    "pax.tar": tar(MEMBERS),
    "gnu.tar": tar(MEMBERS, kind=tarfile.GNU_FORMAT),
    "dotted.tar": tar(MEMBERS, prefix="./"),
    "short.tgz": tgz(MEMBERS),
    "long.tar.gz": tgz(MEMBERS),
    "deflated.zip": zipped(MEMBERS),
    "stored.zip": zipped(MEMBERS, zipfile.ZIP_STORED),
    "large.zip": zipped(MEMBERS, force_zip64=True),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("archives")) as running:
        running.api.create_bucket("b")
        running.api.create_bucket("shards")
        for name, data in FORMATS.items():
            running.api.put("shards", name, data)
        yield running


def read(cluster: Cluster, name: str, method: str = "GET", bucket: str = "b", **query: str) -> httpx.Response:
    headers = {"Range": query.pop("range")} if "range" in query else {}
    return cluster.api.http.request(method, f"/v1/objects/{bucket}/{quote(name)}", params=query, headers=headers)


def refused(answer: httpx.Response, status: int, *texts: str) -> None:
    assert answer.status_code == status, answer.text[:1000]
    for text in texts:
        assert text in answer.json()["message"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_member_of_every_format_is_read_as_it_is(cluster: Cluster, name: str) -> None:
    for member, data in MEMBERS.items():
        answer = read(cluster, name, bucket="shards", archpath=member)
        assert answer.status_code == 200
        assert answer.content == data
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["content-type"] == "application/octet-stream"
        looked = read(cluster, name, "HEAD", bucket="shards", archpath=member, archregx="", props="chunked")
        assert (looked.status_code, looked.headers["content-length"]) == (200, str(len(data)))


@pytest.mark.parametrize("name", FORMATS)
def test_a_range_of_a_member_is_of_the_member(cluster: Cluster, name: str) -> None:
    for member in ("a/sample.seg.png", "zeros.bin"):
        data = MEMBERS[member]
        for asked, start, end in (("0-9", 0, 10), ("5000-", 5000, len(data)), ("-7", len(data) - 7, len(data))):
            answer = read(cluster, name, bucket="shards", archpath=member, range=f"bytes={asked}")
            assert answer.status_code == 206
            assert answer.content == data[start:end]
            assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(data)}"
    answer = read(cluster, name, bucket="shards", archpath="a/first.txt", range="bytes=5-")
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */5")


def test_a_leading_slash_or_dot_of_the_path_does_not_matter(cluster: Cluster) -> None:
    for spelt in ("/a/first.txt", "./a/first.txt", "a/first.txt"):
        assert read(cluster, "dotted.tar", bucket="shards", archpath=spelt).content == b"first"


@pytest.mark.parametrize(
    ("mode", "pattern", "wanted"),
    [
        ("regexp", r"\.(txt|cls)$", ["a/first.txt", "a/empty.cls", "ünïcode/Größe.txt"]),
        ("", "^a/[ef]", ["a/first.txt", "a/empty.cls"]),
        ("prefix", "a/", ["a/first.txt", "a/empty.cls", "a/sample.seg.png"]),
        ("suffix", ".txt", ["a/first.txt", "ünïcode/Größe.txt"]),
        ("substr", "seg", ["a/sample.seg.png"]),
        ("wdskey", "a/sample", ["a/sample.seg.png"]),
        ("regexp", "", ["a/first.txt"]),
        ("regexp", ".", list(MEMBERS)),
    ],
)
@pytest.mark.parametrize("name", FORMATS)
def test_all_that_match_come_as_a_tar(cluster: Cluster, name: str, mode: str, pattern: str, wanted: list[str]) -> None:
    if not pattern:
        refused(read(cluster, name, bucket="shards", archmode=mode), 400, "archregx")
        return
    answer = read(cluster, name, bucket="shards", archregx=pattern, archmode=mode, archpath="")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar")
    found = untar(answer.content)
    assert list(found.items()) == [(member, MEMBERS[member]) for member in wanted]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({"archpath": "a", "archregx": "b"}, 400, "exclude each other"),
        ({"archregx": "(", "archmode": "regexp"}, 400, "no regular expression"),
        ({"archregx": "a", "archmode": "glob"}, 400, "archmode"),
        ({"archregx": "x" * 5000, "archmode": "prefix"}, 400, "longer than"),
        ({"archpath": "x" * 20000}, 400, "longer than"),
        ({"archpath": "no/such"}, 404, 'ais://shards/pax.tar does not contain the archived file "no/such"'),
        ({"archpath": "a"}, 404, "ais://shards/pax.tar"),
        ({"archregx": "no such", "archmode": "substr"}, 404, "ais://shards/pax.tar"),
        ({"archpath": "a/first.txt", "archmime": ".zip"}, 400, "no whole .zip"),
        ({"archpath": "a/first.txt", "archmime": ".tar.lz4"}, 501, "lz4"),
        ({"archpath": "a/first.txt", "archmime": "rar"}, 400, "unknown archive format"),
    ],
)
def test_what_cannot_be_selected(cluster: Cluster, query: dict[str, str], status: int, text: str) -> None:
    refused(read(cluster, "pax.tar", bucket="shards", **query), status, text)


def test_a_missing_object_is_not_found_whatever_is_selected(cluster: Cluster) -> None:
    refused(read(cluster, "none.tar", archpath="a"), 404, "ais://b/none.tar does not exist")


def test_the_format_is_told_by_the_request_or_the_first_bytes(cluster: Cluster) -> None:
    for name, data in (("plain", FORMATS["pax.tar"]), ("packed", FORMATS["short.tgz"]), ("z", FORMATS["large.zip"])):
        cluster.api.put("b", f"by-magic/{name}", data)
        assert read(cluster, f"by-magic/{name}", archpath="a/first.txt").content == b"first"
    cluster.api.put("b", "wrong.zip", FORMATS["pax.tar"])
    for mime in (".tar", "tar", "application/x-tar"):
        assert read(cluster, "wrong.zip", archpath="a/first.txt", archmime=mime).content == b"first"
    cluster.api.put("b", "text", b"no archive at all" * 100)
    refused(read(cluster, "text", archpath="a"), 400, "ais://b/text: it is not an archive")


def _claiming(size: int) -> bytes:
    """A tar whose only member claims this size, and has ten bytes."""
    info = tarfile.TarInfo("huge")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + b"0123456789".ljust(512, b"\0")


def _large_header() -> bytes:
    """A tar with an extended header of two mebibytes."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 2 << 20
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(2 << 20) + tar({"a": b"b"})


def _nested_headers(count: int) -> bytes:
    """Extended headers upon extended headers."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    return (info.tobuf(tarfile.GNU_FORMAT) + bytes(512)) * count + tar({"a": b"b"})


def _broken(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


TWO = {"a": b"1" * 600, "b": b"2" * 600}
DAMAGED = {
    "empty.tar": b"",
    "cut.tar": tar(TWO)[:1500],
    "middle.tar": tar(TWO)[:2048] + b"\x01" * 512 + tar(TWO)[2560:],
    "claims.tar": _claiming(1 << 40),
    "negative.tar": _claiming(-(1 << 40)),
    "nested.tar": _nested_headers(3000),
    "cut.tgz": tgz(MEMBERS)[:300],
    "none.tgz": b"\x1f\x8bnot really",
    "cut.zip": zipped(TWO)[:-30],
    "none.zip": b"PK\x03\x04 and no more",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_archive_is_told_from_a_missing_member(cluster: Cluster, name: str) -> None:
    cluster.api.put("b", f"damaged/{name}", DAMAGED[name])
    refused(read(cluster, f"damaged/{name}", archpath="none"), 400, f"ais://b/damaged/{name}: ")
    listed = listing(cluster, prefix=f"damaged/{name}")
    assert [(entry["name"], entry["flags"]) for entry in listed] == [(f"damaged/{name}", 64)]


def test_a_header_is_read_up_to_a_limit(cluster: Cluster) -> None:
    cluster.api.put("b", "header.tar", _large_header())
    refused(read(cluster, "header.tar", archpath="a"), 501, "larger than")


def test_a_wrong_crc_in_a_zip_is_noticed_before_the_member_is_whole(cluster: Cluster) -> None:
    data = FORMATS["stored.zip"]
    small = _broken(data, data.index(b"first", data.index(b"first.txt") + 9))
    cluster.api.put("b", "small.zip", small)
    refused(read(cluster, "small.zip", archpath="a/first.txt"), 400, "CRC-32")
    large = _broken(data, data.index(bytes(1000)) + 500)
    cluster.api.put("b", "large.zip", large)
    with pytest.raises(httpx.RemoteProtocolError):
        read(cluster, "large.zip", archpath="zeros.bin")


def test_a_member_that_expands_beyond_its_size_ends_there(cluster: Cluster) -> None:
    data = bytearray(zipped({"zeros": bytes(4 << 20)}))
    place = data.rindex(b"PK\x01\x02")
    struct.pack_into("<L", data, place + 24, 1000)
    cluster.api.put("b", "bomb.zip", bytes(data))
    refused(read(cluster, "bomb.zip", archpath="zeros"), 400, "longer than it should be")


def test_an_encrypted_member_is_not_offered(cluster: Cluster) -> None:
    data = bytearray(zipped({"secret": b"x" * 100}))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    cluster.api.put("b", "encrypted.zip", bytes(data))
    refused(read(cluster, "encrypted.zip", archpath="secret"), 501, "encrypted", "ais://b/encrypted.zip")


def test_of_members_with_one_name_the_last_is_read(cluster: Cluster) -> None:
    appended = tar({"a": b"old", "b": b"x"}).rstrip(b"\0")
    appended += bytes(-len(appended) % 512) + tar({"a": b"new"})
    cluster.api.put("b", "appended.tar", appended)
    assert read(cluster, "appended.tar", archpath="a").content == b"new"
    names = [entry["name"] for entry in listing(cluster, prefix="appended.tar")]
    assert names == ["appended.tar", "appended.tar/a", "appended.tar/b"]


def test_an_archive_that_is_replaced_is_read_anew(cluster: Cluster) -> None:
    for content in (b"one", b"two", b"six"):
        cluster.api.put("b", "again.tar", tar({"x": content}))
        assert read(cluster, "again.tar", archpath="x").content == content


def listing(cluster: Cluster, bucket: str = "b", **message: Any) -> list[dict[str, Any]]:
    return cluster.api.list(bucket, **{"flags": "8", "props": "name,size", **message})


@pytest.mark.parametrize("page_size", [1, 3, 1000])
def test_a_listing_shows_each_archive_and_what_is_in_it(cluster: Cluster, page_size: int) -> None:
    entries = listing(cluster, "shards", pagesize=page_size)
    wanted = {}
    for archive, data in FORMATS.items():
        wanted[archive] = (len(data), 64 | 512)
        wanted |= {f"{archive}/{member}": (len(content), 64 | 128) for member, content in MEMBERS.items()}
    assert [entry["name"] for entry in entries] == sorted(wanted, key=str.encode)
    assert {entry["name"]: (int(entry.get("size", 0)), entry["flags"]) for entry in entries} == wanted


def test_members_are_in_byte_order_among_objects(cluster: Cluster) -> None:
    """Names with a hyphen, a full stop or nothing come between an archive and its members, archives among them."""
    cluster.api.create_bucket("order")
    spread = random.Random(6)
    members = {f"m{number:02}": b"x" * number for number in range(spread.randrange(5, 9))}
    names = ["s.tar", "s.tar-1", "s.tar-1.tar", "s.tar.", "s.tar.tar.gz", "s.tar0", "s.zip", "z", "d/s.tar", "d/s.tar-"]
    wanted = []
    for name in names:
        data = tgz(members) if name.endswith("gz") else zipped(members) if name.endswith("zip") else tar(members)
        cluster.api.put("order", name, data)
        wanted.append(name)
        if name.endswith((".tar", ".gz", ".zip")):
            wanted += [f"{name}/{member}" for member in members]
    wanted.sort(key=str.encode)
    for page_size in (1, 2, 7, 100):
        assert [entry["name"] for entry in listing(cluster, "order", pagesize=page_size)] == wanted
    for prefix in ("s.tar/m0", "s.tar/", "s.tar", "s.tar-1.tar/", "d/s.tar/m03", "d/", "nothing", "s.tar/x"):
        found = [entry["name"] for entry in listing(cluster, "order", prefix=prefix, pagesize=2)]
        assert found == [name for name in wanted if name.startswith(prefix)]
    for after in wanted:
        found = [entry["name"] for entry in listing(cluster, "order", start_after=after)]
        assert found == [name for name in wanted if name > after]


def test_a_large_archive_is_listed_in_pages(cluster: Cluster) -> None:
    cluster.api.create_bucket("large")
    wanted = [f"shard.tar/{number:06}.jpg" for number in range(20_000)]
    cluster.api.put("large", "shard.tar", tar({name.partition("/")[2]: b"" for name in wanted}))
    pages = list(cluster.api.pages("large", flags="8", props="name", pagesize=3000))
    assert [entry["name"] for page in pages for entry in page] == ["shard.tar", *wanted]
    assert max(map(len, pages)) == 3000


def test_a_listing_without_the_flag_looks_into_nothing(cluster: Cluster) -> None:
    assert [entry["name"] for entry in cluster.api.list("shards")] == sorted(FORMATS)


def test_what_an_archive_may_cost_is_limited(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in (("limits.tgz", FORMATS["short.tgz"]), ("limits.zip", FORMATS["large.zip"])):
        cluster.api.put("b", name, data)
    with monkeypatch.context() as patch:
        patch.setattr("target.archives.walking.MAX_EXPANDED_BYTES", 1 << 20)
        patch.setattr("target.archives.walking.MAX_DIRECTORY_BYTES", 300)
        refused(read(cluster, "limits.tgz", archpath="zeros.bin"), 501, "ais://b/limits.tgz: it expands to more than")
        refused(read(cluster, "limits.zip", archpath="zeros.bin"), 501, "larger than 300 bytes")
    refused(read(cluster, "limits.tgz", archpath="zeros.bin"), 501, "ais://b/limits.tgz: it expands to more than")
    cluster.api.put("b", "limits.tgz", FORMATS["short.tgz"])
    with monkeypatch.context() as patch:
        patch.setattr("target.archives.index.MAX_INDEX_BYTES", 500)
        refused(read(cluster, "limits.tgz", archpath="zeros.bin"), 501, "too many members")
    cluster.api.put("b", "limits.tgz", FORMATS["short.tgz"])
    assert read(cluster, "limits.tgz", archpath="a/first.txt").content == b"first"


def test_archives_that_take_long_to_look_into_hold_up_no_others(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"slow {number}.tgz" for number in range(40)]
    for name in names:
        cluster.api.put("b", name, FORMATS["short.tgz"])
    batch = json.dumps({"in": [{"objname": "short.tgz", "archpath": "a/first.txt"}], "strm": True})
    assert read(cluster, "short.tgz", bucket="shards", archpath="a/first.txt").content == b"first"
    may_go_on, begun = threading.Event(), threading.Semaphore(0)
    gunzip = walking.Gunzip

    def waiting(*arguments: Any, **options: Any) -> Any:
        begun.release()
        assert may_go_on.wait(60)
        return gunzip(*arguments, **options)

    monkeypatch.setattr(walking, "Gunzip", waiting)
    slow = json.dumps({"in": [{"objname": name, "archpath": "a/first.txt"} for name in names], "strm": True})
    with ThreadPoolExecutor(50) as threads:
        try:
            reads = [threads.submit(read, cluster, name, archpath="a/first.txt") for name in names]
            batches = [
                threads.submit(cluster.api.http.request, "GET", "/v1/ml/moss/b", content=slow) for _ in range(10)
            ]
            assert begun.acquire(timeout=60)
            for _ in range(3):
                assert read(cluster, "short.tgz", bucket="shards", archpath="a/first.txt").content == b"first"
                answer = cluster.api.http.request("GET", "/v1/ml/moss/shards", content=batch)
                assert list(untar(answer.content)) == ["shards/short.tgz/a/first.txt"]
            assert not any(one.done() for one in (*reads, *batches))
        finally:
            may_go_on.set()
        assert [one.result().content for one in reads] == [b"first"] * len(names)
        assert [len(untar(one.result().content)) for one in batches] == [len(names)] * len(batches)


def test_indexes_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    built = []

    def building(found: OpenObject, kind: Format) -> Index:
        built.append(found.metadata.checksum)
        return build(found, kind)

    indexes = Indexes(building, max_bytes=300)
    opened = []
    for number in range(3):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(tar({f"member {number}": b"x"}))
        found = ObjectMetadata(path.stat().st_size, str(number), version=1)
        opened.append(OpenObject(os.open(path, os.O_RDONLY), found, b""))
    for number in (0, 0, 1, 0, 2, 0, 1):
        member = indexes.of(opened[number], Format.TAR).find(f"member {number}")
        assert member is not None
        assert member.size == 1
    assert built == ["0", "1", "2", "1"]
    for found in opened:
        found.close()


def test_what_is_no_archive_is_looked_into_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("target.archives.index.MAX_REFUSALS", 2)
    built = []

    def building(found: OpenObject, kind: Format) -> Index:
        built.append(found.metadata.checksum)
        raise Unsupported(f"{found.metadata.checksum} expands to too much")

    indexes = Indexes(building)
    opened = []
    for number in range(3):
        path = tmp_path / f"{number}.tgz"
        path.write_bytes(b"x")
        opened.append(OpenObject(os.open(path, os.O_RDONLY), ObjectMetadata(1, str(number)), b""))
    for number in (0, 0, 1, 0, 2, 0, 1):
        with pytest.raises(Unsupported, match=f"{number} expands"):
            indexes.of(opened[number], Format.TGZ)
        assert indexes.knows(opened[number], Format.TGZ)
    assert built == ["0", "1", "2", "1"]
    for found in opened:
        found.close()
