"""Targets that join and leave a cluster with objects in it: what moves, and what clients see meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.processes import pattern_origin
from tests.nodes import ROOT, Nodes
from tests.rebalance.moving import (
    NAMES,
    PATIENT,
    SETTINGS,
    always,
    body_of,
    check_placed,
    cluster_map,
    copies,
    fill,
    is_running,
    lists_all,
    moved,
    owner_of,
    reads_all,
    wait_until_settled,
)
from tests.waiting import wait_for

THREE = ["t1", "t2", "t3"]
FOUR = [*THREE, "t4"]
pytestmark = pytest.mark.timeout(300)


def test_a_target_joins_and_gets_its_part(tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes)
        check_placed(nodes, THREE)
        nodes.add_target("t4")
        looks = [reads_all(nodes, "p1"), reads_all(nodes, "p2"), lists_all(nodes, "p1"), lists_all(nodes, "p2")]
        with always(*looks):
            nodes.start("t4")
            wait_until_settled(nodes, set(FOUR))
        check_placed(nodes, FOUR)
        new = [name for name in NAMES if owner_of(name, FOUR) == "t4"]
        assert len(NAMES) / 8 < len(new) < len(NAMES) / 2
        figures = moved(nodes)
        assert figures["t4"]["in-objs"] == sum(figures[target]["out-objs"] for target in THREE) == len(new)
        assert {figures[target]["in-objs"] for target in THREE} == {figures["t4"]["out-objs"]} == {0}


def haul(nodes: Nodes, *arguments: str) -> str:
    command = [sys.executable, "-m", "cli.main", *arguments, "--endpoint", nodes.urls["p2"]]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout


def change(nodes: Nodes, action: str, **value: object) -> str:
    response = nodes.api.call("PUT", "/v1/cluster", {"action": action, "value": value})
    assert response.status_code == 200, response.text
    return response.text


def test_a_decommissioned_target_hands_over_everything_and_leaves(tmp_path: Path) -> None:
    with Nodes(tmp_path, targets=4, target_settings=SETTINGS, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(FOUR))
        fill(nodes)
        with always(reads_all(nodes, "p1"), lists_all(nodes, "p2")):
            change(nodes, "decommission-node", sid="t3")
            wait_until_settled(nodes, {"t1", "t2", "t4"})
        check_placed(nodes, ["t1", "t2", "t4"])
        reads_all(nodes, "p2")()


def test_maintenance_empties_a_target_and_its_end_fills_it_again(tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes)
        with always(reads_all(nodes, "p1"), lists_all(nodes, "p2")):
            change(nodes, "start-maintenance", sid="t2")
            wait_until_settled(nodes, set(THREE))
            check_placed(nodes, ["t1", "t3"])
            change(nodes, "stop-maintenance", sid="t2")
            wait_until_settled(nodes, set(THREE))
        check_placed(nodes, THREE)


def test_maintenance_without_rebalance_leaves_objects_where_they_are(tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes, NAMES[:200])
        before = copies(nodes)
        change(nodes, "start-maintenance", sid="t2", skip_rebalance=True)
        wait_for(lambda: cluster_map(nodes, "p2")["tmap"]["t2"]["flags"], what="p2 knows of the maintenance")
        for name in NAMES[200:]:
            nodes.api_of("p2").put("b", name, body_of(name))
        reads_all(nodes, "p1")()
        lists_all(nodes, "p2")()
        now = copies(nodes)
        assert {name: now[name] for name in before} == before
        elsewhere = next(name for name in before if before[name] == ["t2"])
        for condition in ({"If-Match": '"x"'}, {"If-Unmodified-Since": "Mon, 23 Nov 2020 01:38:14 GMT"}):
            assert nodes.api.get("b", elsewhere, **condition).status_code == 412
        assert nodes.api.get("b", elsewhere, **{"If-Match": "*"}).content == body_of(elsewhere)
        assert {target for name in NAMES[200:] for target in now[name]} == {"t1", "t3"}
        assert is_running(nodes)
        change(nodes, "stop-maintenance", sid="t2")
        wait_until_settled(nodes, set(THREE))
        check_placed(nodes, THREE)
        reads_all(nodes, "p1")()
        refused = nodes.api.call(
            "PUT", "/v1/cluster", {"action": "decommission-node", "value": {"sid": "t2", "skip_rebalance": True}}
        )
        assert refused.status_code == 400


def test_what_is_overwritten_and_deleted_while_it_moves_stays_so(tmp_path: Path) -> None:
    settings = {**SETTINGS, "rebalance_streams": 1, "rebalance_bytes_per_second": 10_000}
    with Nodes(tmp_path, target_settings=settings, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes)
        nodes.add_target("t4")
        nodes.start("t4")
        wait_for(lambda: "t4" in cluster_map(nodes)["tmap"], what="t4 is a member")
        overwritten, deleted = NAMES[::4], NAMES[1::4]
        for number, (new, old) in enumerate(zip(overwritten, deleted, strict=True)):
            api = nodes.api_of(nodes.proxy_ids[number % 2])
            api.put("b", new, body_of(new, 2))
            assert api.call("DELETE", f"/v1/objects/b/{old}").status_code == 200, old
            assert nodes.api.get("b", old).status_code == 404
            assert nodes.api.get("b", new).content == body_of(new, 2)
        assert is_running(nodes), "the test was to be faster than the move"
        left = [name for name in NAMES if name not in deleted]
        lists_all(nodes, "p2", left)()
        wait_until_settled(nodes, set(FOUR))
        check_placed(nodes, FOUR, left)
        for name in NAMES:
            answer = nodes.api.get("b", name)
            if name in deleted:
                assert answer.status_code == 404
                assert nodes.api.call("DELETE", f"/v1/objects/b/{name}").status_code == 404
            else:
                assert answer.content == body_of(name, 2 if name in overwritten else 1)


def test_a_target_that_comes_back_after_it_was_given_up_has_nothing_old_to_say(tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes)
        nodes.kill("t3")
        wait_for(lambda: set(cluster_map(nodes)["tmap"]) == {"t1", "t2"}, what="t3 given up")
        rewritten = [name for name in NAMES if owner_of(name, THREE) == "t3"][::2]
        for name in rewritten:
            nodes.api.put("b", name, body_of(name, 2))
        nodes.start("t3")
        wait_until_settled(nodes, set(THREE))
        check_placed(nodes, THREE)
        for name in NAMES:
            assert nodes.api.get("b", name).content == body_of(name, 2 if name in rewritten else 1)


def test_a_target_that_comes_and_goes(tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes)
        nodes.add_target("t4")
        for _ in range(3):
            nodes.start("t4")
            wait_for(lambda: set(cluster_map(nodes)["tmap"]) == set(FOUR), what="t4 is a member")
            nodes.kill("t4")
            wait_for(lambda: set(cluster_map(nodes)["tmap"]) == set(THREE), what="t4 given up")
        nodes.start("t4")
        wait_until_settled(nodes, set(FOUR))
        check_placed(nodes, FOUR)
        reads_all(nodes, "p1")()
        lists_all(nodes, "p2")()


def test_a_rebalance_started_by_hand_finds_what_lies_elsewhere(tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes, NAMES[:30])
        name = next(name for name in NAMES if owner_of(name, THREE) == "t1")
        for target in ("t1", "t2"):
            assert nodes.stop(target) == 0
        lies = next((nodes.directory / "t1").glob(f"mp*/@ais/b/%ob/{name}"))
        stray = nodes.directory / "t2" / "mp1" / "@ais/b/%ob" / name
        stray.parent.mkdir(exist_ok=True)
        lies.rename(stray)
        for target in ("t1", "t2"):
            nodes.start(target)
        nodes.wait_until_ready()
        wait_until_settled(nodes, set(THREE))
        assert nodes.api.get("b", name).status_code == 404
        rebalance = json.loads(haul(nodes, "start", "rebalance", "--json"))["id"]
        again = nodes.api.call("GET", "/v1/cluster?what=status", {"id": rebalance, "kind": "rebalance"})
        assert again.json()["uuid"] == rebalance
        wait_until_settled(nodes)
        assert nodes.api.get("b", name).content == body_of(name)
        check_placed(nodes, THREE, NAMES[:30])
        assert moved(nodes)["t2"]["out-objs"] == moved(nodes)["t1"]["in-objs"] == 1
        shown = haul(nodes, "show", "job", "rebalance").splitlines()
        assert shown[0] == f"rebalance {rebalance}: finished"
        assert [line.split()[:3] for line in shown[2:]] == [
            ["t1", "0", "objects"],
            ["t2", "1", "object"],
            ["t3", "0", "objects"],
        ]
        assert not json.loads(haul(nodes, "show", "job", "rebalance", "--json"))["running"]


def test_a_job_runs_while_a_target_joins(tmp_path: Path) -> None:
    objects = 3_000
    body = b"body" * 50
    names = [f"{number:04}" for number in range(objects)]
    with pattern_origin(body) as origin, Nodes(tmp_path, target_settings=SETTINGS, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        held = [origin.gate(f"/o/{name}") for name in names[objects // 2 :: 100]]
        job = nodes.api.download(
            type="multi", objects={name: origin.url(f"/o/{name}") for name in names}, limits={"connections": 2}
        )
        wait_for(lambda: nodes.api.status(job, only_active_tasks=True)["finished_cnt"] > objects // 20)
        nodes.add_target("t4")
        nodes.start("t4")
        wait_for(lambda: "t4" in cluster_map(nodes)["tmap"], what="t4 is a member")
        for gate in held:
            gate.release()
        status = nodes.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"]) == (objects, 0)
        assert [entry["name"] for entry in nodes.api.list("b", pagesize=500)] == names
        for name in names[::50]:
            assert nodes.api_of("p2").get("b", name).content == f"/o/{name}".encode() + body
        wait_until_settled(nodes, set(FOUR))
        check_placed(nodes, FOUR, names)
        assert max(origin.counts().values()) == 1


def test_uploads_go_on_while_a_target_joins(tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes)
        nodes.add_target("t4")
        stored: dict[str, int] = {}

        def upload(proxy: str, part: int) -> Callable[[], None]:
            api = nodes.api_of(proxy)

            def look() -> None:
                for name in NAMES[part::2]:
                    edition = stored.get(name, 1) + 1
                    api.put("b", name, body_of(name, edition))
                    stored[name] = edition
                    assert api.get("b", name).content == body_of(name, edition)

            return look

        with always(upload("p1", 0), upload("p2", 1), lists_all(nodes, "p1")):
            nodes.start("t4")
            wait_until_settled(nodes, set(FOUR))
        check_placed(nodes, FOUR)
        for name in NAMES:
            assert nodes.api.get("b", name).content == body_of(name, stored.get(name, 1)), name
