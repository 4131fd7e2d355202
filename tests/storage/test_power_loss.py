"""Loss of power under a running store: an ext4 that is shut down without its journal being flushed."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.errors import HaulError
from target.storage.custom import change_in_place
from target.storage.inprogress import Pieces
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Durability
from target.storage.pieces import Upload
from target.storage.registry import State
from target.storage.writer import Staged
from tests.storage.disks import BUCKET, ext4, get, lose_power, put, running_store, work_files


def content(name: str) -> bytes:
    return f"{name}\n".encode() * 400


def test_what_was_acknowledged_is_there_after_a_loss_of_power(tmp_path: Path) -> None:
    image, path = tmp_path / "image", tmp_path / "mp1"
    acknowledged: list[str] = []
    failed: list[str] = []
    enough = threading.Event()

    def done(group: Sequence[tuple[Staged, HaulError | None]]) -> None:
        for staged, error in group:
            (failed if error else acknowledged).append(staged.name)
        if len(acknowledged) > 300:
            enough.set()

    with ext4(image, path), running_store(tmp_path, 1, Durability.POWER_LOSS) as store:
        put(store, "alone/in/its/directory", content("alone/in/its/directory"))
        put(store, "/hashed", content("/hashed"))
        put(store, "replaced", b"old")
        put(store, "replaced", content("replaced"))
        put(store, "deleted", b"x")
        store.delete(BUCKET, "deleted")
        put(store, "x", b"x", bucket_id=1, bucket=BUCKET)
        for number in range(600):
            name = f"dir{number % 7}/{number}"
            writer, committer = store.writer(BUCKET, 1, name)
            writer.write(content(name))
            committer.submit(writer.finish(ObjectMetadata(writer.size, writer.checksum)), done)
        assert enough.wait(60)
        lose_power(path)
    survivors = list(acknowledged)
    with ext4(image, path), running_store(tmp_path, 1, Durability.POWER_LOSS) as store:
        assert work_files(path) == []
        for name in ["alone/in/its/directory", "/hashed", "replaced", *survivors]:
            assert get(store, name) == content(name)
        names = [entry.name for entry in store.list_objects(BUCKET)]
        assert "deleted" not in names
        for name in set(names) - {"x"}:
            assert get(store, name) == content(name)


def keep_part(upload: Upload, number: int, data: bytes) -> None:
    writer = upload.part_writer(len(data), ("md5",))
    writer.write(data)
    digests = {"md5": writer.digest("md5")}
    upload.keep_part(number, writer.finish(ObjectMetadata(writer.size, writer.checksum, digests=digests)))


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_pieces_and_custom_metadata_that_were_acknowledged_are_there_after_a_loss_of_power(
    tmp_path: Path, size: int
) -> None:
    image, path = tmp_path / "image", tmp_path / "mp1"
    data = b"p" * size
    with ext4(image, path), running_store(tmp_path, 1, Durability.POWER_LOSS) as store:
        pieces = Pieces(store)
        put(store, "patched", b"x")
        assert change_in_place(store, BUCKET, 1, "patched", lambda stored: stored._replace(custom={"a": "1"}))
        parts = pieces.begin(BUCKET, 1, "parts", {"colour": "red"})
        with pieces.opened(BUCKET, 1, "parts", parts) as upload:
            keep_part(upload, 1, b"replaced")
            keep_part(upload, 1, data)
            keep_part(upload, 2, data)
        aborted = pieces.begin(BUCKET, 1, "aborted", {})
        with pieces.opened(BUCKET, 1, "aborted", aborted) as upload:
            upload.remove()
        appended = pieces.begin(BUCKET, 1, "appended", {})
        with pieces.opened(BUCKET, 1, "appended", appended) as upload:
            tail = upload.open_tail(makes=True)
            tail.write([data])
            tail.acknowledge()
            tail.write([b"not acknowledged"])
            lose_power(path)
            tail.close()
    with ext4(image, path), running_store(tmp_path, 1, Durability.POWER_LOSS) as store:
        pieces = Pieces(store)
        assert store.head(BUCKET, "patched")[0].custom == {"a": "1"}
        assert [one.token for one in pieces.begun(BUCKET, 1, lambda *_: True, 10)[0]] == [parts]
        with pieces.opened(BUCKET, 1, "parts", parts) as upload:
            assert upload.head.custom == {"colour": "red"}
            assert [(part.number, part.metadata.size) for part in upload.parts()] == [(1, size), (2, size)]
            with upload.open_part(1) as part:
                assert part.read(0, size) == data
        with pieces.opened(BUCKET, 1, "appended", appended) as upload:
            tail = upload.open_tail()
            assert (tail.size, tail.read(0, size)) == (size, data)
            tail.close()


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_a_dead_disk_gives_errors_and_no_more(tmp_path: Path, size: int) -> None:
    with ext4(tmp_path / "image", tmp_path / "mp1"), running_store(tmp_path, 2, Durability.POWER_LOSS) as store:
        dead = store.usable[0]
        lose_power(tmp_path / "mp1")
        messages = set()
        for number in range(20):
            try:
                put(store, f"{number}", b"x" * size)
            except HaulError as error:
                messages.add(error.message)
        assert messages == {f"mountpath {dead.id}: Input/output error"}
        slot = store.mountpaths.drop(dead.path, State.FAULTED, "I/O errors")
        assert slot is not None
        slot.committer.stop()
        del slot, dead
        for number in range(20):
            put(store, f"{number}", b"x" * size)
            assert get(store, f"{number}") == b"x" * size
