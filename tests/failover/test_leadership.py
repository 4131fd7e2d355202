"""Which proxy leads: another takes over within the lease; what a leader does that was paused beyond it is refused."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import msgpack
import pytest

from common.epochs import Epoch, EpochGate
from common.errors import DiskFailure, Fenced, InvalidRequest
from common.metastore.base import Put
from common.metastore.memory import MemoryStore
from proxy.leadership import KEY, Leadership, check_guard
from tests.crash.processes import pattern_origin
from tests.etcd import Etcd
from tests.nodes import Nodes, is_ready
from tests.rebalance.moving import wait_until_settled
from tests.waiting import wait_for

OBJECTS = 2_000
BODY = b"body" * 100


def make_lead(nodes: Nodes, proxy_id: str, failpoints: str) -> None:
    """Let a proxy lead that has failpoints armed."""
    for other in nodes.proxy_ids:
        nodes.stop(other)
    for one in (proxy_id, *(other for other in nodes.proxy_ids if other != proxy_id)):
        nodes.start(one, failpoints if one == proxy_id else "")
        wait_for(lambda one=one: is_ready(nodes.urls[one]), what=f"{one} ready")
        wait_for(lambda one=one: nodes.leader(one) == proxy_id, what=f"{proxy_id} leads for {one}")
    nodes.wait_until_ready()


def is_stopped(nodes: Nodes, node_id: str) -> bool:
    fields = Path(f"/proc/{nodes.pid(node_id)}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return fields[0] == "T"


def refused_epochs(nodes: Nodes, targets: list[str]) -> int:
    return sum(
        msgpack.unpackb(nodes.intra(target, "/intra/v1/identity").content)["refused_epochs"] for target in targets
    )


def test_a_leader_paused_before_its_write_changes_nothing_afterwards(tmp_path: Path) -> None:
    """The write was decided while it led, and would be made when another leads (F12)."""
    # Long enough for a proxy to start again: p1 must not want to remove p2.
    with Nodes(tmp_path, proxy_settings={"failover_grace_seconds": 8}) as nodes:
        make_lead(nodes, "p1", "leader.before_map_write=stop@1")
        nodes.kill("t2")
        wait_for(lambda: is_stopped(nodes, "p1"), what="p1 stops before it removes t2")
        wait_for(lambda: nodes.leader("p2") == "p2", what="p2 leads")
        wait_for(lambda: nodes.members("p2") == {"t1", "t3"}, what="p2 has removed t2")
        nodes.start("t2")
        wait_for(lambda: nodes.members("p2") == {"t1", "t2", "t3"}, what="t2 is back")
        # Whatever else changes the map has happened: all lies in its place, and p1 was given up itself.
        wait_until_settled(nodes, proxy="p2")
        wait_for(lambda: "p1" not in nodes.smap("p2")["pmap"], what="p1 is given up")
        version = int(nodes.smap("p2")["version"])
        nodes.signal("p1", signal.SIGCONT)
        wait_for(lambda: "not_done" in nodes.log_of("p1"), what="p1's late write is refused")
        assert "does not lead any more" in nodes.log_of("p1")
        wait_for(lambda: nodes.leader("p1") == "p2", what="p1 follows")
        wait_for(lambda: "p1" in nodes.smap("p2")["pmap"], what="p1 is a member again")
        assert nodes.members("p1") == nodes.members("p2") == {"t1", "t2", "t3"}
        assert int(nodes.smap("p2")["version"]) == version + 1, "p1 has come back, and nothing else has changed"


def test_what_a_late_leader_tells_targets_is_refused_and_counted(tmp_path: Path) -> None:
    with pattern_origin(BODY) as origin, Nodes(tmp_path) as nodes:
        make_lead(nodes, "p1", "leader.before_share=stop@1")
        job = nodes.api_of("p2").download(
            type="range", template=origin.url(f"/o/{{0000..{OBJECTS - 1:04}}}"), limits={"connections": 2}
        )
        nodes.kill("t2")
        wait_for(lambda: is_stopped(nodes, "p1"), what="p1 stops before it assigns the share of t2")
        story = f"/v1/download/{job}/story"
        wait_for(lambda: "t2 is lost" in nodes.api_of("p2").call("GET", story).text, what="p2 has assigned it")
        nodes.signal("p1", signal.SIGCONT)
        wait_for(lambda: refused_epochs(nodes, ["t1", "t3"]) > 0, what="targets refuse the older epoch")
        status = nodes.api_of("p2").finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (OBJECTS, 0, OBJECTS)
        assert nodes.api_of("p2").call("GET", story).text.count("t2 is lost") == 1
        assert len(nodes.api_of("p2").list("b")) == OBJECTS


def agreed(nodes: Nodes, proxy_ids: list[str]) -> str:
    """Who leads if these proxies say the same, empty if not: each learns it in its own time."""
    told = {nodes.leader(one) for one in proxy_ids}
    return told.pop() if len(told) == 1 else ""


def test_a_leader_that_is_killed_or_stopped_for_good_is_replaced(tmp_path: Path) -> None:
    with (
        Etcd(tmp_path / "etcd", members=1) as etcd,
        Nodes(tmp_path / "nodes", proxies=3, meta_store=etcd.meta_store) as nodes,
    ):
        left = list(nodes.proxy_ids)
        for end in (nodes.kill, lambda node_id: nodes.signal(node_id, signal.SIGSTOP)):
            leader = wait_for(lambda: nodes.leader(left[0]), what="a leader")
            end(leader)
            left.remove(leader)
            wait_for(lambda: agreed(nodes, left) in left, what="another leads, and all know")


def test_a_leader_that_ends_gives_way_at_once(tmp_path: Path) -> None:
    """It does not let the others wait for its lease, which is long here."""
    with Nodes(tmp_path, proxy_settings={"keep_alive_seconds": 300, "failover_grace_seconds": 3000}) as nodes:
        leader = wait_for(nodes.leader, what="a leader")
        other = "p2" if leader == "p1" else "p1"
        assert nodes.stop(leader) == 0
        wait_for(lambda: nodes.leader(other) == other, what="the other leads")


class Clock:
    """A time of the test's choice."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_leads_at_a_time_and_not_longer_than_its_lease() -> None:
    async def scenario() -> None:
        clock = Clock()
        store = MemoryStore(clock=clock)
        await store.start()
        first, second = (Leadership(name, store, 9.0, clock) for name in ("p1", "p2"))
        await first.turn()
        await second.turn()
        assert (first.is_leading, second.is_leading, second.leader_id) == (True, False, "p1")
        authority = first.authority()
        clock.now += 5.9
        assert first.is_leading
        clock.now += 0.2
        assert not first.is_leading, "two thirds of the lease have passed"
        with pytest.raises(Fenced):
            first.authority()
        clock.now += 3.0
        await second.turn()
        assert second.is_leading
        assert second.authority().epoch.number > authority.epoch.number
        late = await store.transaction((authority.compare,), (Put("x", b"late"),))
        assert not late.succeeded
        with pytest.raises(Fenced):
            check_guard(late, authority.compare)
        await first.turn()
        assert (first.is_leading, first.leader_id) == (False, "p2")
        await store.close()

    asyncio.run(scenario())


