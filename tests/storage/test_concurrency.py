import contextlib
import hashlib
import os
import threading
from pathlib import Path

from xxhash import xxh64_hexdigest

from common.errors import ObjectNotFound
from target.storage.mountpath import Durability
from tests.storage.disks import BUCKET, entries_of, files_below, put, put_many, running_store, work_files


def test_a_reader_keeps_what_it_opened_and_never_sees_a_mixture(tmp_path: Path) -> None:
    with running_store(tmp_path, count=1) as store:
        put(store, "a", b"0" * 300_000)
        opened, _ = store.open(BUCKET, "a")
        stopping, mixtures = threading.Event(), []

        def read_for_ever() -> None:
            while not stopping.is_set():
                found, _ = store.open(BUCKET, "a")
                with found:
                    data = found.read(0, found.size)
                if len(set(data)) != 1 or xxh64_hexdigest(data) != found.metadata.checksum:
                    mixtures.append(found.metadata)

        reader = threading.Thread(target=read_for_ever)
        reader.start()
        for version in range(1, 60):
            put(store, "a", bytes([48 + version % 10]) * (300_000 + version))
        stopping.set()
        reader.join()
        assert mixtures == []
        with opened:
            assert opened.read(0, 1 << 20) == b"0" * 300_000
        assert store.head(BUCKET, "a")[0].version == 60


def test_versions_count_every_overwrite_in_one_group_too(tmp_path: Path) -> None:
    with running_store(tmp_path, count=1) as store:
        assert put_many(store, [("a", bytes([number])) for number in range(50)]) == [None] * 50
        metadata, _ = store.head(BUCKET, "a")
        assert metadata.version == 50


def test_deleting_and_storing_in_the_same_directories_at_once(tmp_path: Path) -> None:
    names = [f"deep/er/{number % 3}/{number}" for number in range(12)]
    with running_store(tmp_path, count=1, durability=Durability.PROCESS) as store:
        stopping = threading.Event()

        def delete_for_ever() -> None:
            while not stopping.is_set():
                for name in names:
                    with contextlib.suppress(ObjectNotFound):
                        store.delete(BUCKET, name)

        deleter = threading.Thread(target=delete_for_ever)
        deleter.start()
        errors = []
        for _ in range(40):
            errors += put_many(store, [(name, b"x") for name in names])
        stopping.set()
        deleter.join()
        assert set(errors) == {None}
        for entry in store.list_objects(BUCKET):
            store.delete(BUCKET, entry.name)
        assert work_files(tmp_path) == []
        assert entries_of(tmp_path / "mp1/@ais/demo/%ob") == set()


def test_leaving_a_writer_without_finish_discards(tmp_path: Path) -> None:
    with running_store(tmp_path, count=1) as store:
        for size in (10, 3 << 20):
            with store.writer(BUCKET, 1, "a", size)[0] as writer:
                writer.write(b"x" * size)
        assert work_files(tmp_path) == []
        assert len(files_below(tmp_path)) == 2


def test_digests_are_those_of_all_bytes_however_they_come(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    with running_store(tmp_path, count=1) as store:
        for size, step in ((0, 1), (100, 7), (1 << 20, 16384), (len(data), 16384), (len(data), 1 << 20)):
            for expected in (size, None):
                writer, _ = store.writer(BUCKET, 1, "a", expected, ("md5", "sha256"))
                with writer:
                    for start in range(0, size, step):
                        writer.write(data[start : min(start + step, size)])
                    assert writer.size == size
                    assert writer.checksum == xxh64_hexdigest(data[:size])
                    assert writer.digest("md5") == hashlib.md5(data[:size]).hexdigest()
                    assert writer.digest("sha256") == hashlib.sha256(data[:size]).hexdigest()


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_descriptors()
    with running_store(tmp_path) as store:
        put(store, "a/b", b"x")
        put(store, "a/b", b"x", bucket_id=2)
        running = open_descriptors()
        for number in range(30):
            objects = [("a", b"x"), (f"a/b/{number}", b"x"), (f"d{number}/c", b"x" * (2 << 20)), ("/h", b"x")]
            assert put_many(store, objects, bucket_id=2) == [None] * 4
            store.list_objects(BUCKET, uuid=f"{number}", prefix="a/", limit=1)
            with contextlib.suppress(ObjectNotFound):
                store.delete(BUCKET, f"d{number}/c")
                store.open(BUCKET, "none")
        assert open_descriptors() <= running + 4
        store.destroy_bucket(BUCKET, 2)
    assert open_descriptors() == before
