import os
import stat
import subprocess
from pathlib import Path

import pytest

from common.errors import DiskError, DiskFailure, NoSpace, ObjectNotFound
from target.storage import kernel
from target.storage.faults import NoMountpath, ObjectDamaged
from target.storage.metadata import ATTRIBUTE
from tests.storage.disks import (
    BUCKET,
    entries_of,
    files_below,
    get,
    make_store,
    mounted_tmpfs,
    put,
    running_store,
    work_files,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_only_the_owner_may_read_anything(tmp_path: Path) -> None:
    os.umask(0o022)
    with running_store(tmp_path, count=1) as store:
        put(store, "dir/a", b"data")
        put(store, "dir", b"hashed")
        put(store, "large", b"x" * (2 << 20))
    for directory, directories, files in os.walk(tmp_path / "mp1"):
        for name in directories:
            assert mode_of(Path(directory, name)) == 0o700
        for name in files:
            assert mode_of(Path(directory, name)) == 0o600


def test_planted_links_are_neither_read_nor_written_nor_listed_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    with running_store(tmp_path, count=1) as store:
        put(store, "a", b"1")
        objects = tmp_path / "mp1/@ais/demo/%ob"
        (objects / "dir").symlink_to(outside)
        (objects / "file").symlink_to(outside / "secret")
        for name in ("dir/secret", "file"):
            with pytest.raises(ObjectNotFound):
                store.open(BUCKET, name)
        with pytest.raises(ObjectNotFound):
            store.delete(BUCKET, "dir/secret")
        assert [entry.name for entry in store.list_objects(BUCKET)] == ["a"]
        assert store.list_objects(BUCKET, prefix="dir/") == []
        put(store, "dir/secret", b"mine")
        put(store, "file", b"mine")
        assert get(store, "dir/secret") == get(store, "file") == b"mine"
    assert (outside / "secret").read_text() == "secret"
    assert entries_of(outside) == {"secret"}


@pytest.mark.parametrize("prefix", ["../", "../../", "a/../../../", "./", "/", "a//", "x\0/", "../../../../etc/"])
def test_a_prefix_leads_nowhere_else(tmp_path: Path, prefix: str) -> None:
    with running_store(tmp_path, count=1) as store:
        put(store, "a/b", b"1")
        assert store.list_objects(BUCKET, prefix=prefix) == []


def test_the_walk_without_openat2_refuses_the_same(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "dir")
    root = os.open(tmp_path, kernel.DIRECTORY)
    try:
        for path in (b"dir/file", b"link/file", b"dir/none", b"dir/file/x", b"link"):
            results = [kernel.try_open_beneath(root, path, kernel.READ), kernel.walk_beneath(root, path, kernel.READ)]
            for opened in results:
                if opened >= 0:
                    os.close(opened)
            one, other = results
            assert (one >= 0) == (other >= 0) == (path == b"dir/file")
    finally:
        os.close(root)


def damage(path: Path, how: str) -> None:
    match how:
        case "shorter":
            os.truncate(path, 3)
        case "longer":
            with path.open("ab") as file:
                file.write(b"x")
        case "no metadata":
            os.removexattr(path, ATTRIBUTE)
        case "garbage":
            os.setxattr(path, ATTRIBUTE, b"\xff\x00garbage")
        case "a pipe":
            path.unlink()
            os.mkfifo(path)


@pytest.mark.parametrize("how", ["shorter", "longer", "no metadata", "garbage", "a pipe"])
def test_what_is_no_whole_object_is_refused_and_can_be_replaced(tmp_path: Path, how: str) -> None:
    with running_store(tmp_path, count=1) as store:
        put(store, "a", b"whole object")
        damage(tmp_path / "mp1/@ais/demo/%ob/a", how)
        with pytest.raises(ObjectDamaged, match="damaged"):
            store.open(BUCKET, "a")
        put(store, "a", b"healed")
        assert get(store, "a") == b"healed"


def test_a_full_disk_fails_the_object_and_nothing_else(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path / "mp1", "size=256k"), running_store(tmp_path, count=1) as store:
        put(store, "kept", b"x" * 1000)
        with pytest.raises(NoSpace, match=r"mountpath mp-\w+: no space left"):
            put(store, "large", b"x" * (2 << 20))
        with pytest.raises(NoSpace):
            put(store, "medium", b"x" * 500_000)
        put(store, "small", b"x")
        assert get(store, "kept") == b"x" * 1000
        assert work_files(tmp_path / "mp1") == []


def test_running_out_of_inodes_says_so(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path / "mp1", "size=1m,nr_inodes=12"), running_store(tmp_path, count=1) as store:
        put(store, "0", b"x")
        with pytest.raises(NoSpace, match="no inodes left"):
            put(store, "so/many/directories/that/all/need/their/own/inode", b"x")
        assert get(store, "0") == b"x"
        assert work_files(tmp_path / "mp1") == []


def test_nothing_is_written_once_the_disk_is_unmounted(tmp_path: Path) -> None:
    bare = tmp_path / "mp1"
    with mounted_tmpfs(bare, "size=1m"), running_store(tmp_path, count=1) as store:
        put(store, "a", b"1")
        writer, committer = store.writer(BUCKET, 1, "late", 1)
        writer.write(b"x")
        subprocess.run(["umount", "-l", str(bare)], check=True)
        with pytest.raises(DiskFailure, match="not mounted"):
            put(store, "b", b"2")
        with pytest.raises(DiskFailure, match="not mounted"):
            store.list_objects(BUCKET)
        with pytest.raises(DiskFailure, match="not mounted"):
            put(store, "c", b"2", bucket_id=2)
        writer.discard()
        del committer
        assert files_below(bare) == []
        assert entries_of(bare) == set()


def test_a_disk_that_is_missing_at_the_start_is_left_out(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path / "mp1", "size=1m"), running_store(tmp_path) as store:
        assert len(store.usable) == 2
    with running_store(tmp_path) as store:
        assert len(store.usable) == 1
        [(path, reason)] = store.mountpaths.reasons.items()
        assert path == str(tmp_path / "mp1")
        assert "is the disk mounted" in reason
        for number in range(20):
            put(store, f"{number}", b"x")
    assert entries_of(tmp_path / "mp1") == set()


@pytest.mark.parametrize("what", ["swapped", "other cluster", "other target", "broken marker", "no marker"])
def test_a_disk_that_is_not_ours_is_refused(tmp_path: Path, what: str) -> None:
    with running_store(tmp_path) as store:
        put(store, "a", b"1")
    cluster, target, registry = "cluster", "target", tmp_path / "mountpaths.json"
    one, other = tmp_path / "mp1", tmp_path / "mp2"
    match what:
        case "swapped":
            one.rename(tmp_path / "x")
            other.rename(one)
            (tmp_path / "x").rename(other)
        case "other cluster":
            cluster = "another"
        case "other target":
            target = "another"
        case "broken marker":
            for path in (one, other):
                (path / ".haul-mountpath").write_text("{")
        case "no marker":
            registry.unlink()
            for path in (one, other):
                (path / "@ais").mkdir(exist_ok=True)
                (path / ".haul-mountpath").unlink()
    store = make_store([one, other], registry, cluster=cluster, target=target)
    store.start()
    with pytest.raises(NoMountpath, match="mountpath") as refusal:
        store.choose(0)
    assert str(tmp_path) not in refusal.value.message


def test_errors_never_name_local_paths(tmp_path: Path) -> None:
    store = make_store([tmp_path / "none"], tmp_path / "r")
    store.start()
    with pytest.raises(DiskError) as missing:
        store.choose(0)
    assert str(tmp_path) not in missing.value.message