def test_renewing_keeps_the_epoch_and_resigning_frees_the_key() -> None:
    async def scenario() -> None:
        clock = Clock()
        store = MemoryStore(clock=clock)
        await store.start()
        first, second = (Leadership(name, store, 9.0, clock) for name in ("p1", "p2"))
        await first.turn()
        epoch = first.authority().epoch
        for _ in range(5):
            clock.now += 4.0
            await first.turn()
            assert first.authority().epoch == epoch
        await first.resign()
        assert await store.get(KEY) is None
        await second.turn()
        assert second.is_leading
        await store.close()

    asyncio.run(scenario())


class TestEpochGate:
    def gate(self, directory: Path) -> EpochGate:
        gate = EpochGate(directory / "epoch.json")
        gate.start()
        return gate

    def test_earlier_epochs_and_other_histories_are_refused_also_after_a_restart(self, tmp_path: Path) -> None:
        gate = self.gate(tmp_path)
        for number in (5, 5, 7):
            gate.check(Epoch("a", number))
        gate = self.gate(tmp_path)
        for late in (Epoch("a", 6), Epoch("b", 9)):
            with pytest.raises(Fenced):
                gate.check(late)
        gate.check(Epoch("a", 7))
        assert gate.refused == 2

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"history": "a"}', '{"history": "a", "number": "x"}'])
    def test_a_file_that_cannot_be_read_is_told(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "epoch.json").write_text(text, encoding="utf-8")
        with pytest.raises(DiskFailure):
            self.gate(tmp_path)

    @pytest.mark.parametrize("plain", [{}, {"history": "a"}, {"history": "a", "number": None}])
    def test_messages_that_are_none(self, plain: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequest):
            Epoch.from_wire(plain)
