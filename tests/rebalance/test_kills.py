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
    lists_all,
    reads_all,
    wait_until_settled,
)

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
