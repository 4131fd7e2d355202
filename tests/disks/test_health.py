"""Disks that die under a working target: loop devices and tmpfs; the target and its other disks go on."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.crash.processes import pattern_origin
from tests.disks.operating import BODY, changed, check_once, homes, listed, objects_on
from tests.nodes import Nodes
from tests.storage.disks import ext4, files_below, lose_power, mounted_tmpfs, xfs
from tests.waiting import wait_for

IMAGES = {"ext4": ext4, "xfs": xfs}


@contextmanager
def target_with(tmp_path: Path, *disks: str, **target_settings: object) -> Iterator[tuple[Nodes, list[Path]]]:
    """One target whose mountpaths are on file systems of their own: `ext4`, `xfs`, `tmpfs`; `dir` is a directory."""
    with contextlib.ExitStack() as stack:
        nodes = Nodes(tmp_path, targets=1, mountpaths=len(disks), target_settings=dict(target_settings))
        paths = [tmp_path / "t1" / f"mp{number}" for number in range(1, len(disks) + 1)]
        for path, disk in zip(paths, disks, strict=True):
            if disk in IMAGES:
                stack.enter_context(IMAGES[disk](tmp_path / f"{path.name}.img", path, lazily=True))
            elif disk == "tmpfs":
                stack.enter_context(mounted_tmpfs(path, "size=64m"))
        stack.enter_context(nodes)
        yield nodes, paths


def turn_read_only(path: Path) -> None:
    source = subprocess.run(["findmnt", "-no", "SOURCE", str(path)], check=True, capture_output=True, text=True).stdout
    Path(f"/sys/fs/ext4/{Path(source.strip()).name}/trigger_fs_error").write_text("1")


def unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("disk", "die", "durability"),
    [
        ("ext4", lose_power, "power-loss"),
        ("ext4", lose_power, "process"),
        ("ext4", turn_read_only, "power-loss"),
        ("ext4", turn_read_only, "process"),
        ("tmpfs", unmount, "power-loss"),
        ("tmpfs", unmount, "process"),
        ("xfs", lose_power, "power-loss"),
    ],
)
def test_one_disk_of_three_dies_under_a_job(
    tmp_path: Path, disk: str, die: Callable[[Path], None], durability: str
) -> None:
    count = 1500
    names = [f"{number:05}" for number in [*range(count), *range(10000, 10200)]]
    with (
        pattern_origin(BODY) as origin,
        target_with(tmp_path, "dir", disk, "dir", durability=durability) as (nodes, paths),
    ):
        job = nodes.api.download(type="range", template=origin.url(f"/o/{{00000..{count - 1:05}}}"))
        wait_for(lambda: nodes.api.status(job, only_active_tasks=True)["finished_cnt"] > count // 5)
        wait_for(lambda: objects_on(paths[1]), what="objects on the disk that is to die")
        die(paths[1])
        asked = {path.rpartition("/")[2] for path in origin.counts()}
        status = nodes.api.finished(job, seconds=150)
        assert (status["finished_cnt"], status["error_cnt"]) == (count, 0)
        wait_for(lambda: listed(nodes)["disabled"] == [str(paths[1])], what="the dead disk to be out of use")
        assert listed(nodes)["available"] == [str(paths[0]), str(paths[2])]
        if die is unmount:
            assert files_below(paths[1]) == []
        later = nodes.api.download(type="range", template=origin.url("/o/{10000..10199}"))
        assert nodes.api.finished(later, seconds=150)["finished_cnt"] == 200
        kept = [name for path in (paths[0], paths[2]) for name in objects_on(path)]
        assert len(kept) == len(set(kept))
        lost = set(names) - set(kept)
        assert lost <= {name for name, home in homes(paths, names).items() if home == paths[1]}
        assert lost <= asked, "what was begun after the death lies elsewhere"
        for name in kept[:50]:
            assert nodes.api.get("b", name).status_code == 200
        again = nodes.api.download(type="range", template=origin.url(f"/o/{{00000..{count - 1:05}}}"))
        assert nodes.api.finished(again, seconds=150)["error_cnt"] == 0
        check_once([paths[0], paths[2]], names)


def test_a_disk_that_hangs_holds_up_only_its_own_mountpath(tmp_path: Path) -> None:
    settings = {"disk_check_seconds": 1.0, "disk_patience_seconds": 3.0}
    with (
        pattern_origin(BODY) as origin,
        target_with(tmp_path, "dir", "ext4", durability="power-loss", **settings) as (nodes, paths),
    ):
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{10000..10049}")))
        kept = objects_on(paths[0])
        with frozen(paths[1]):
            job = nodes.api.download(type="range", template=origin.url("/o/{00000..00499}"))
            for name in kept:
                assert nodes.api.get("b", name).status_code == 200
            wait_for(lambda: listed(nodes)["disabled"] == [str(paths[1])], what="the disk that hangs to be out of use")
            status = nodes.api.finished(job)
            assert (status["finished_cnt"], status["error_cnt"]) == (500, 0)
            assert len(objects_on(paths[0])) == 500 + len(kept)


@contextmanager
def frozen(path: Path) -> Iterator[None]:
    """Whoever writes there waits."""
    subprocess.run(["fsfreeze", "-f", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", str(path)], check=True)


def test_a_disk_without_work_is_missed_when_it_is_unmounted_and_is_back_when_it_is_enabled(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, target_with(tmp_path, "dir", "ext4") as (nodes, paths):
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{00000..00099}")))
        away = objects_on(paths[1])
        subprocess.run(["umount", "-l", str(paths[1])], check=True)
        wait_for(lambda: listed(nodes)["disabled"] == [str(paths[1])])
        assert nodes.api.get("b", away[0]).status_code == 404
        assert files_below(paths[1]) == []
        subprocess.run(["mount", "-o", "loop", str(tmp_path / "mp2.img"), str(paths[1])], check=True)
        changed(nodes, "enable", paths[1])
        assert nodes.api.get("b", away[0]).status_code == 200


def test_without_any_disk_a_target_says_so_and_goes_on_with_the_next_one(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, target_with(tmp_path, "ext4", "tmpfs") as (nodes, paths):
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{00000..00049}")))
        lose_power(paths[0])
        unmount(paths[1])
        url = nodes.urls["t1"]
        http = nodes.api.http
        wait_for(lambda: http.get(f"{url}/v1/health?readiness=true").status_code == 503, what="not ready")
        assert http.get(f"{url}/v1/health").status_code == 200
        read = http.get(f"{url}/v1/objects/b/00001?pid=p1")
        assert read.status_code == 503
        assert "no mountpath can be used" in read.json()["message"]
        assert http.put(f"{url}/v1/objects/b/x?pid=p1&bid=1", content=b"x").status_code == 503
        nodes.kill("t1")
        nodes.start("t1")
        wait_for(lambda: is_up(nodes), what="a target without disks")
        assert nodes.api.http.get(f"{url}/v1/health?readiness=true").status_code == 503
        new = tmp_path / "t1" / "new"
        new.mkdir()
        body = {"action": "attach-mp", "value": os.fspath(new)}
        assert http.put(f"{url}/v1/daemon/mountpaths", json=body).status_code == 200
        nodes.wait_until_ready()
        job = nodes.api.download(type="range", template=origin.url("/o/{00000..00049}"))
        assert nodes.api.finished(job)["finished_cnt"] == 50
        assert len(objects_on(new)) == 50


def is_up(nodes: Nodes) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return nodes.api.http.get(f"{nodes.urls['t1']}/v1/health").status_code == 200
    return False


def test_a_detached_disk_can_be_unmounted_at_once(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, target_with(tmp_path, "dir", "ext4", "dir") as (nodes, paths):
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{00000..00199}")))
        for name in objects_on(paths[1])[:20]:
            assert nodes.api.get("b", name).status_code == 200
        assert len(nodes.api.list("b")) == 200
        changed(nodes, "detach", paths[1])
        wait_for(lambda: str(paths[1]) not in listed(nodes)["waiting_dd"], what="the disk to be empty")
        wait_for(lambda: subprocess.run(["umount", str(paths[1])], check=False).returncode == 0, what="to be unmounted")
        check_once([paths[0], paths[2]], [f"{number:05}" for number in range(200)])
