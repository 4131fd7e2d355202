"""Disks that fill up: nothing new comes to them, all that is there stays readable, and jobs work again afterwards."""

from pathlib import Path

import httpx

from tests.crash.processes import pattern_origin
from tests.disks.operating import BODY, check_once, objects_on
from tests.disks.test_health import target_with
from tests.nodes import Nodes
from tests.waiting import wait_for

SETTINGS = {"high_watermark_percent": 80.0, "low_watermark_percent": 60.0}


def put(nodes: Nodes, name: str) -> httpx.Response:
    return nodes.api.http.put(f"/v1/objects/b/{name}", content=b"x")


def statuses(nodes: Nodes, number: int = 24) -> set[int]:
    return {put(nodes, f"probe-{n}").status_code for n in range(number)}


def fill(path: Path, mib: int) -> None:
    with (path / "ballast").open("wb") as file:
        file.write(bytes(mib << 20))


def test_a_full_disk_takes_nothing_until_there_is_room_again(tmp_path: Path) -> None:
    with (
        pattern_origin(BODY) as origin,
        target_with(tmp_path, "tmpfs", "tmpfs", **SETTINGS) as (nodes, paths),
    ):
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{00000..00099}")))
        first = objects_on(paths[0])
        fill(paths[0], 55)  # of 64
        wait_for(lambda: statuses(nodes) == {200, 507}, what="one disk to be full")
        full = sorted(objects_on(paths[0]))
        status = nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{10000..10099}")))
        assert status["finished_cnt"] + status["error_cnt"] == 100
        assert 0 < status["error_cnt"] < 100
        for task in status["download_errors"]:
            assert "full: 8" in task["error"]
        assert sorted(objects_on(paths[0])) == full
        for name in first:
            assert nodes.api.get("b", name).status_code == 200
        fill(paths[0], 45)  # between the watermarks: still full
        later = nodes.api.download(type="range", template=origin.url("/o/{20000..20099}"))
        assert nodes.api.finished(later)["error_cnt"] > 0
        fill(paths[1], 55)
        wait_for(lambda: statuses(nodes) == {507}, what="both disks to be full")
        refused = put(nodes, "y")
        assert refused.status_code == 507
        assert "are used, and nothing is stored above 80 %" in refused.json()["message"]
        for name in [*first, *objects_on(paths[1])]:
            if name.isdigit():
                assert nodes.api.get("b", name).status_code == 200
        for path in paths:
            (path / "ballast").unlink()
        wait_for(lambda: statuses(nodes) == {200}, what="room on both")
        again = nodes.api.download(type="range", template=origin.url("/o/{10000..10099}"))
        assert (nodes.api.finished(again)["finished_cnt"], nodes.api.finished(again)["error_cnt"]) == (100, 0)
        found = sorted({name for path in paths for name in objects_on(path)})
        check_once(paths, found)
