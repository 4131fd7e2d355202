"""Loss of power under a running store: an ext4 that is shut down without its journal being flushed."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.errors import HaulError
from target.storage.metadata import ObjectMetadata
from target.storage.mountpath import Durability
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
