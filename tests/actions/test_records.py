"""The record of a copy: how it travels, and when a copy is through."""

from __future__ import annotations

import zlib
from dataclasses import replace

import msgpack
import pytest

from common.clustermap import TARGET, ClusterMap, Node
from common.copying import CopyFigures, CopyOrder
from common.errors import InvalidName, InvalidRequest
from common.names import Bucket
from proxy.actions.records import ActionRecord, is_through

ORDER = CopyOrder("cpy-a", Bucket("a"), 1, Bucket("b"), 2, 5, names=("x", "y"), extensions={"jpg": "png"})
RECORD = ActionRecord(ORDER, "copy-listrange", figures={"t1": CopyFigures(objects=3)})


def cluster_map(*targets: str) -> ClusterMap:
    found = ClusterMap()
    for target in targets:
        found = found.with_node(Node(target, TARGET, "http://x"))
    return found.settled()


def through(found: ClusterMap, number: int = 0) -> CopyFigures:
    return CopyFigures(through_round=number, through_version=found.placement_version)


def test_it_travels_and_what_a_newer_proxy_has_added_is_kept() -> None:
    assert ActionRecord.unpack(RECORD.pack()) == RECORD
    plain = msgpack.unpackb(zlib.decompress(RECORD.pack()))
    newer = zlib.compress(msgpack.packb(plain | {"added": 7}))
    again = ActionRecord.unpack(newer).ended(9, {}).pack()
    assert msgpack.unpackb(zlib.decompress(again))["added"] == 7


def test_an_end_is_never_changed() -> None:
    ended = RECORD.ended(9, {}, "first")
    assert ended.ended(10, {}, "second", is_aborted=True) == ended


def test_what_has_moved_everything_neither_fails_nor_is_aborted() -> None:
    removing = RECORD.removing()
    assert removing.ended(9, {}, "the source is gone") == removing.ended(9, {}, is_aborted=True) == removing
    assert removing.ended(9, {}).ended_ns == 9


def test_too_many_names_for_one_record_are_refused() -> None:
    names = tuple(f"{number * 7919 % 1_000_003:x}-{number * 104_729 % 999_983:x}" for number in range(60_000))
    with pytest.raises(InvalidRequest, match="too many names"):
        replace(RECORD, order=replace(ORDER, names=names)).pack()


def test_names_of_copies() -> None:
    order = replace(ORDER, prepend="p/")
    for name, copied in (("a.jpg", "p/a.png"), ("a.txt", "p/a.txt"), ("d.jpg/a", "p/d.jpg/a"), (".jpg", "p/.png")):
        assert order.name_of(name) == copied
    with pytest.raises(InvalidName):
        replace(ORDER, prepend="../").name_of("a")


def test_a_copy_is_through_when_all_targets_are_in_its_round_by_the_settled_placement() -> None:
    both, before = cluster_map("t1", "t2"), cluster_map("t1")
    done = {"t1": through(both), "t2": through(both)}
    assert is_through(RECORD, both, done)
    assert not is_through(RECORD, both, {"t1": through(both)})
    assert not is_through(RECORD, both, done | {"t2": through(before)})
    assert not is_through(RECORD, both.unsettled(), done)
    assert not is_through(RECORD, both, done | {"t2": replace(through(both), is_running=True)})
    later = RECORD.next_round()
    assert not is_through(later, both, done)
    assert is_through(later, both, {target: through(both, 1) for target in done})
