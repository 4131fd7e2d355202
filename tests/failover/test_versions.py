"""Nodes of two versions in one cluster, as in every update of it (F67): neither trips over what the other has added."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from xxhash import xxh64_hexdigest

from common.clustermap import TARGET, ClusterMap, Node
from common.metastore.embedded import EmbeddedStore
from common.names import Bucket
from common.shares import JobSpec, TaskSpec
from proxy.downloads.records import Assignment, JobRecord
from proxy.identities import Remembered
from tests.crash.processes import pattern_origin
from tests.nodes import ROOT, Nodes, is_ready
from tests.origin import Origin
from tests.rebalance.moving import SETTINGS, check_placed, fill, owner_of, reads_all, wait_until_settled
from tests.waiting import wait_for

FIELD = "of_the_next_version"
PATH = f"PYTHONPATH={Path(__file__).parent / 'nextversion'}:{ROOT}"
OBJECTS = 1_000
BODY = b"body" * 100
NAMES = [f"{number:04}" for number in range(OBJECTS)]
MIXED = {"p2", "t2", "t4"}
"""Who is of the next version at first; later on it is the others."""
pytestmark = pytest.mark.timeout(600)


def start(nodes: Nodes, node_id: str, next_ones: Collection[str]) -> None:
    nodes.start(node_id, under=["env", PATH, f"NEXT_VERSION={node_id}"] if node_id in next_ones else ())


def restart(nodes: Nodes, node_id: str, next_ones: Collection[str]) -> None:
    assert nodes.stop(node_id) == 0
    start(nodes, node_id, next_ones)
    wait_for_start(nodes, node_id)


def wait_for_start(nodes: Nodes, node_id: str) -> None:
    wait_for(lambda: is_ready(nodes.urls[node_id]), seconds=240, what=f"{node_id} ready")


def check_versions(nodes: Nodes, next_ones: Collection[str]) -> None:
    """That the next version is one indeed."""
    for node_id in (*nodes.proxy_ids, *nodes.target_ids):
        said = msgpack.unpackb(nodes.intra(node_id, "/intra/v1/identity").content)
        assert (said["id"], FIELD in said) == (node_id, node_id in next_ones)


@contextmanager
def mixed(directory: Path, next_ones: Collection[str]) -> Iterator[tuple[Origin, Nodes]]:
    # A leader that stands still for four seconds only, as a busy machine may for one, loses its place.
    settings = {"failover_grace_seconds": 5.0, "keep_alive_seconds": 1.0}
    nodes = Nodes(directory, target_settings=SETTINGS, proxy_settings=settings)
    with pattern_origin(BODY) as origin, ExitStack() as stack:
        stack.push(nodes.__exit__)
        for node_id in (*nodes.proxy_ids, *nodes.target_ids):
            start(nodes, node_id, next_ones)
        for node_id in (*nodes.proxy_ids, *nodes.target_ids):
            wait_for_start(nodes, node_id)
        nodes.wait_until_ready()
        check_versions(nodes, next_ones)
        yield origin, nodes


def records(nodes: Nodes, prefix: str) -> dict[str, Any]:
    """Records of the meta store as they are written there, by what follows the prefix."""

    async def read() -> dict[str, Any]:
        store = EmbeddedStore(nodes.directory / "meta.db")
        await store.start()
        try:
            items = (await store.list(prefix)).items
            return {item.key.removeprefix(prefix): msgpack.unpackb(item.value) for item in items}
        finally:
            await store.close()

    return asyncio.run(read())


def begin(nodes: Nodes, origin: Origin, kind: str, proxy: str, bucket: str) -> str:
    fields: dict[str, Any] = {"bucket": {"name": bucket}, "limits": {"connections": 2}}
    if kind == "range":
        fields |= {"template": origin.url(f"/o/{{0000..{OBJECTS - 1:04}}}")}
    else:
        fields |= {"objects": {name: origin.url(f"/o/{name}") for name in NAMES}}
    return nodes.api_of(proxy).download(type=kind, **fields)


def check_job(nodes: Nodes, job: str, bucket: str) -> None:
    """Right, and the same to both proxies."""
    for proxy in nodes.proxy_ids:
        api = nodes.api_of(proxy)
        status = api.finished(job, seconds=100)
        assert (status["finished_cnt"], status["error_cnt"], status["scheduled_cnt"]) == (OBJECTS, 0, OBJECTS)
        assert [(entry["name"], entry["checksum"]) for entry in api.list(bucket, props="name,checksum")] == [
            (name, xxh64_hexdigest(f"/o/{name}".encode() + BODY)) for name in NAMES
        ]
    assert len(nodes.api.call("GET", f"/v1/download/{job}/ledger").text.splitlines()) == OBJECTS


@pytest.mark.parametrize("next_ones", [MIXED, {"p1", "t1"}], ids=["p2-is-next", "p1-is-next"])
def test_both_versions_do_jobs_and_keep_what_the_other_has_written(next_ones: set[str], tmp_path: Path) -> None:
    with mixed(tmp_path, next_ones) as (origin, nodes):
        (newer,) = next_ones.intersection(nodes.proxy_ids)
        (older,) = set(nodes.proxy_ids) - {newer}
        nodes.api_of(newer).create_bucket("by-newer")
        nodes.api_of(older).create_bucket("by-older")
        for proxy in nodes.proxy_ids:
            shown = {one["name"] for one in nodes.api_of(proxy).call("GET", "/v1/buckets", {"action": "list"}).json()}
            assert shown >= {"by-newer", "by-older"}
        for proxy, kind in ((newer, "multi"), (older, "multi"), (newer, "range"), (older, "range")):
            bucket = f"{kind}-{proxy}"
            job = begin(nodes, origin, kind, proxy, bucket)
            # Read, changed and written by the other proxy than the one that began it, and by that one again.
            other = older if proxy == newer else newer
            assert nodes.api_of(other).call("POST", "/v1/download/pause", {"id": job}).status_code == 200
            assert nodes.api_of(proxy).call("POST", "/v1/download/resume", {"id": job}).status_code == 200
            assert nodes.api_of(other).call("POST", "/v1/download/pause", {"id": job}).status_code == 200
            assert nodes.api_of(older).call("POST", "/v1/download/resume", {"id": job}).status_code == 200
            written = records(nodes, "jobs/")[job]
            assert written[FIELD]["by"] == newer, "the older proxy has written last, and has kept it"
            assert [one[FIELD]["by"] for one in written["assignments"]] == [newer]
            check_job(nodes, job, bucket)
        assert nodes.members(newer) == nodes.members(older) == {"t1", "t2", "t3"}
        assert max(origin.counts().values()) <= 8, "but for what a pause has cut off nothing is fetched twice"
        for node_id in (*nodes.proxy_ids, *nodes.target_ids):
            assert "Traceback" not in nodes.log_of(node_id)


def lose(nodes: Nodes, origin: Origin, kind: str, victim: str) -> None:
    """A target dies in the middle of a job."""
    bucket, left = f"without-{victim}", set(nodes.target_ids) - {victim}
    share = [name for name in NAMES if owner_of(name, nodes.target_ids, bucket) == victim]
    # What a target has of a share that it has ended goes with it: the gate keeps it from ending this one.
    held = f"/o/{share[len(share) // 2]}"
    before, gate = origin.count(held), origin.gate(held)
    job = begin(nodes, origin, kind, "p1", bucket)
    wait_for(lambda: origin.count(held) > before, what="a request in the middle of the share")
    nodes.kill(victim)
    gate.release()
    wait_for(lambda: nodes.members("p2") == left, what=f"{victim} given up")
    check_job(nodes, job, bucket)
    assert f"{victim} is lost" in nodes.api_of("p2").call("GET", f"/v1/download/{job}/story").text


@pytest.mark.parametrize("kind", ["range", "multi"])
def test_a_leader_of_either_version_does_without_a_target_of_the_other(kind: str, tmp_path: Path) -> None:
    with mixed(tmp_path, MIXED) as (origin, nodes):
        first = wait_for(nodes.leader, what="a leader")
        other = "p1" if first == "p2" else "p2"
        victims = {"p1": "t2", "p2": "t1"}
        lose(nodes, origin, kind, victims[first])
        assert nodes.leader(other) == first
        # A leader that ends gives way at once.
        restart(nodes, first, MIXED)
        wait_for(lambda: nodes.leader(first) == other, what=f"{other} leads")
        start(nodes, victims[first], MIXED)
        wait_for_start(nodes, victims[first])
        nodes.wait_until_ready()
        lose(nodes, origin, kind, victims[other])
        assert nodes.leader(first) == other


def test_targets_of_both_versions_give_objects_to_each_other(tmp_path: Path) -> None:
    """One of the next version joins, each is restarted as the other version, and one leaves."""
    with mixed(tmp_path, MIXED) as (_, nodes):
        fill(nodes)
        nodes.add_target("t4")
        start(nodes, "t4", MIXED)
        wait_for_start(nodes, "t4")
        wait_until_settled(nodes, set(nodes.target_ids))
        check_placed(nodes, nodes.target_ids)
        others = {*nodes.proxy_ids, *nodes.target_ids} - MIXED
        for node_id in (*nodes.proxy_ids, *nodes.target_ids):
            restart(nodes, node_id, others)
        nodes.wait_until_ready()
        check_versions(nodes, others)
        wait_until_settled(nodes, set(nodes.target_ids))
        for proxy in nodes.proxy_ids:
            reads_all(nodes, proxy)()
        action = {"action": "decommission-node", "value": {"sid": "t4"}}
        assert nodes.api_of("p2").call("PUT", "/v1/cluster", action).status_code == 200
        wait_until_settled(nodes, {"t1", "t2", "t3"}, proxy="p2")
        check_placed(nodes, ["t1", "t2", "t3"])
        for proxy in nodes.proxy_ids:
            reads_all(nodes, proxy)()


@pytest.mark.parametrize("node_id", ["p1", "t1"])
def test_what_cannot_be_understood_is_refused_in_words(node_id: str, tmp_path: Path) -> None:
    """A message that lacks what this version needs changes nothing, and whoever sent it is told what is missing."""
    with Nodes(tmp_path, targets=1, proxies=1) as nodes:
        messages: dict[str, tuple[tuple[str, Any, str], ...]] = {
            "p1": (
                ("/intra/v1/nodes", {FIELD: {}}, "no field 'node'"),
                ("/intra/v1/nodes", {"node": {"id": "t9", "address": "http://t9"}}, "not a node: KeyError 'role'"),
                ("/intra/v1/shares/check", {"holder": "t9"}, "no field 'copies'"),
                ("/intra/v1/news", {}, "no such intra-cluster call: news"),
            ),
            "t1": (
                ("/intra/v1/clustermap", {"version": 99, "members": []}, "not a cluster map: KeyError 'nodes'"),
                ("/intra/v1/buckets", {"table": {}}, "malformed message (KeyError: 'buckets')"),
                ("/intra/v1/shares/j/batches/0", {"work": []}, "malformed message (KeyError: 'tasks')"),
                ("/intra/v1/rebalance/offer", {}, "not the head of an object"),
                ("/intra/v1/news", {}, "no such intra-cluster call: news"),
            ),
        }
        wait_until_settled(nodes, {"t1"})
        version = nodes.smap()["version"]
        for path, body, text in messages[node_id]:
            answer = nodes.intra(node_id, path, body)
            assert (answer.status_code, text in answer.json()["message"]) == (400, True), answer.text
        assert nodes.smap()["version"] == version
        assert nodes.members() == {"t1"}


NEWER = {FIELD: {"by": "p9"}, "unknown": 1}
NODE = Node("t1", TARGET, "http://t1", incarnation=1 << 20, data_id="d")


def newer(packed: bytes) -> bytes:
    return bytes(msgpack.packb(msgpack.unpackb(packed) | NEWER))


def test_what_is_not_known_is_kept_when_a_record_is_changed() -> None:
    record = JobRecord("j", assignments=(Assignment("", ("t1",)),))
    assert msgpack.unpackb(JobRecord.unpack(newer(record.pack())).removing().pack())[FIELD] == NEWER[FIELD]
    remembered = Remembered.unpack(newer(Remembered("d", 1).pack()))
    assert msgpack.unpackb(remembered.started(NODE).pack())[FIELD] == NEWER[FIELD]
    assert FIELD not in msgpack.unpackb(Remembered("e", 1, unknown=NEWER).started(NODE).pack()), "it is another node"
    plain = ClusterMap(1, 1, (NODE,)).to_wire()
    plain = {**plain, "nodes": [one | NEWER for one in plain["nodes"]]} | NEWER
    changed = ClusterMap.from_wire(plain).with_node(Node("t2", TARGET, "http://t2")).to_wire()
    assert (changed[FIELD], changed["nodes"][0][FIELD]) == (NEWER[FIELD], NEWER[FIELD])


def test_what_is_not_known_of_a_job_goes_with_its_secrets() -> None:
    spec = JobSpec.unpack(newer(JobSpec("j", "multi", "", Bucket("b"), 1, 1, ()).pack()))
    assert msgpack.unpackb(spec.pack())[FIELD] == NEWER[FIELD]
    assert FIELD not in msgpack.unpackb(spec.without_secrets().pack())
    assert FIELD not in repr(spec)


def test_what_is_appended_to_a_task_is_ignored() -> None:
    task = TaskSpec(1, "x", "http://o/x")
    assert TaskSpec.from_plain([*task, NEWER]) == task
