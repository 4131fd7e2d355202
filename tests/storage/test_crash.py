"""A process killed at every durable step: afterwards every object is whole, and what was acknowledged is there."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from xxhash import xxh64_hexdigest

from common.errors import ObjectNotFound
from common.failpoints import NAMES, parse
from target.storage.store import Store
from tests.storage import victim
from tests.storage.disks import files_below, get, put, running_store, work_files
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
POINTS = [
    (name, at)
    for name in sorted(NAMES)
    if name.startswith(("bucket.", "commit.", "delete.", "writer."))
    for at in ((1, 7) if name.startswith(("commit.", "writer.")) else (1,))
]


def run_victim(base: Path, failpoints: str) -> tuple[int, list[tuple[str, str, int, str]]]:
    (base / "mp1").mkdir(exist_ok=True)
    process = subprocess.run(
        [sys.executable, "-m", "tests.storage.victim", str(base)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HAUL_FAILPOINTS": failpoints},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    said = []
    for line in process.stdout.splitlines():
        word, bucket, version, name = line.split(" ", 3)
        said.append((word, bucket, int(version), name))
    return process.returncode, said


def check(store: Store, said: list[tuple[str, str, int, str]]) -> None:
    """Compare what is there with what was acknowledged before the end."""
    acknowledged: dict[tuple[str, str], int] = defaultdict(int)
    maybe_gone = set()
    for word, bucket, version, name in said:
        if word == "done":
            acknowledged[bucket, name] = version
        elif word in ("deleting", "destroying"):
            maybe_gone.add((bucket, name))
        elif word in ("deleted", "destroyed"):
            acknowledged[bucket, name] = -1
    for bucket, names in ((victim.BUCKET, victim.NAMES), (victim.OTHER, ["x"])):
        visible = {entry.name for entry in store.list_objects(bucket)}
        for name in names:
            version = acknowledged[bucket.name, name]
            try:
                data = get(store, name, bucket=bucket)
            except ObjectNotFound:
                assert name not in visible
                assert version < 1 or (bucket.name, name) in maybe_gone
                continue
            assert name in visible
            assert version >= 0
            stored = int(data.split(b"\n")[0].rpartition(b" ")[2])
            assert stored >= version
            assert data == victim.content(name, stored)
            metadata, _ = store.head(bucket, name)
            assert (metadata.size, metadata.checksum) == (len(data), xxh64_hexdigest(data))


@pytest.mark.parametrize(("point", "at"), POINTS)
def test_killed_at(tmp_path: Path, point: str, at: int) -> None:
    status, said = run_victim(tmp_path, f"{point}=kill@{at}")
    assert status in (-9, 0)
    assert status == -9 or at > 1, "the point was never passed"
    with running_store(tmp_path, count=1) as store:
        check(store, said)
        assert work_files(tmp_path) == []
        wait_for(lambda: not [path for path in files_below(tmp_path) if "%tr" in path], what="an empty trash")
        put(store, "after", b"x")
        assert get(store, "after") == b"x"


@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("writer.after_create", "ENOSPC"),
        ("writer.after_write", "EDQUOT"),
        ("writer.after_metadata", "EIO"),
        ("commit.before_data_sync", "EIO"),
        ("commit.before_rename", "EROFS"),
        ("commit.before_directory_sync", "EIO"),
    ],
)
def test_an_error_at_a_step_fails_what_is_in_it_and_leaves_no_work_file(
    tmp_path: Path, point: str, number: str
) -> None:
    status, said = run_victim(tmp_path, f"{point}=error:{number}@3")
    is_seen_by_the_writer = point.startswith("writer.")
    assert status == (1 if is_seen_by_the_writer else 0)
    assert is_seen_by_the_writer or "failed" in {word for word, *_ in said}
    with running_store(tmp_path, count=1) as store:
        check(store, said)
        assert work_files(tmp_path) == []


def test_everything_is_there_when_nothing_happens(tmp_path: Path) -> None:
    status, said = run_victim(tmp_path, "")
    assert (status, said[-1][0]) == (0, "end")
    with running_store(tmp_path, count=1) as store:
        check(store, said)


@pytest.mark.parametrize("setting", ["no.such=kill@1", "commit.before_rename=explode@1", "commit.before_rename=kill@0"])
def test_a_failpoint_that_does_not_exist_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="HAUL_FAILPOINTS"):
        parse(setting)
