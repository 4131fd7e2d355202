"""Targets killed in the middle of a move, at every step of it: nothing is lost, nothing is there twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nodes import Nodes
from tests.rebalance.moving import (
    NAMES,
    PATIENT,
    SETTINGS,
    always,
    check_placed,
    fill,
    is_running,
    lists_all,
    owner_of,
    reads_all,
    wait_until_settled,
)
from tests.waiting import wait_for

THREE = ["t1", "t2", "t3"]
FOUR = [*THREE, "t4"]
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("victim", "failpoint"),
    [
        ("t1", "rebalance.sent_chunk=kill@5"),
        ("t1", "rebalance.acknowledged=kill@5"),
        ("t4", "rebalance.received=kill@5"),
        ("t4", "commit.before_rename=kill@5"),
        ("t4", "commit.after_rename=kill@5"),
        ("t4", "rebalance.stored=kill@5"),
    ],
)
def test_a_target_killed_at_a_step_of_a_move(victim: str, failpoint: str, tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes)
        nodes.add_target("t4")
        if victim == "t1":
            assert nodes.stop("t1") == 0
            nodes.start("t1", failpoint)
            nodes.start("t4")
        else:
            nodes.start("t4", failpoint)
        assert nodes.wait_for_end(victim) == -signal.SIGKILL
        nodes.start(victim)
        with always(lists_when_all_answer(nodes)):
            wait_until_settled(nodes, set(FOUR))
        check_placed(nodes, FOUR)
        reads_all(nodes, "p1")()
        lists_all(nodes, "p2")()
        leftovers = [path for path in nodes.directory.glob("t*/mp*/@ais/b/%wk/*") if path.is_file()]
        assert leftovers == []


def lists_when_all_answer(nodes: Nodes) -> Callable[[], None]:
    """A listing that is complete, or refused because a target is silent; never shorter."""
    api, expected = nodes.api_of("p2"), sorted(NAMES)

    def look() -> None:
        message = {"action": "list", "value": {"pagesize": 1000}}
        answer = api.call("GET", "/v1/buckets/b", message)
        if answer.status_code == 200:
            assert [entry["name"] for entry in answer.json()["entries"]] == expected
        else:
            assert answer.status_code == 503, answer.text

    return look


@pytest.mark.parametrize(
    ("victim", "failpoint"), [("t1", "rebalance.sent_chunk=kill@10"), ("t4", "writer.after_write=kill@10")]
)
def test_large_objects_are_read_whole_and_in_part_while_their_way_breaks_off(
    victim: str, failpoint: str, tmp_path: Path
) -> None:
    names = [f"large{number}" for number in range(200)]
    moving = [name for name in names if owner_of(name, THREE) == "t1" and owner_of(name, FOUR) == "t4"][:3]
    bodies = {name: name.encode() * 500_000 for name in moving}
    settings = {**SETTINGS, "rebalance_bytes_per_second": 2 << 20}
    with Nodes(tmp_path, target_settings=settings, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        nodes.api.create_bucket("b")
        for name, body in bodies.items():
            nodes.api.put("b", name, body)
        nodes.add_target("t4")
        if victim == "t1":
            assert nodes.stop("t1") == 0
            nodes.start("t1", failpoint)
        nodes.start("t4", "" if victim == "t1" else failpoint)
        assert nodes.wait_for_end(victim) == -signal.SIGKILL
        nodes.start(victim)
        nodes.wait_until_ready()
        for name, body in bodies.items():
            whole = nodes.api_of("p1").get("b", name)
            assert (whole.status_code, whole.content == body) == (200, True)
            part = nodes.api_of("p2").get("b", name, Range="bytes=1000000-1999999")
            assert (part.status_code, part.content == body[1_000_000:2_000_000]) == (206, True)
            assert part.headers["content-range"] == f"bytes 1000000-1999999/{len(body)}"
            unchanged = nodes.api_of("p2").get("b", name, **{"If-None-Match": whole.headers["etag"]})
            assert (unchanged.status_code, unchanged.content) == (304, b"")
        wait_until_settled(nodes, set(FOUR))
        check_placed(nodes, FOUR, moving)
        for name, body in bodies.items():
            assert nodes.api.get("b", name).content == body


def test_another_leader_settles_what_one_has_left(tmp_path: Path) -> None:
    settings = {**SETTINGS, "rebalance_bytes_per_second": 20_000}
    with Nodes(tmp_path, target_settings=settings, proxy_settings=PATIENT) as nodes:
        wait_until_settled(nodes, set(THREE))
        fill(nodes)
        nodes.add_target("t4")
        nodes.start("t4")
        wait_for(lambda: set(nodes.members()) == set(FOUR), what="t4 is a member")
        leader = nodes.leader()
        other = next(proxy for proxy in nodes.proxy_ids if proxy != leader)
        nodes.kill(leader)
        with always(reads_all(nodes, other), lists_all(nodes, other)):
            wait_for(lambda: not is_running(nodes, other), seconds=120, what="the placement is settled")
        assert nodes.members(other) == set(FOUR)
        check_placed(nodes, FOUR)
