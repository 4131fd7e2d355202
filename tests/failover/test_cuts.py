"""Nodes on hosts of their own between which links are cut, both ways or one, lose packets, or flap."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest
from xxhash import xxh64_hexdigest

from tests.crash.processes import pattern_origin
from tests.etcd import Etcd
from tests.networks import Network
from tests.nodes import Nodes
from tests.origin import Gate, Origin
from tests.rebalance.moving import copies, owner_of
from tests.waiting import wait_for

OBJECTS = 600
BODY = b"body" * 100
NEVER = {"keep_alive_seconds": 0.5, "failover_grace_seconds": 300}
"""Nobody is given up, however long it is silent."""
SOON = {"keep_alive_seconds": 0.5, "failover_grace_seconds": 3}
WAYS = ["both", "in", "out"]
pytestmark = pytest.mark.timeout(400)


@dataclass
class Running:
    """A cluster on a network, and the job that is looked at."""

    network: Network
    origin: Origin
    nodes: Nodes
    job: str = ""
    gates: list[Gate] = field(default_factory=list)

    def start(self, kind: str = "range", *, held: int = 0, **fields: Any) -> None:
        """Begin the job; the answers of its last `held` objects are held until `release`."""
        self.gates += [self.origin.gate(f"/o/{number:04}") for number in range(OBJECTS - held, OBJECTS)]
        if kind == "range":
            fields["template"] = self.origin.url(f"/o/{{0000..{OBJECTS - 1:04}}}")
        else:
            fields["objects"] = {f"{number:04}": self.origin.url(f"/o/{number:04}") for number in range(OBJECTS)}
        self.job = self.nodes.api.download(type=kind, **fields)

    def release(self, count: int) -> None:
        for gate in self.gates[:count]:
            gate.release()
        del self.gates[:count]

    def status(self, proxy: str = "p1") -> dict[str, Any]:
        return self.nodes.api_of(proxy).status(self.job, only_active_tasks=True)

    def is_stale(self, target: str, proxy: str = "p1") -> bool:
        return target in self.status(proxy).get("stale_targets", ())

    def stored(self, target: str = "t*") -> int:
        """How many objects are on the disks, whatever the cluster knows of them."""
        return sum(path.is_file() for path in self.nodes.directory.glob(f"{target}/mp*/@ais/b/%ob/**/*"))

    def story(self, proxy: str = "p1") -> str:
        return self.nodes.api_of(proxy).call("GET", f"/v1/download/{self.job}/story").text

    def cut_all(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        for sender in senders:
            for receiver in receivers:
                self.network.cut(sender, receiver)

    def isolate(self, node: str, way: str, *others: str) -> None:
        """Cut a node from others, or from all proxies: `both` ways, or only what goes `in` to it or `out` of it."""
        others = others or tuple(self.nodes.proxy_ids)
        if way in {"both", "out"}:
            self.cut_all([node], others)
        if way in {"both", "in"}:
            self.cut_all(others, [node])

    def new_job(self, proxy: str) -> dict[str, Any]:
        return {"type": "single", "link": self.origin.url(f"/o/{proxy}"), "object_name": "x", "bucket": {"name": proxy}}

    def check_refuses(self, proxy: str) -> None:
        """A proxy without the store refuses what is new, and tells the rest from memory."""
        api = self.nodes.api_of(proxy)
        refused = api.call("POST", "/v1/download", self.new_job(proxy))
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["retry-after"]) > 0
        assert api.call("GET", "/v1/download").status_code == 200
        assert self.status(proxy)["total"] == OBJECTS

    def check_accepts(self, proxy: str) -> None:
        api = self.nodes.api_of(proxy)
        assert api.finished(api.download(**self.new_job(proxy)))["finished_cnt"] == 1

    def check_complete(self, proxy: str = "p1") -> None:
        """Every object is there once, right, and counted once."""
        api = self.nodes.api_of(proxy)
        status = api.finished(self.job, seconds=180)
        assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (OBJECTS, 0, OBJECTS)
        entries = api.list("b", props="name,size,checksum")
        assert [(entry["name"], entry["checksum"]) for entry in entries] == [
            (name, xxh64_hexdigest(f"/o/{name}".encode() + BODY)) for name in (f"{n:04}" for n in range(OBJECTS))
        ]


@contextmanager
def started(
    directory: Path, settings: dict[str, Any], *, targets: int = 3, with_etcd: bool = False, **target_settings: Any
) -> Iterator[Running]:
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        origin = stack.enter_context(pattern_origin(BODY, network.outside))
        meta_store = ""
        if with_etcd:
            etcd = Etcd(directory / "etcd", members=1, host=network.add_host("etcd"))
            meta_store = stack.enter_context(etcd).meta_store
        nodes = Nodes(
            directory / "nodes",
            targets=targets,
            meta_store=meta_store,
            proxy_settings=settings,
            target_settings={"allow_origins": [network.subnet], **target_settings},
            place=network.add_host,
        )
        yield Running(network, origin, stack.enter_context(nodes))


@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_is_cut_off_for_a_while_goes_on(way: str, tmp_path: Path) -> None:
    """Its figures are marked as old ones meanwhile (F55)."""
    with started(tmp_path, NEVER) as running:
        running.start(held=40)
        wait_for(lambda: running.stored() == OBJECTS - 40, what="all but the held objects")
        held_before = running.stored("t2")
        running.isolate("t2", way)
        for proxy in running.nodes.proxy_ids:
            wait_for(lambda proxy=proxy: running.is_stale("t2", proxy), what=f"{proxy} says that t2 is silent")
        running.release(20)
        wait_for(lambda: running.stored() == OBJECTS - 20, what="t2, too, stores what it may")
        assert running.stored("t2") > held_before
        assert running.is_stale("t2")
        running.network.heal()
        running.release(20)
        running.check_complete()
        assert set(running.origin.counts().values()) == {1}


@pytest.mark.parametrize(("kind", "way"), [("range", "both"), ("multi", "in"), ("multi", "out")])
def test_a_target_that_is_cut_off_for_long_holds_still_before_others_do_its_part(
    kind: str, way: str, tmp_path: Path
) -> None:
    """It can reach the origin all the time, and would fetch what is others' by then (F56, F68)."""
    with started(tmp_path, SOON) as running:
        nodes, origin = running.nodes, running.origin
        running.start(kind, held=OBJECTS // 2, limits={"connections": 2})
        wait_for(lambda: running.origin.busy == 6, what="every target is held up, at what its limit allows")
        running.isolate("t2", way)
        wait_for(lambda: nodes.members() == {"t1", "t3"}, what="t2 given up")
        own = running.network.hosts["t2"].address
        asked = sum(request.client == own for request in origin.requests)
        running.release(OBJECTS // 2)
        wait_for(lambda: "t2 is lost" in running.story(), what="its part is assigned again")
        wait_for(lambda: running.status()["finished_cnt"] == OBJECTS, what="the others have done it all")
        assert sum(request.client == own for request in origin.requests) == asked, "t2 has held still"
        running.network.heal()
        wait_for(lambda: nodes.members() == {"t1", "t2", "t3"}, what="t2 is a member again")
        wait_for(lambda: "shares_given_up" in nodes.log_of("t2"), what="t2 has given up its share")
        running.check_complete()
        assert max(origin.counts().values()) <= 2


def test_a_link_that_flaps_costs_nothing_but_time(tmp_path: Path) -> None:
    """Sometimes long enough for the target to be given up, sometimes not (F65)."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with started(tmp_path, SOON) as running:
        running.start("multi", held=200)
        for _ in range(10):
            running.isolate("t2", chance.choice(WAYS))
            wait_for(lambda: running.is_stale("t2") or "t2" not in running.nodes.members(), what="t2 is missed")
            running.release(20)
            running.network.heal()
            wait_for(lambda: not running.status().get("stale_targets"), what="nobody is missed")
        running.check_complete()
        assert running.nodes.members() == {"t1", "t2", "t3"}


def test_links_that_lose_much_only_make_it_slower(tmp_path: Path) -> None:
    """40 of 100 packets, each way, between all nodes; nobody is taken for dead (F61)."""
    settings = {"keep_alive_seconds": 1.0, "failover_grace_seconds": 60}
    with started(tmp_path, settings) as running:
        nodes = running.nodes
        running.start("multi", held=100)
        names = [*nodes.proxy_ids, *nodes.target_ids]
        for one in names:
            for other in names:
                if one != other:
                    running.network.cut(one, other, probability=0.4)
        for _ in range(5):
            before = running.stored()
            running.release(20)
            wait_for(lambda before=before: running.stored() > before, what="the job goes on")
            new = {
                "type": "single",
                "link": running.origin.url("/o/new"),
                "object_name": "new",
                "bucket": {"name": "c"},
            }
            answer = nodes.api.call("POST", "/v1/download", new)
            assert answer.status_code in {200, 503}, answer.text
        running.network.heal()
        running.check_complete()
        assert nodes.members() == {"t1", "t2", "t3"}
        assert not any("node_given_up" in nodes.log_of(proxy) for proxy in nodes.proxy_ids)


@pytest.mark.parametrize("way", WAYS)
def test_a_leader_that_is_cut_off_from_the_store_does_nothing_afterwards(way: str, tmp_path: Path) -> None:
    """It can reach all targets, who are told by another what to do (F57)."""
    with started(tmp_path, SOON, with_etcd=True) as running:
        nodes = running.nodes
        running.start("multi", held=200)
        old = wait_for(nodes.leader, what="a leader")
        (new,) = set(nodes.proxy_ids) - {old}
        running.isolate(old, way, "etcd")
        wait_for(lambda: nodes.leader(new) == new, what="the other proxy leads")
        nodes.kill("t2")
        wait_for(lambda: nodes.members(new) == {"t1", "t3"}, what="t2 given up")
        wait_for(lambda: "t2 is lost" in running.story(new), what="its part is assigned again")
        running.check_refuses(old)
        assert running.is_stale("t2", old), "it does not know who has the part of t2, and says so"
        running.release(200)
        running.check_accepts(new)
        wait_for(lambda: running.status(new)["finished_cnt"] == OBJECTS, what="the job's end")
        for event in ("housekeeping.node_given_up", "job.reassigned"):
            assert (event in nodes.log_of(old), event in nodes.log_of(new)) == (False, True)
        running.network.heal()
        wait_for(lambda: nodes.leader(old) == new, what="the old leader follows")
        wait_for(lambda: nodes.members(old) == {"t1", "t3"}, what="and knows the map")
        for proxy in (new, old):
            running.check_complete(proxy)


def test_a_proxy_that_is_cut_off_from_the_store_says_so_and_the_others_work(tmp_path: Path) -> None:
    with started(tmp_path, SOON, with_etcd=True) as running:
        nodes = running.nodes
        running.start(held=40)
        leader = wait_for(nodes.leader, what="a leader")
        (other,) = set(nodes.proxy_ids) - {leader}
        wait_for(lambda: running.status(other)["finished_cnt"] == OBJECTS - 40, what="both know the job")
        running.isolate(other, "both", "etcd")
        wait_for(lambda: other not in nodes.smap(leader)["pmap"], what="it has left the map")
        running.check_refuses(other)
        assert nodes.members(leader) == {"t1", "t2", "t3"}
        running.release(40)
        running.check_accepts(leader)
        running.check_complete(leader)
        running.network.heal()
        wait_for(lambda: other in nodes.smap(leader)["pmap"], what="it is a member again")
        running.check_complete(other)


def test_targets_that_cannot_reach_each_other_work_on(tmp_path: Path) -> None:
    """The budget is kept by one of them, and each uses its even part while it does not answer."""
    with started(tmp_path, NEVER) as running:
        nodes = running.nodes
        for one in nodes.target_ids:
            running.cut_all([one], [other for other in nodes.target_ids if other != one])
        # An hour's worth of bytes in ten seconds.
        size = len(BODY) + len("/o/0000")
        running.start("multi", limits={"bytes_per_hour": OBJECTS * size * 360})
        running.check_complete()
        assert set(running.origin.counts().values()) == {1}


def test_a_target_joins_that_one_other_cannot_reach(tmp_path: Path) -> None:
    """What that one has of its objects is moved once the link is whole; nothing is taken for lost meanwhile."""
    with started(tmp_path, NEVER, rebalance_keep_seconds=1.0) as running:
        nodes = running.nodes
        running.start("multi")
        running.check_complete()
        nodes.add_target("t4")
        running.network.cut_both("t1", "t4")
        nodes.start("t4")
        wait_for(lambda: "t4" in nodes.members(), what="t4 is a member")
        wait_for(lambda: running.stored("t4") > 0, what="the others send it their objects")
        for number in range(0, OBJECTS, 20):
            answer = nodes.api.get("b", f"{number:04}")
            assert answer.status_code in {200, 503}, answer.text
        running.network.heal()
        placed = {f"{number:04}": [owner_of(f"{number:04}", nodes.target_ids)] for number in range(OBJECTS)}
        wait_for(lambda: copies(nodes) == placed, seconds=120, what="everything is where it belongs")
        running.check_complete()


def test_a_copy_of_a_list_that_could_not_be_made_is_made_later(tmp_path: Path) -> None:
    with started(tmp_path, NEVER, targets=2) as running:
        nodes = running.nodes
        holder = owner_of("x", nodes.target_ids)
        (keeper,) = set(nodes.target_ids) - {holder}
        gate = running.origin.gate("/o/x")
        nodes.api.create_bucket("b")
        running.isolate(keeper, "both")
        job = nodes.api.download(type="multi", objects={"x": running.origin.url("/o/x")})
        assert "downloads.not_copied" in nodes.log_of("p1")
        running.network.heal()
        wait_for(lambda: has_copy(nodes, keeper, job, holder), what="the copy")
        gate.release()
        assert nodes.api.finished(job)["finished_cnt"] == 1


def has_copy(nodes: Nodes, keeper: str, job: str, holder: str) -> bool:
    asked = {"shares": [], "copies": [[job, holder]]}
    return bool(msgpack.unpackb(nodes.intra(keeper, "/intra/v1/shares/known", asked).content)["copies"])
