"""What lies below a mountpath, by the kernel's tables: those of a test and this machine's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from target.storage.filesystems import FileSystem, find_disks, find_file_system, read_disk_counters

TABLE = r"""
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
30 22 0:26 / /mnt/pool rw - btrfs /dev/sdb rw,subvol=/
31 22 8:17 / /mnt/data\040one rw - xfs /dev/sdb1 rw
32 22 0:40 / /mnt/pool/inner rw - tmpfs tmpfs rw
33 22 8:33 / /mnt/twice rw - ext4 /dev/sdc1 rw
34 22 8:49 / /mnt/twice rw - ext4 /dev/sdd1 rw
""".strip()


@pytest.mark.parametrize(
    ("path", "device", "expected"),
    [
        ("/srv/x", (8, 2), FileSystem("/dev/sda2", "ext4")),
        ("/mnt/data one/mp", (8, 17), FileSystem("/dev/sdb1", "xfs")),
        ("/mnt/pool/mp", (0, 99), FileSystem("/dev/sdb", "btrfs")),
        ("/mnt/pool/inner/mp", (0, 40), FileSystem("tmpfs", "tmpfs")),
        ("/mnt/poolish", (8, 2), FileSystem("/dev/sda2", "ext4")),
        ("/mnt/twice/mp", (8, 49), FileSystem("/dev/sdd1", "ext4")),
        ("/a/link/to/data", (8, 17), FileSystem("/dev/sdb1", "xfs")),
    ],
)
def test_the_file_system_of_a_path(path: str, device: tuple[int, int], expected: FileSystem) -> None:
    assert find_file_system(TABLE, path, os.makedev(*device)) == expected


def test_the_file_system_of_this_directory(tmp_path: Path) -> None:
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    found = find_file_system(table, str(tmp_path), tmp_path.stat().st_dev)
    assert found.type in Path("/proc/filesystems").read_text(encoding="ascii")


def test_without_a_table() -> None:
    assert find_file_system("", "/srv", 0) == FileSystem()


def make_devices(root: Path) -> None:
    """sda with a partition; a mapped device over that and over sdb."""
    for name in ("devices/sda/sda1", "devices/sdb", "devices/dm-0/slaves", "dev/block"):
        (root / name).mkdir(parents=True)
    (root / "devices/sda/sda1/partition").write_text("1")
    (root / "devices/dm-0/slaves/sda1").symlink_to("../../sda/sda1")
    (root / "devices/dm-0/slaves/sdb").symlink_to("../../sdb")
    for number, name in {"8:1": "sda/sda1", "8:16": "sdb", "253:0": "dm-0"}.items():
        (root / "dev/block" / number).symlink_to(f"../../devices/{name}")


@pytest.mark.parametrize(
    ("device", "disks"), [((8, 1), ["sda"]), ((8, 16), ["sdb"]), ((253, 0), ["sda", "sdb"]), ((0, 40), [])]
)
def test_the_disks_of_a_device(tmp_path: Path, device: tuple[int, int], disks: list[str]) -> None:
    make_devices(tmp_path)
    assert find_disks(os.makedev(*device), tmp_path) == disks


def test_what_disks_have_done(tmp_path: Path) -> None:
    text = "   8  0 sda 100 1 2000 3 50 4 600 5 0 70 8 0 0 0 0 0 0\n   8 16 sdb 1 1 1 1 1 1 1 1 1 1 1\n"
    (tmp_path / "diskstats").write_text(text)
    found = read_disk_counters(["sda", "sdz"], tmp_path)
    assert {name: tuple(counters) for name, counters in found.items()} == {"sda": (100, 2000 * 512, 50, 600 * 512, 70)}
    assert read_disk_counters(["sda"], tmp_path / "nothing") == {}
