"""Members and the living: the map changes with the nodes, a lease with the heartbeat; and the proxy as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from common.clustermap import FLAG_DECOMMISSION, PROXY, TARGET, ClusterMap, Node, NoTargets
from common.errors import InvalidRequest
from common.names import Bucket
from common.placement import choose, digest
from tests.proxy.harness import Cluster, cluster, eventually

REPOSITORY = Path(__file__).parents[2]


def node(node_id: str, role: str = TARGET, **fields: Any) -> Node:
    return Node(node_id, role, f"http://{node_id}.example:8080", **fields)


class TestClusterMap:
    def test_a_new_or_changed_node_gives_the_next_version(self) -> None:
        first = ClusterMap(created_ns=1).with_node(node("t1"))
        assert first.with_node(node("t1")) is first
        changed = first.with_node(node("t1", incarnation=2))
        assert (first.version, changed.version, len(changed.nodes)) == (1, 2, 1)
        assert changed.without_node("t1").version == 3
        assert changed.without_node("t9") is changed

    def test_it_travels(self) -> None:
        members = ClusterMap(
            3, 7, (node("t2", mountpaths=("/a", "/b")), node("p1", PROXY, public_url="https://p.example"))
        )
        assert ClusterMap.from_wire(json.loads(json.dumps(members.to_wire()))) == members
        assert [member.id for member in members.nodes] == ["p1", "t2"]
        for broken in ({}, {"version": 1, "created_ns": 1, "nodes": [{"id": "x"}]}, {"version": "x"}):
            with pytest.raises(InvalidRequest):
                ClusterMap.from_wire(broken)

    @pytest.mark.parametrize(("node_id", "role"), [("", TARGET), ("a b", TARGET), ("a/b", TARGET), ("a", "king")])
    def test_nodes_that_are_none(self, node_id: str, role: str) -> None:
        with pytest.raises(InvalidRequest):
            Node(node_id, role, "http://h")

    def test_owners_follow_the_digests_and_avoid_those_that_leave(self) -> None:
        members = ClusterMap(1, 1, (node("t2"), node("t1"), node("t3", flags=FLAG_DECOMMISSION), node("p1", PROXY)))
        bucket = Bucket("demo")
        for number in range(50):
            expected = choose(digest(f"ais/@#/demo/{number}"), [digest("t1"), digest("t2")])
            assert members.owner(bucket, str(number)).id == ["t1", "t2"][expected]
        assert [member.id for member in members.targets] == ["t1", "t2", "t3"]
        with pytest.raises(NoTargets):
            ClusterMap(1, 1, (node("p1", PROXY),)).owner(bucket, "x")

    def test_the_smap_is_aistores(self) -> None:
        created_ns = 1_795_397_894_000_000_000
        smap = ClusterMap(3, created_ns, (node("t1"), node("p1", PROXY, public_url="https://p.example"))).to_smap(
            "p1", "C1"
        )
        assert list(smap) == ["pmap", "proxy_si", "tmap", "uuid", "creation_time", "version"]
        assert (smap["version"], smap["uuid"], smap["creation_time"]) == ("3", "C1", "2026-11-23 01:38:14")
        assert smap["proxy_si"] == smap["pmap"]["p1"]
        net = {"node_ip_addr": "p.example", "daemon_port": "443", "direct_url": "https://p.example"}
        assert smap["proxy_si"]["public_net"] == net
        assert (smap["pmap"]["p1"]["flags"], smap["tmap"]["t1"]["flags"]) == (2, 0)
        assert smap["tmap"]["t1"]["id_digest"] == digest("t1")

    def test_the_digest_is_aistores(self) -> None:
        assert Node("jpnp18100", PROXY, "http://h").digest == 16655873192705550504
        assert Node("hyEt18103", TARGET, "http://h").digest == 11352784028951517763


async def readiness(running: Cluster, proxy: int) -> int:
    return (await running.request("GET", "/v1/health?readiness=true", proxy=proxy)).status_code


async def primary(running: Cluster, proxy: int) -> str:
    node_id: str = (await smap(running, proxy))["proxy_si"]["daemon_id"]
    return node_id


async def smap(running: Cluster, proxy: int = 0) -> dict[str, Any]:
    shown: dict[str, Any] = (await running.request("GET", "/v1/daemon?what=smap", proxy=proxy)).json()
    return shown


def test_a_restarted_target_changes_the_map_and_everybody_is_told(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=2) as running:
            before = int((await smap(running))["version"])
            target = running.targets["t1"]
            await target.report()
            await eventually(lambda: smap(running, 1), lambda shown: int(shown["version"]) == before)
            target.node = replace(target.node, incarnation=target.node.incarnation + (1 << 20))
            await target.report(proxy=1)
            await eventually(lambda: smap(running, 0), lambda shown: int(shown["version"]) == before + 1)
            await eventually(lambda: running.targets["t3"].cluster_map["version"] == before + 1)

    asyncio.run(check())


def test_who_stops_reporting_goes_offline_and_stays_a_member(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, targets=1, proxies=2, keep_alive_seconds=0.05) as running:
            await eventually(lambda: readiness(running, 1), lambda status: status == 503)
            await eventually(lambda: readiness(running, 0), lambda status: status == 503)
            assert list((await smap(running))["tmap"]) == ["t1"]
            # A lease that has ended is no proof: who acknowledges its share can do it.
            fields = {"bucket": {"name": "demo"}, "type": "single", "link": "http://10.77.0.1:18080/a"}
            assert (await running.request("POST", "/v1/download", fields)).status_code == 200
            await running.targets["t1"].report(proxy=0)
            await eventually(lambda: readiness(running, 1), lambda status: status == 200)
            assert (await smap(running, 0))["version"] == (await smap(running, 1))["version"]

    asyncio.run(check())


async def primaries(running: Cluster, numbers: Iterable[int]) -> set[str]:
    """Who leads, as these proxies say."""
    return {await primary(running, number) for number in numbers}


def test_the_primary_is_a_living_proxy_and_the_same_for_all(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, proxies=3) as running:
            await eventually(lambda: primaries(running, range(3)), lambda found: len(found) == 1 and "" not in found)
            (first,) = await primaries(running, range(3))
            left = [number for number in range(3) if f"p{number + 1}" != first]
            await running.proxies[int(first[1:]) - 1].stop()
            others = {f"p{number + 1}" for number in left}
            await eventually(lambda: primaries(running, left), lambda found: len(found) == 1 and found <= others)

    asyncio.run(check())


def test_messages_that_are_no_nodes_change_nothing(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, targets=1) as running:
            before = await smap(running)
            client = running.targets["t1"].client
            for body in (None, {}, {"node": {"id": "x"}}, {"node": {"id": "a b", "role": "target", "url": "u"}}, [1]):
                with pytest.raises(Exception, match="node"):
                    await client.call(running.proxies[0].url, "/intra/v1/nodes", body)
            assert await smap(running) == before
            assert (await running.request("GET", "/intra/v1/nodes")).status_code == 405
            assert (await running.request("POST", "/intra/v1/nonesuch")).status_code == 400

    asyncio.run(check())


def test_other_nodes_describe_themselves(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, targets=1) as running:
            path = "/v1/reverse/daemon?what=snode"
            url = running.proxies[0].url + path
            assert (await running.request("GET", path)).json()["message"] == "missing node ID"
            own = await running.http.get(url, headers={"ais-node-id": "p1"})
            assert own.json()["daemon_id"] == "p1"
            running.targets["t1"].described["snode"] = {"daemon_id": "t1"}
            other = await running.http.get(url, headers={"ais-node-id": "t1"})
            assert (other.status_code, other.json()) == (200, {"daemon_id": "t1"})
            assert (await running.http.get(url, headers={"ais-node-id": "t9"})).status_code == 404

    asyncio.run(check())


def test_the_api_describes_itself(tmp_path: Path) -> None:
    async def check() -> None:
        async with cluster(tmp_path, targets=0) as running:
            description = (await running.request("GET", "/openapi.json")).json()
            start = description["paths"]["/v1/download"]["post"]["requestBody"]["content"]["application/json"]
            kinds = {example["value"]["type"] for example in start["examples"].values()}
            assert kinds == {"single", "multi", "range", "hf"}
            assert (await running.request("GET", "/docs")).status_code == 200

    asyncio.run(check())


def write_config(directory: Path, port: int, **settings: str) -> Path:
    fields = {
        "id": "p1",
        "public_url": f"http://127.0.0.1:{port}",
        "cluster_id": "C1",
        "data_dir": str(directory / "p1"),
        "meta_store": f"sqlite:{directory}/meta/meta.db",
    } | settings
    path = directory / "proxy.toml"
    path.write_text("\n".join([f"port = {port}", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]))
    return path


def test_the_process_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "proxy", "--config", str(write_config(tmp_path, port))]
    for _ in range(2):
        with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE) as process:
            try:
                shown = asyncio.run(eventually(lambda: fetch(f"http://127.0.0.1:{port}/v1/daemon?what=smap")))
                assert list(json.loads(shown)["pmap"]) == ["p1"]
                second = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
                assert second.returncode == 1
                assert str(process.pid) in second.stderr
                assert "Traceback" not in second.stderr
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def fetch(url: str) -> bytes:
    try:
        with urlopen(url, timeout=5) as answer:
            content: bytes = answer.read()
            return content
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"meta_store": "etcd:x"}, "meta_store"), ({"id": "a b"}, "id"), ({"nonesuch": "1"}, "nonesuch")],
)
def test_a_wrong_configuration_is_named_in_one_line(tmp_path: Path, settings: dict[str, str], field: str) -> None:
    config = write_config(tmp_path, 1, **settings)
    command = [sys.executable, "-m", "proxy", "--config", str(config)]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1
    assert f"field '{field}'" in process.stderr
