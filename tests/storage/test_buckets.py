import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.errors import BucketNotFound, HaulError, ObjectNotFound
from common.names import Bucket
from target.storage.inprogress import Pieces
from target.storage.metadata import ObjectMetadata
from target.storage.writer import Staged
from tests.storage.disks import BUCKET, entries_of, files_below, get, put, running_store
from tests.waiting import wait_for


def wait_for_empty_trash(base: Path) -> None:
    wait_for(lambda: not [path for path in files_below(base) if "%tr" in path], what="an empty trash")


def test_a_destroyed_bucket_shows_nothing_and_frees_its_space(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        for number in range(20):
            put(store, f"dir/{number}", b"x")
        store.destroy_bucket(BUCKET, 1)
        assert store.list_objects(BUCKET) == []
        with pytest.raises(ObjectNotFound):
            store.open(BUCKET, "dir/1")
        wait_for_empty_trash(tmp_path)
        assert len(files_below(tmp_path)) == 3
        with pytest.raises(BucketNotFound):
            put(store, "late", b"x")
        put(store, "new", b"x", bucket_id=2)
        assert [entry.name for entry in store.list_objects(BUCKET)] == ["new"]


def test_a_newer_incarnation_replaces_an_older_one_and_refuses_it(tmp_path: Path) -> None:
    with running_store(tmp_path, count=1) as store:
        put(store, "a", b"old", bucket_id=5)
        put(store, "b", b"new", bucket_id=6)
        with pytest.raises(ObjectNotFound):
            store.open(BUCKET, "a")
        with pytest.raises(BucketNotFound, match='bucket "ais://demo" does not exist'):
            put(store, "c", b"late", bucket_id=5)
        store.destroy_bucket(BUCKET, 5)
        assert get(store, "b") == b"new"
        assert store.head(BUCKET, "b", 6)[0].size == 3
        for other in (5, 7):
            with pytest.raises(ObjectNotFound):
                store.head(BUCKET, "b", other)
            with pytest.raises(ObjectNotFound):
                store.delete(BUCKET, "b", other)
            assert store.list_objects(BUCKET, other) == []


def test_a_writer_that_outlives_its_bucket_is_refused_at_the_commit(tmp_path: Path) -> None:
    with running_store(tmp_path, count=1) as store:
        put(store, "a", b"x")
        outcomes: list[HaulError | None] = []
        answered = threading.Event()

        def done(group: Sequence[tuple[Staged, HaulError | None]]) -> None:
            outcomes.extend(error for _, error in group)
            answered.set()

        writer, committer = store.writer(BUCKET, 1, "slow", 3 << 20)
        writer.write(b"x" * (3 << 20))
        store.destroy_bucket(BUCKET, 1)
        staged = writer.finish(ObjectMetadata(writer.size, writer.checksum))
        committer.submit(staged, done)
        assert answered.wait(30)
        assert [type(error) for error in outcomes] == [BucketNotFound]
        put(store, "b", b"x", bucket_id=2)
        wait_for_empty_trash(tmp_path)
        assert [entry.name for entry in store.list_objects(BUCKET)] == ["b"]


@pytest.mark.parametrize("size", [3, 3 << 20])
def test_a_writer_that_finds_its_bucket_gone_blames_no_disk(tmp_path: Path, size: int) -> None:
    with running_store(tmp_path, count=1) as store:
        put(store, "a", b"x")
        failures: list[int] = []
        store.mountpaths.watch(failures.append)
        writer, _ = store.writer(BUCKET, 1, "b", size)
        store.destroy_bucket(BUCKET, 1)
        wait_for_empty_trash(tmp_path)
        wait_for(lambda: not list(tmp_path.glob("*/%tr/*")), what="the directories to go")

        def store_late() -> None:
            writer.write(b"x" * size)
            writer.finish(ObjectMetadata(writer.size, writer.checksum))

        with pytest.raises(BucketNotFound):
            store_late()
        assert failures == []
        pieces = Pieces(store)
        put(store, "a", b"x", bucket_id=2)
        with pytest.raises(BucketNotFound):
            pieces.begin(BUCKET, 1, "c", {})


def test_what_was_destroyed_while_the_target_was_away_is_dropped_once_it_is_told(tmp_path: Path) -> None:
    gone, renewed, kept, new = (Bucket(name) for name in ("gone", "renewed", "kept", "new"))
    with running_store(tmp_path) as store:
        for bucket in (gone, renewed, kept):
            put(store, "a", b"x", bucket=bucket, bucket_id=3)
    with running_store(tmp_path) as store:
        assert store.bucket_ids() == {gone: 3, renewed: 3, kept: 3}
        put(store, "a", b"x", bucket=new, bucket_id=9)
        store.retain_buckets({renewed: 8, kept: 3}, last_id=8)
        assert store.bucket_ids() == {kept: 3, new: 9}


def test_a_half_made_bucket_directory_is_swept(tmp_path: Path) -> None:
    (tmp_path / "mp1/@ais/half").mkdir(parents=True)
    with running_store(tmp_path / "x", count=1):
        pass
    (tmp_path / "x/mp1/@ais/half/%ob").mkdir(parents=True)
    (tmp_path / "x/mp1/@ais/half/%ob/a").write_text("x")
    (tmp_path / "x/mp1/@other").mkdir()
    (tmp_path / "x/mp1/lost+found").mkdir()
    with running_store(tmp_path / "x", count=1) as store:
        assert store.bucket_ids() == {}
        wait_for_empty_trash(tmp_path)
        put(store, "a", b"1", bucket=Bucket("half"))
    assert {"@ais", "@other", "lost+found"} <= entries_of(tmp_path / "x/mp1")


def test_namespaces_and_providers_do_not_meet(tmp_path: Path) -> None:
    buckets = [Bucket("b"), Bucket("b", "aws"), Bucket("b", "ais", "uuid", "ns"), Bucket("b", "ais", "", "ns")]
    with running_store(tmp_path) as store:
        for bucket in buckets:
            put(store, "a", bucket.uname.encode(), bucket=bucket)
        store.destroy_bucket(buckets[0], 1)
    with running_store(tmp_path) as store:
        assert set(store.bucket_ids()) == set(buckets[1:])
        for bucket in buckets[1:]:
            assert get(store, "a", bucket=bucket) == bucket.uname.encode()
