"""Objects that move to the mountpaths they belong to: whole, once, readable at every moment, never an older one."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import InvalidRequest, ObjectNotFound
from common.placement import digest
from target.storage.mountpath import Durability
from target.storage.mountpaths import Slot
from target.storage.registry import State
from target.storage.resilver import Figures, Resilver
from target.storage.store import Store
from tests.storage.disks import BUCKET, files_below, get, put, put_many, running_store, work_files

NAMES = [f"{number % 7}/{number}" for number in range(300)] + ["/hashed", "x" * 300, "deep", "deep/er"]


def data_of(name: str) -> bytes:
    return name.encode() * (1 + digest(name) % 3000)


@contextmanager
def filled_store(base: Path, count: int = 2, **more: Durability) -> Iterator[Store]:
    with running_store(base, count, **more) as store:
        errors = put_many(store, [(name, data_of(name)) for name in NAMES])
        assert errors == [None] * len(NAMES)
        yield store


def attach(store: Store, path: Path) -> Slot:
    path.mkdir()
    return store.mountpaths.attach(str(path))


def settle(store: Store) -> int:
    """Pass after pass until one finds nothing; how many objects were moved."""
    resilver, figures = Resilver(store, 1 << 30), Figures()
    while True:
        view = store.mountpaths.view
        assert resilver.walk(view, figures)
        assert (figures.failed, figures.error) == (0, "")
        if not figures.misplaced:
            store.mountpaths.settle(view.placed)
            return figures.moved


def check_all(store: Store, base: Path) -> None:
    """Every object is there once, whole, where it belongs; there is nothing else."""
    for name in NAMES:
        assert get(store, name) == data_of(name)
        _, mountpath = store.head(BUCKET, name)
        assert mountpath is store.choose(digest(BUCKET.uname + name))
    assert [entry.name for entry in store.list_objects(BUCKET)] == sorted(NAMES, key=str.encode)
    files = [path for path in files_below(base) if "/%ob/" in path or "/%hn/" in path]
    assert len(files) == len(NAMES)
    assert work_files(base) == []


@pytest.mark.parametrize("durability", list(Durability))
def test_a_new_mountpath_gets_its_part_and_no_more_moves(tmp_path: Path, durability: Durability) -> None:
    with filled_store(tmp_path, durability=durability) as store:
        assert store.mountpaths.view.is_settled
        slot = attach(store, tmp_path / "new")
        assert not store.mountpaths.view.is_settled
        belong = sum(store.choose(digest(BUCKET.uname + name)) is slot.mountpath for name in NAMES)
        assert len(NAMES) // 5 < belong < len(NAMES) // 2
        assert settle(store) == belong
        assert store.mountpaths.view.is_settled
        check_all(store, tmp_path)
    with running_store(tmp_path) as store:
        assert len(store.usable) == 3
        assert store.mountpaths.view.is_settled
        check_all(store, tmp_path)


def test_a_mountpath_that_leaves_is_empty_at_the_end(tmp_path: Path) -> None:
    with filled_store(tmp_path, 3) as store:
        path = str(tmp_path / "mp2")
        store.mountpaths.leave(path, State.DETACHING)
        assert store.mountpaths.leaving() == [path]
        assert settle(store) > 0
        assert [file for file in files_below(tmp_path / "mp2") if "/%ob/" in file or "/%hn/" in file] == []
        slot = store.mountpaths.drop(path, State.DETACHED)
        assert slot is not None
        slot.committer.stop()
        check_all(store, tmp_path)
    with running_store(tmp_path, 3) as store:
        assert {mountpath.path for mountpath in store.usable} == {str(tmp_path / "mp1"), str(tmp_path / "mp3")}
        check_all(store, tmp_path)


def test_metadata_and_versions_move_with_an_object(tmp_path: Path) -> None:
    with running_store(tmp_path, 1) as store:
        for _ in range(3):
            put(store, "a", b"1", custom={"k": "v"}, etag="e")
        before, _ = store.head(BUCKET, "a")
        slot = attach(store, tmp_path / "new")
        store.mountpaths.leave(str(tmp_path / "mp1"), State.DETACHING)
        assert settle(store) == 1
        after, mountpath = store.head(BUCKET, "a")
        assert mountpath is slot.mountpath
        assert after == before
        assert after.version == 3


def test_a_reader_finds_every_object_at_every_moment(tmp_path: Path) -> None:
    with filled_store(tmp_path, 1) as store:
        attach(store, tmp_path / "new")
        ended, rounds, wrong = threading.Event(), [0, 0], []

        def read_all() -> None:
            while not ended.is_set() or not rounds[0]:
                wrong.extend(name for name in NAMES if get(store, name) != data_of(name))
                rounds[0] += 1

        def list_all() -> None:
            while not ended.is_set() or not rounds[1]:
                if [entry.name for entry in store.list_objects(BUCKET)] != sorted(NAMES, key=str.encode):
                    wrong.append("listing")
                rounds[1] += 1

        threads = [threading.Thread(target=work) for work in (read_all, read_all, list_all)]
        for thread in threads:
            thread.start()
        moved = settle(store)
        ended.set()
        for thread in threads:
            thread.join()
        assert moved > 0
        assert wrong == []
        assert min(rounds) > 0
        check_all(store, tmp_path)


def test_of_two_copies_the_newer_one_is_read_and_kept(tmp_path: Path) -> None:
    with filled_store(tmp_path, 2) as store:
        path = str(tmp_path / "mp1")
        name = next(name for name in NAMES if store.choose(digest(BUCKET.uname + name)).path == path)
        slot = store.mountpaths.drop(path, State.DISABLED)
        assert slot is not None
        slot.committer.stop()
        with pytest.raises(ObjectNotFound):
            store.head(BUCKET, name)
        put(store, name, b"newer", stored_ns=2)
        assert store.mountpaths.enable(path) is not None
        assert get(store, name) == b"newer"
        settle(store)
        assert get(store, name) == b"newer"
        assert len([file for file in files_below(tmp_path) if file.endswith(f"%ob/{name}")]) == 1


def test_what_is_deleted_while_it_moves_stays_deleted(tmp_path: Path) -> None:
    with filled_store(tmp_path, 1) as store:
        attach(store, tmp_path / "new")
        deleted = NAMES[::2]

        def delete() -> None:
            for name in deleted:
                store.delete(BUCKET, name)

        thread = threading.Thread(target=delete)
        thread.start()
        settle(store)
        thread.join()
        settle(store)
        assert {entry.name for entry in store.list_objects(BUCKET)} == set(NAMES) - set(deleted)
        for name in deleted:
            with pytest.raises(ObjectNotFound):
                store.head(BUCKET, name)


def test_damaged_bytes_are_not_moved(tmp_path: Path) -> None:
    with running_store(tmp_path, 1) as store:
        put(store, "a", b"right")
        [file] = (tmp_path / "mp1").glob("@ais/*/%ob/a")
        with file.open("r+b") as opened:
            opened.write(b"w")
        attach(store, tmp_path / "new")
        store.mountpaths.leave(str(tmp_path / "mp1"), State.DETACHING)
        figures = Figures()
        assert Resilver(store, 1 << 30).walk(store.mountpaths.view, figures)
        assert (figures.moved, figures.failed) == (0, 1)
        assert "checksum" in figures.error
        assert file.exists()


def test_what_a_crash_left_twice_is_there_once_after_the_next_pass(tmp_path: Path) -> None:
    with filled_store(tmp_path, 1) as store:
        attach(store, tmp_path / "new")
        settle(store)
        for file in sorted((tmp_path / "new").glob("@ais/demo/%ob/*/*"))[:20]:
            twin = tmp_path / "mp1" / file.relative_to(tmp_path / "new")
            twin.parent.mkdir(exist_ok=True)
            twin.write_bytes(file.read_bytes())
            os.setxattr(twin, "user.haul", os.getxattr(file, "user.haul"))
        store.mountpaths.unsettle()
        assert settle(store) == 20
        check_all(store, tmp_path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("mp1", "attached already"),
        ("mp1/inside", "lies inside of"),
        (".", "contains mountpath"),
        ("missing", "No such file"),
        ("link", "by another name"),
    ],
)
def test_a_path_that_cannot_be_a_mountpath_is_refused(tmp_path: Path, path: str, reason: str) -> None:
    with running_store(tmp_path, 1) as store:
        (tmp_path / "mp1" / "inside").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "mp1")
        with pytest.raises(InvalidRequest, match=reason):
            store.mountpaths.attach(os.path.normpath(tmp_path / path))
