"""Who moves where, where to look meanwhile, and when a placement is settled: without a disk or a socket."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.clustermap import FLAG_DECOMMISSION, FLAG_MAINTENANCE, PROXY, TARGET, ClusterMap, Node
from common.errors import InvalidRequest, RequestError
from common.names import Bucket
from common.placement import choose, digest
from proxy.rebalance.settling import is_through, unknown_plans
from target.rebalance.deletions import MAX_KEPT, Deletions
from target.rebalance.messages import Arrival, answer_of, framed, split
from target.rebalance.walk import owned_by_others
from target.storage.metadata import ObjectMetadata

BUCKET = Bucket("b")
NAMES = [f"{number:05}" for number in range(2_000)]


def target(node_id: str, **fields: Any) -> Node:
    return Node(node_id, TARGET, f"http://{node_id}:1", **fields)


def members(*ids: str) -> ClusterMap:
    result = ClusterMap()
    for node_id in ids:
        result = result.with_node(target(node_id))
    return result.settled()


def test_a_target_that_joins_takes_its_part_from_everybody_and_nobody_else_moves_anything() -> None:
    before = members("t1", "t2", "t3")
    after = before.with_node(target("t4"))
    leaving = {one: owned_by_others(NAMES_OF[one], BUCKET.uname, after, one) for one in ("t1", "t2", "t3")}
    assert {owner.id for found in leaving.values() for _, owner in found} == {"t4"}
    moved = sum(map(len, leaving.values()))
    expected = sum(after.owner(BUCKET, name).id == "t4" for name in NAMES)
    assert moved == expected
    assert len(NAMES) / 5 < moved < len(NAMES) / 3


NAMES_OF: dict[str, list[str]] = {"t1": [], "t2": [], "t3": []}
for _name in NAMES:
    NAMES_OF[members("t1", "t2", "t3").owner(BUCKET, _name).id].append(_name)


@pytest.mark.parametrize("flag", [FLAG_MAINTENANCE, FLAG_DECOMMISSION])
def test_what_a_target_that_leaves_has_goes_where_the_others_would_have_had_it(flag: int) -> None:
    before = members("t1", "t2", "t3")
    after = before.with_node(target("t3", flags=flag))
    moved = owned_by_others(NAMES_OF["t3"], BUCKET.uname, after, "t3")
    assert [name for name, _ in moved] == NAMES_OF["t3"]
    two = [digest("t1"), digest("t2")]
    assert all(owner.id == ("t1", "t2")[choose(digest(BUCKET.uname + name), two)] for name, owner in moved)
    for stays in ("t1", "t2"):
        assert owned_by_others(NAMES_OF[stays], BUCKET.uname, after, stays) == []


def test_nobody_moves_anything_when_nothing_can_be_placed() -> None:
    only = members("t1").with_node(target("t1", flags=FLAG_MAINTENANCE))
    assert owned_by_others(NAMES, BUCKET.uname, only, "t1") == []
    assert owned_by_others([], BUCKET.uname, members("t1", "t2"), "t1") == []


class TestMap:
    def test_a_change_of_the_placement_unsettles_it_and_remembers_the_one_before(self) -> None:
        first = members("t1", "t2")
        joined = first.with_node(target("t3"))
        assert first.is_settled
        assert not joined.is_settled
        assert (joined.placement_version, joined.earlier) == (joined.version, (("t1", "t2"),))
        resting = joined.with_node(target("t1", flags=FLAG_MAINTENANCE))
        assert resting.earlier == (("t1", "t2"), ("t1", "t2", "t3"))
        back = resting.with_node(target("t1"))
        assert back.earlier == (("t1", "t2"), ("t2", "t3")), "the current one is no earlier one"
        gone = back.without_node("t3")
        assert set(gone.earlier) == {("t2", "t3"), ("t1", "t2", "t3")}
        settled = gone.settled()
        assert settled.is_settled
        assert (settled.version, settled.earlier) == (gone.version + 1, ())

    def test_other_changes_do_not(self) -> None:
        first = members("t1", "t2")
        for other in (
            first.with_node(Node("p1", PROXY, "http://p1:1")),
            first.with_node(target("t1", incarnation=7)),
            first.with_node(target("t3", flags=FLAG_DECOMMISSION)),
        ):
            assert other.is_settled
            assert other.version == first.version + 1
        resting = first.with_node(target("t3", flags=FLAG_DECOMMISSION))
        assert resting.without_node("t3").is_settled

    def test_the_first_target_has_nobody_before_it(self) -> None:
        first = ClusterMap().with_node(target("t1"))
        assert (first.earlier, first.is_settled) == ((), False)

    def test_by_hand_everything_is_looked_for_anew(self) -> None:
        again = members("t1", "t2").unsettled()
        assert (again.placement_version, again.earlier, again.is_settled) == (again.version, (), False)

    def test_holders_are_the_owner_and_then_the_earlier_ones_that_are_still_there(self) -> None:
        cluster_map = members("t1", "t2").with_node(target("t3")).with_node(target("t4")).without_node("t2")
        for name in NAMES[:200]:
            found = [node.id for node in cluster_map.holders(BUCKET, name)]
            object_digest = digest(BUCKET.uname + name)
            wanted = []
            for placed in (("t1", "t3", "t4"), ("t1", "t2", "t3", "t4"), ("t1", "t2", "t3"), ("t1", "t2")):
                owner = placed[choose(object_digest, [digest(one) for one in placed])]
                if owner != "t2" and owner not in wanted:
                    wanted.append(owner)
            assert found == wanted

    def test_it_travels_and_older_forms_are_read(self) -> None:
        cluster_map = members("t1", "t2").with_node(target("t3"))
        plain = json.loads(json.dumps(cluster_map.to_wire()))
        assert ClusterMap.from_wire(plain) == cluster_map
        for name in ("placement_version", "settled_version", "earlier"):
            del plain[name]
        older = ClusterMap.from_wire(plain)
        assert older.is_settled
        assert older.placement == ("t1", "t2", "t3")

    @given(st.lists(st.tuples(st.sampled_from(["t1", "t2", "t3", "t4"]), st.booleans()), max_size=20))
    def test_every_placement_since_the_settled_one_is_remembered_once(self, changes: list[tuple[str, bool]]) -> None:
        cluster_map = members("t1", "t2", "t3")
        seen = [cluster_map.placement]
        for node_id, joins in changes:
            cluster_map = cluster_map.with_node(target(node_id)) if joins else cluster_map.without_node(node_id)
            if cluster_map.placement != seen[-1]:
                seen.append(cluster_map.placement)
        assert set(cluster_map.earlier) == {placed for placed in seen if placed} - {cluster_map.placement}
        assert len(set(cluster_map.earlier)) == len(cluster_map.earlier)
        assert cluster_map.is_settled == (len(seen) == 1)


class TestSettling:
    def status(self, cluster_map: ClusterMap, **fields: Any) -> dict[str, Any]:
        return {"placement_version": cluster_map.placement_version, "is_through": True, **fields}

    def test_everybody_must_be_through_with_this_very_placement(self) -> None:
        cluster_map = members("t1", "t2").with_node(target("t3", flags=FLAG_DECOMMISSION)).unsettled()
        through = {one: self.status(cluster_map) for one in ("t1", "t2", "t3")}
        assert is_through(cluster_map, through)
        older = self.status(cluster_map, placement_version=cluster_map.placement_version - 1)
        for wrong in ({"t3": self.status(cluster_map, is_through=False)}, {"t1": older}):
            assert not is_through(cluster_map, {**through, **wrong})
        assert not is_through(cluster_map, {one: through[one] for one in ("t1", "t2")}), "t3 is silent"

    def test_jobs_that_were_planned_over_others_are_noticed(self) -> None:
        cluster_map = members("t1", "t2").with_node(target("t3"))
        plans = {("t1", "t2"), ("t1", "t2", "t3"), ("t2", "t9")}
        assert unknown_plans(cluster_map, plans) == [("t2", "t9")]
        assert unknown_plans(cluster_map.settled(), plans) == [("t1", "t2"), ("t2", "t9")]
        again = cluster_map.settled().unsettled([("t1", "t2")])
        assert unknown_plans(again, plans) == [("t2", "t9")]


class TestDeletions:
    def test_what_was_stored_before_a_deletion_is_covered_and_nothing_else(self) -> None:
        deletions = Deletions()
        deletions.note(BUCKET, "a", 100)
        deletions.note(BUCKET, "a", 50)
        assert deletions.covers(BUCKET, "a", 100)
        assert not deletions.covers(BUCKET, "a", 101)
        assert not deletions.covers(BUCKET, "b", 1)
        assert not deletions.covers(Bucket("c"), "a", 1)

    def test_the_oldest_are_forgotten(self) -> None:
        deletions = Deletions()
        for number in range(MAX_KEPT + 1):
            deletions.note(BUCKET, str(number), 1)
        assert not deletions.covers(BUCKET, "0", 1)
        assert deletions.covers(BUCKET, "1", 1)


class TestMessages:
    arrival = Arrival(7, BUCKET, 3, "dir/ä", ObjectMetadata(5, "0" * 16, version=4, stored_ns=9, custom={"k": "v"}))

    @given(st.binary(max_size=50), st.integers(0, 400))
    def test_a_head_is_read_however_it_comes_in_pieces(self, body: bytes, cut: int) -> None:
        whole = framed(self.arrival.pack()) + body
        parts = split(whole[:cut])
        if parts is None:
            assert cut < len(whole) - len(body)
            parts = split(whole)
            assert parts is not None
            cut = len(whole)
        assert Arrival.unpack(parts[0]) == self.arrival
        assert framed(parts[0]) + parts[1] == whole[:cut]

    @pytest.mark.parametrize("head", [b"", b"\x93abc", b"\xc1", replace(arrival, name="../x").pack()])
    def test_what_is_no_head_is_refused(self, head: bytes) -> None:
        with pytest.raises(RequestError):
            Arrival.unpack(head)

    def test_a_head_without_measure_and_an_answer_that_is_none_are_refused(self) -> None:
        with pytest.raises(InvalidRequest):
            split(b"\xff" * 8)
        for answer in (None, {}, {"outcome": "perhaps"}):
            with pytest.raises(InvalidRequest):
                answer_of(answer)
