"""Who is silent for how long, and who is given up for it: decided without a clock and without a store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.clustermap import PROXY, TARGET, ClusterMap, Node
from common.errors import Fenced
from proxy.housekeeping import Silence, most_are_silent
from proxy.identities import Remembered

GRACE_SECONDS = 10.0


def members(targets: int, proxies: int = 2) -> ClusterMap:
    nodes = [Node(f"t{number}", TARGET, "http://t") for number in range(1, targets + 1)]
    return ClusterMap(1, 1, (*nodes, *(Node(f"p{number}", PROXY, "http://p") for number in range(1, proxies + 1))))


def without(*silent: str) -> Callable[[str], bool]:
    return lambda node_id: node_id not in silent


class TestSilence:
    def over(self, silence: Silence, online: Callable[[str], bool], now: float) -> list[str]:
        return [node.id for node in silence.over(members(3).nodes, online, now)]

    def test_it_is_over_after_the_grace_time_and_not_before(self) -> None:
        silence = Silence(GRACE_SECONDS)
        assert self.over(silence, without("t1"), 100.0) == []
        assert self.over(silence, without("t1", "t2"), 109.9) == []
        assert self.over(silence, without("t1", "t2"), 110.0) == ["t1"]
        assert self.over(silence, without("t1", "t2"), 119.9) == ["t1", "t2"]

    def test_who_was_heard_begins_anew(self) -> None:
        silence = Silence(GRACE_SECONDS)
        self.over(silence, without("t1"), 100.0)
        self.over(silence, without(), 109.0)
        assert self.over(silence, without("t1"), 111.0) == []
        assert self.over(silence, without("t1"), 121.0) == ["t1"]

    def test_time_that_was_not_watched_counts_for_nobody(self) -> None:
        silence = Silence(GRACE_SECONDS)
        self.over(silence, without("t1"), 100.0)
        silence.forget()
        assert self.over(silence, without("t1"), 150.0) == []

    def test_one_role_may_begin_anew_and_the_other_go_on(self) -> None:
        silence = Silence(GRACE_SECONDS)
        self.over(silence, without("t1", "p1"), 100.0)
        silence.forget(TARGET)
        assert self.over(silence, without("t1", "p1"), 111.0) == ["p1"]
        assert self.over(silence, without("t1", "p1"), 121.0) == ["p1", "t1"]


@pytest.mark.parametrize(
    ("targets", "silent", "most"),
    [
        (3, ["t1"], False),
        (3, ["t1", "t2"], True),
        (10, ["t1", "t2", "t3", "t4", "t5"], False),
        (10, ["t1", "t2", "t3", "t4", "t5", "t6"], True),
        (4, ["t1", "t2"], False),
        (2, ["t2"], False),
        (1, ["t1"], True),
        (3, ["t1", "p1", "p2"], False),
    ],
)
def test_more_than_half_of_the_targets_are_most(targets: int, silent: list[str], most: bool) -> None:
    assert most_are_silent(members(targets), without(*silent)) == most


class TestRemembered:
    """`incarnation` is the number of the start and, in its lower 20 bits, something random."""

    def start(self, number: int, *, data_id: str = "d", run: int = 5) -> Node:
        return Node("t1", TARGET, "http://t", incarnation=number << 20 | run, data_id=data_id)

    def test_a_restart_and_the_same_process_pass(self) -> None:
        known = Remembered().started(self.start(3))
        known.check(self.start(3))
        known.check(self.start(4, run=1))

    @pytest.mark.parametrize(("number", "run"), [(2, 5), (3, 6), (1, 9)])
    def test_an_earlier_start_or_another_of_the_same_number_is_a_copy(self, number: int, run: int) -> None:
        known = Remembered().started(self.start(3))
        with pytest.raises(Fenced, match="old copy"):
            known.check(self.start(number, run=run))

    def test_an_empty_data_directory_is_a_new_node_without_marks(self) -> None:
        known = Remembered("d", 9 << 20, has_left=True, flags=8)
        with pytest.raises(Fenced, match="decommissioned"):
            known.check(self.start(10))
        new = self.start(1, data_id="e")
        known.check(new)
        assert known.started(new) == Remembered("e", new.incarnation)

    def test_marks_outlive_a_restart_and_records_travel(self) -> None:
        known = Remembered("d", 9 << 20, flags=4).started(self.start(10))
        assert known.flags == 4
        assert Remembered.unpack(known.pack()) == known
        assert Remembered.unpack(None) == Remembered()
