"""Targets that join and leave a cluster with objects in it: what moves, and what clients see meanwhile."""

from __future__ import annotations

from pathlib import Path

from tests.nodes import Nodes
from tests.rebalance.moving import (
    NAMES,
    SETTINGS,
    always,
    check_placed,
    fill,
    lists_all,
    moved,
    owner_of,
    reads_all,
    wait_until_settled,
)

THREE = ["t1", "t2", "t3"]
FOUR = [*THREE, "t4"]


def test_a_target_joins_and_gets_its_part(tmp_path: Path) -> None:
    with Nodes(tmp_path, target_settings=SETTINGS) as nodes:
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
