"""Buckets and objects through `haul.Client` and `haul.AsyncClient`: every way to write and to read, and odd names."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import xxhash

import haul
from tests.cluster import Cluster

ODD_NAMES = ["a b/c d.txt", "100%/%41%2F.bin", "größe/日本語 ☃.txt", "a//b", "q?x=1&y#z", "plus+and;semi", "star*[x]"]


def test_buckets_come_and_go(client: haul.Client) -> None:
    client.create_bucket("ais://come")
    with pytest.raises(haul.AlreadyExists, match="come"):
        client.create_bucket("come")
    client.create_bucket("come", exist_ok=True)
    assert haul.Bucket("come") in client.buckets()
    assert client.bucket_properties("come")["provider"] == "ais"
    client.delete_bucket("come")
    assert haul.Bucket("come") not in client.buckets()
    with pytest.raises(haul.NotFound):
        client.bucket_properties("come")
    with pytest.raises(haul.NotFound):
        client.put("come", "x", b"x")


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_name_is_the_object_that_it_names(endpoints: list[str], name: str, direct: bool) -> None:
    with haul.Client(endpoints, direct=direct) as client:
        client.create_bucket("odd", exist_ok=True)
        client.put("odd", name, name.encode())
        assert client.get("odd", name) == name.encode()
        assert client.head("odd", name).size_bytes == len(name.encode())
        assert name in [entry.name for entry in client.objects("odd")]
        client.delete("odd", name)
        with pytest.raises(haul.NotFound):
            client.head("odd", name)


def test_bytes_files_and_streams_are_stored(client: haul.Client, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "source").write_bytes(data)
    digest = xxhash.xxh64_hexdigest(data)
    chunks: Iterator[bytes] = (data[start : start + 100_000] for start in range(0, len(data), 100_000))
    for stored in (
        client.put("b", "w/bytes", data, metadata={"color": "green"}),
        client.put("b", "w/open", io.BytesIO(data)),
        client.put("b", "w/chunks", chunks),
        client.put_file("b", "w/file", tmp_path / "source"),
    ):
        assert (stored.size_bytes, stored.checksum) == (len(data), digest)
    assert client.put("b", "w/empty", iter(())).size_bytes == 0
    assert client.head("b", "w/bytes").custom == {"color": "green"}
    for entry in client.objects("b", "w/", details=True):
        if not entry.name.endswith("empty"):
            assert (entry.size_bytes, entry.checksum, entry.is_present) == (len(data), digest, True)
    client.get_file("b", "w/chunks", tmp_path / "read")
    assert (tmp_path / "read").read_bytes() == data
    into = io.BytesIO()
    assert client.get_file("b", "w/open", into).checksum == digest
    assert into.getvalue() == data
    assert {path.name for path in tmp_path.iterdir()} == {"source", "read"}


def test_metadata_comes_back_as_it_was_given(client: haul.Client) -> None:
    metadata = {"tags": "a,b=c, d", "author": "me"}
    assert client.put("b", "noted", b"x", metadata=metadata).custom.items() >= metadata.items()
    assert client.head("b", "noted").custom == metadata


def test_one_client_is_used_by_many_threads(client: haul.Client) -> None:
    def there_and_back(number: int) -> bytes:
        client.put("b", f"threads/{number}", b"%d" % number)
        return client.get("b", f"threads/{number}")

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(there_and_back, range(100))) == [b"%d" % number for number in range(100)]


def test_the_cluster_copies_and_renames(client: haul.Client) -> None:
    client.create_bucket("other", exist_ok=True)
    client.put("b", "first", b"bytes", metadata={"author": "me"})
    client.copy("b", "first", "ais://other", "a b/копия?")
    assert client.get("other", "a b/копия?") == b"bytes"
    assert client.head("other", "a b/копия?").custom["author"] == "me"
    client.rename("b", "first", "second")
    assert client.get("b", "second") == b"bytes"
    with pytest.raises(haul.NotFound):
        client.head("b", "first")
    with pytest.raises(haul.NotFound):
        client.copy("b", "first", "b", "third")
    with pytest.raises(haul.NotFound):
        client.copy("b", "second", "missing", "third")
    client.delete_bucket("other")


def test_what_was_stored_meanwhile_is_not_replaced(client: haul.Client, endpoints: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    assert client.put("b", "first/one", b"theirs", if_absent=True).size_bytes == 6

    async def put_again() -> None:
        async with haul.AsyncClient(endpoints) as mine:
            with pytest.raises(haul.AlreadyExists):
                await mine.put("b", "first/one", b"mine", if_absent=True)
            with pytest.raises(haul.AlreadyExists):
                await mine.put_file("b", "first/one", tmp_path / "file", if_absent=True)

    asyncio.run(put_again())
    for data in (b"mine", b"theirs", iter([b"mi", b"ne"])):
        with pytest.raises(haul.AlreadyExists, match="first/one"):
            client.put("b", "first/one", data, if_absent=True)
    with pytest.raises(haul.AlreadyExists):
        client.put_file("b", "first/one", tmp_path / "file", if_absent=True)
    assert client.get("b", "first/one") == b"theirs"


def test_what_has_changed_is_not_removed(client: haul.Client, endpoints: list[str]) -> None:
    client.put("b", "mine", b"old")
    known = client.head("b", "mine")
    client.put("b", "mine", b"new")

    async def delete_old() -> None:
        async with haul.AsyncClient(endpoints) as mine:
            with pytest.raises(haul.Changed):
                await mine.delete("b", "mine", unchanged_since=known)

    asyncio.run(delete_old())
    with pytest.raises(haul.Changed, match="mine"):
        client.delete("b", "mine", unchanged_since=known)
    assert client.get("b", "mine") == b"new"
    client.delete("b", "mine", unchanged_since=client.head("b", "mine"))
    with pytest.raises(haul.NotFound):
        client.delete("b", "mine", unchanged_since=known)


def test_a_stream_that_breaks_off_stores_nothing(client: haul.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"begin"
        raise RuntimeError("the source has failed")

    with pytest.raises(RuntimeError, match="source"):
        client.put("b", "broken", chunks())
    with pytest.raises(haul.NotFound):
        client.head("b", "broken")


def test_a_file_appears_whole_or_not_at_all(client: haul.Client, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old")
    with pytest.raises(haul.NotFound):
        client.get_file("b", "missing", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("direct", [False, True])
def test_ranges(endpoints: list[str], direct: bool) -> None:
    data = bytes(range(256)) * 10
    with haul.Client(endpoints, direct=direct) as client:
        client.create_bucket("b", exist_ok=True)
        client.put("b", "ranges", data)
        for start, end in [(0, 1), (0, None), (5, 10), (2559, None), (100, 99999), (0, 2560)]:
            assert client.get("b", "ranges", start=start, end=end) == data[start:end]
        with pytest.raises(haul.Unsatisfiable):
            client.get("b", "ranges", start=2560)
        for start, end in [(-1, None), (5, 5), (5, 4)]:
            with pytest.raises(haul.InvalidInput):
                client.get("b", "ranges", start=start, end=end)
        with client.open("b", "ranges", start=1, end=3) as stream:
            assert (stream.info.size_bytes, b"".join(stream)) == (2560, data[1:3])


def test_parts_of_an_object_that_was_replaced_are_refused(client: haul.Client) -> None:
    first = client.put("b", "replaced", b"first " * 100)
    assert client.get("b", "replaced", start=6, end=12, unchanged_since=first) == b"first "
    seen = client.head("b", "replaced")
    client.put("b", "replaced", b"second " * 100)
    for start, end in [(0, None), (6, 12), (650, None)]:
        for since in (first, seen):
            with pytest.raises(haul.Changed, match="replaced"):
                client.get("b", "replaced", start=start, end=end, unchanged_since=since)
    again = client.head("b", "replaced")
    assert client.get("b", "replaced", start=7, end=14, unchanged_since=again) == b"second "


def test_damage_on_a_disk_is_seen(client: haul.Client, cluster: Cluster) -> None:
    client.put("b", "rotten", b"good" * 1000)
    target = client.head("b", "rotten").location.removeprefix("t[").partition("]")[0]
    [file] = [
        path
        for mountpath in cluster.mountpaths(target)
        for path in mountpath.rglob("*rotten*")
        if path.is_file() and path.stat().st_size == 4000
    ]
    with file.open("r+b") as writable:
        writable.write(b"evil")
    with pytest.raises(haul.Damaged, match="rotten"):
        client.get("b", "rotten")


def test_listings_go_by_pages_prefixes_and_levels(client: haul.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haul.calls.PAGE_ENTRIES", 4)
    client.create_bucket("listed")
    names = sorted([f"d/{n:02}" for n in range(11)] + ["d/deep/er", "e", "star*x", "starx"])
    for name in names:
        client.put("listed", name, b"12")
    assert [entry.name for entry in client.objects("listed")] == names
    assert [entry.name for entry in client.objects("listed", "star*")] == ["star*x"]
    level = list(client.objects("listed", "d/", recursive=False))
    assert [entry.name for entry in level if entry.is_directory] == ["d/deep/"]
    assert [entry.name for entry in level if not entry.is_directory] == [f"d/{n:02}" for n in range(11)]
    assert list(client.objects("listed", "none")) == []
    with pytest.raises(haul.NotFound):
        list(client.objects("unlisted"))


def test_what_names_no_object_is_refused(client: haul.Client) -> None:
    for name in ("", "a/../b", "~/x", "nul\0"):
        with pytest.raises(haul.InvalidInput):
            client.get("b", name)
    with pytest.raises(haul.InvalidRequest, match='"a/"'):
        client.put("b", "a/", b"")
    for bucket in ("", "a/b", "http://x/y/z", "wasb://x", "..", "@"):
        with pytest.raises(haul.InvalidInput):
            client.head(bucket, "x")
    with pytest.raises(haul.InvalidInput, match="metadata"):
        client.put("b", "x", b"", metadata={"a=b": "c"})
    with pytest.raises(haul.InvalidInput, match="metadata"):
        client.put("b", "x", b"", metadata={"a": "line\r\nX: y"})


def test_the_same_on_asyncio(endpoints: list[str], tmp_path: Path) -> None:
    data = b"0123456789" * 300_000

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 70_000):
            yield data[start : start + 70_000]

    async def run() -> None:
        async with haul.AsyncClient(endpoints, direct=True) as client:
            await client.create_bucket("asynchronous")
            await client.create_bucket("asynchronous", exist_ok=True)
            assert haul.Bucket("asynchronous") in await client.buckets()
            assert (await client.bucket_properties("asynchronous"))["provider"] == "ais"
            (tmp_path / "source").write_bytes(data)
            stored = [
                await client.put("asynchronous", "bytes", data),
                await client.put("asynchronous", "async chunks", chunks()),
                await client.put("asynchronous", "chunks", iter([data])),
                await client.put("asynchronous", "open", io.BytesIO(data)),
                await client.put_file("asynchronous", "file", tmp_path / "source"),
            ]
            assert len({one.checksum for one in stored}) == 1
            assert [entry.name async for entry in client.objects("asynchronous", "c")] == ["chunks"]
            assert await client.has_objects("asynchronous", "by")
            assert not await client.has_objects("asynchronous", "no")
            parts = await asyncio.gather(
                *(client.get("asynchronous", "file", start=n * 1000, end=n * 1000 + 1000) for n in range(100))
            )
            assert b"".join(parts) == data[:100_000]
            await client.get_file("asynchronous", "chunks", tmp_path / "read")
            assert (tmp_path / "read").read_bytes() == data
            into = io.BytesIO()
            await client.get_file("asynchronous", "open", into)
            assert into.getvalue() == data
            await client.copy("asynchronous", "chunks", "asynchronous", "copied")
            await client.rename("asynchronous", "copied", "renamed")
            assert await client.get("asynchronous", "renamed") == data
            seen = await client.head("asynchronous", "bytes")
            await client.put("asynchronous", "bytes", b"new")
            with pytest.raises(haul.Changed):
                await client.get("asynchronous", "bytes", start=1, end=2, unchanged_since=seen)
            await client.delete("asynchronous", "bytes")
            with pytest.raises(haul.NotFound):
                await client.get("asynchronous", "bytes")
            await client.delete_bucket("asynchronous")

    asyncio.run(run())
