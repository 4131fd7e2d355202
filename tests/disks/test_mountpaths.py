"""Mountpaths that come and go while a target works: with real jobs, no object is lost, doubled or out of reach."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from xxhash import xxh64_hexdigest

from common.placement import choose, digest
from tests.cluster import Api
from tests.crash.processes import pattern_origin
from tests.disks.operating import BODY, change, changed, check_once, listed, objects_on, resilver, wait_until_settled
from tests.nodes import Nodes
from tests.waiting import wait_for

OBJECTS = 4000


def names(count: int = OBJECTS) -> list[str]:
    return [f"{number:05}" for number in range(count)]


def paths_of(nodes: Nodes, count: int) -> list[Path]:
    return [nodes.directory / "t1" / f"mp{number}" for number in range(1, count + 1)]


def finished_count(api: Api, job: str) -> int:
    return int(api.status(job, only_active_tasks=True)["finished_cnt"])


def check_whole(nodes: Nodes, expected: list[str]) -> None:
    """As clients see it: every object is listed once, with the checksum of its bytes."""
    entries = nodes.api.list("b", props="name,size,checksum")
    assert [(entry["name"], entry["checksum"]) for entry in entries] == [
        (name, xxh64_hexdigest(f"/o/{name}".encode() + BODY)) for name in expected
    ]


def check_places(paths: list[Path]) -> None:
    """Every object lies where it belongs among these mountpaths."""
    digests = [digest(str(path)) for path in paths]
    for number, path in enumerate(paths):
        for name in objects_on(path):
            assert choose(digest(f"ais/@#/b/{name}"), digests) == number


@contextmanager
def reading(nodes: Nodes, wanted: list[str]) -> Iterator[Callable[[], int]]:
    """Somebody reads all objects over and over; none may ever be missing. Gives the number of whole rounds."""
    ended, rounds, wrong = threading.Event(), [0], []

    def read() -> None:
        with Api(nodes.urls["p2"]).http as http:
            while not ended.is_set():
                for name in wanted:
                    response = http.get(f"/v1/objects/b/{name}")
                    if (response.status_code, response.content) != (200, f"/o/{name}".encode() + BODY):
                        wrong.append((name, response.status_code, response.text[:200]))
                rounds[0] += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield lambda: rounds[0]
    finally:
        ended.set()
        thread.join()
    assert wrong == []


def test_a_mountpath_attached_under_load_gets_its_part_of_the_objects(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, targets=1, mountpaths=3) as nodes:
        job = nodes.api.download(type="range", template=origin.url(f"/o/{{00000..{OBJECTS - 1:05}}}"))
        wait_for(lambda: finished_count(nodes.api, job) > OBJECTS // 4)
        new = tmp_path / "t1" / "mp4"
        new.mkdir()
        changed(nodes, "attach", new)
        status = nodes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (OBJECTS, 0, OBJECTS)
        wait_until_settled(nodes, tmp_path / "t1")
        paths = [*paths_of(nodes, 3), new]
        check_once(paths, names())
        check_places(paths)
        check_whole(nodes, names())
        assert OBJECTS // 8 < len(objects_on(new)) < OBJECTS // 2
        snap = resilver(nodes)
        assert snap is not None
        assert snap["kind"] == "resilver"
        assert 0 < int(snap["stats"]["loc-objs"]) <= len(objects_on(new))
        assert str(new) in listed(nodes)["available"]


def test_mountpaths_that_leave_under_load_take_nothing_with_them(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, targets=1, mountpaths=4) as nodes:
        job = nodes.api.download(type="range", template=origin.url(f"/o/{{00000..{OBJECTS - 1:05}}}"))
        paths = paths_of(nodes, 4)
        wait_for(lambda: finished_count(nodes.api, job) > OBJECTS // 5)
        changed(nodes, "disable", paths[1])
        changed(nodes, "detach", paths[3])
        status = nodes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (OBJECTS, 0, OBJECTS)
        wait_until_settled(nodes, tmp_path / "t1")
        left = [paths[0], paths[2]]
        assert listed(nodes) == {
            "available": [str(path) for path in left],
            "waiting_dd": [],
            "disabled": [str(paths[1])],
        }
        assert objects_on(paths[1]) == objects_on(paths[3]) == []
        check_once(left, names())
        check_places(left)
        check_whole(nodes, names())


def test_objects_can_be_read_all_the_time_while_they_move(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, targets=1, mountpaths=2) as nodes:
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{00000..00399}")))
        new = tmp_path / "t1" / "mp3"
        new.mkdir()
        with reading(nodes, names(400)) as rounds:
            changed(nodes, "attach", new)
            wait_until_settled(nodes, tmp_path / "t1")
            changed(nodes, "detach", paths_of(nodes, 2)[0])
            wait_until_settled(nodes, tmp_path / "t1")
            changed(nodes, "disable", new)
            wait_until_settled(nodes, tmp_path / "t1")
            wait_for(lambda: rounds() > 1)
        check_once(paths_of(nodes, 2)[1:], names(400))


def test_a_resilver_that_was_killed_is_finished_after_a_restart(tmp_path: Path) -> None:
    slow = {"resilver_bytes_per_second": 16384 * 400}
    with (
        pattern_origin(BODY) as origin,
        Nodes(tmp_path, targets=1, mountpaths=2, target_settings=slow) as nodes,
    ):
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{00000..01999}")))
        new = tmp_path / "t1" / "mp3"
        new.mkdir()
        changed(nodes, "attach", new)
        for count in (50, 200, 400):
            wait_for(lambda count=count: len(objects_on(new)) > count)
            nodes.kill("t1")
            nodes.start("t1")
            nodes.wait_until_ready()
        wait_until_settled(nodes, tmp_path / "t1")
        paths = [*paths_of(nodes, 2), new]
        check_once(paths, names(2000))
        check_places(paths)
        check_whole(nodes, names(2000))


def test_what_an_operator_has_changed_outlives_a_restart(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, targets=1, mountpaths=3) as nodes:
        one, two, three = paths_of(nodes, 3)
        new = tmp_path / "t1" / "mp4"
        new.mkdir()
        changed(nodes, "attach", new)
        changed(nodes, "disable", one)
        changed(nodes, "detach", two)
        wait_until_settled(nodes, tmp_path / "t1")
        wait_for(lambda: not listed(nodes)["waiting_dd"])
        expected = {"available": [str(three), str(new)], "waiting_dd": [], "disabled": [str(one)]}
        assert listed(nodes) == expected
        nodes.kill("t1")
        nodes.start("t1")
        nodes.wait_until_ready()
        assert listed(nodes) == expected
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{00000..00099}")))
        check_once([three, new], names(100))
        changed(nodes, "enable", one)
        changed(nodes, "attach", two)
        wait_until_settled(nodes, tmp_path / "t1")
        check_once([one, two, three, new], names(100))
        check_places([one, two, three, new])
        assert json.loads((tmp_path / "t1" / "mountpaths.json").read_text())["format"] == 2


def test_objects_of_a_disabled_path_are_back_with_it(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path, targets=1, mountpaths=2) as nodes:
        nodes.api.finished(nodes.api.download(type="range", template=origin.url("/o/{00000..00099}")))
        one = paths_of(nodes, 2)[0]
        away = objects_on(one)
        assert away
        changed(nodes, "disable", one, dntres="true")
        assert nodes.api.get("b", away[0]).status_code == 404
        assert objects_on(one) == away
        changed(nodes, "enable", one)
        assert nodes.api.get("b", away[0]).status_code == 200
        wait_until_settled(nodes, tmp_path / "t1")
        check_once(paths_of(nodes, 2), names(100))


def test_mistakes_of_an_operator_are_refused_and_explained(tmp_path: Path) -> None:
    with Nodes(tmp_path, targets=2, mountpaths=2) as nodes:
        one, two = paths_of(nodes, 2)
        other = tmp_path / "t2" / "mp1"
        for action, path, text in (
            ("attach", one, "attached already"),
            ("attach", one / "x", "lies inside of"),
            ("attach", tmp_path / "missing", "No such file"),
            ("attach", Path("relative"), "absolute path"),
            ("detach", tmp_path, "is no mountpath of target t1"),
            ("enable", other, "is no mountpath of target t1"),
        ):
            response = change(nodes, action, path)
            assert response.status_code == 400, (action, path, response.text)
            assert text in response.json()["message"]
        response = change(nodes, "attach", other)
        assert "belongs to target t2, not to t1" in response.json()["message"]
        assert response.status_code == 400
        changed(nodes, "disable", one)
        response = change(nodes, "detach", two)
        assert response.status_code == 400
        assert "last enabled one" in response.json()["message"]
        assert change(nodes, "attach", one, target="t9").status_code == 404
        assert change(nodes, "attach", one, target="p1").status_code == 400
