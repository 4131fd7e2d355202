"""When a disk is a suspect; and what a probe finds."""

from pathlib import Path

import pytest

from common.errors import DiskFailure
from target.storage.health import HealthSettings, Suspicion
from tests.storage.disks import ext4, lose_power, mounted_tmpfs, running_store

SETTINGS = HealthSettings(errors=3, window_seconds=10.0, routine_seconds=60.0)


def test_a_few_errors_at_once_make_a_suspect() -> None:
    disk = Suspicion(SETTINGS, 0.0)
    for now in (1.0, 2.0):
        disk.error(now)
        assert not disk.wants_probe(now)
    disk.error(3.0)
    assert disk.wants_probe(3.0)
    disk.probed(3.0)
    assert not disk.wants_probe(3.0)


def test_rare_errors_do_not() -> None:
    disk = Suspicion(SETTINGS, 0.0)
    for now in (1.0, 20.0, 39.0, 58.0):
        disk.error(now)
        assert not disk.wants_probe(now)


def test_every_disk_is_seen_now_and_then() -> None:
    disk = Suspicion(SETTINGS, 0.0)
    assert not disk.wants_probe(59.0)
    assert disk.wants_probe(60.0)


def test_a_probe_finds_out_and_leaves_nothing(tmp_path: Path) -> None:
    with ext4(tmp_path / "image", tmp_path / "mp1", lazily=True), running_store(tmp_path, 2) as store:
        dead, alive = store.usable
        before = sorted((tmp_path / "mp2").rglob("*"))
        alive.probe()
        assert sorted((tmp_path / "mp2").rglob("*")) == before
        dead.probe()
        lose_power(tmp_path / "mp1")
        with pytest.raises(DiskFailure, match="Input/output error"):
            dead.probe()


def test_a_full_disk_works(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path / "mp1", "size=64k"), running_store(tmp_path, 1) as store:
        [disk] = store.usable
        (tmp_path / "mp1" / "ballast").write_bytes(b"x" * 16384)
        disk.probe()
