"""`ais show cluster|storage|config|log|remote-cluster` and what starts every command: requests in their order, fields
with their JSON types (wire.md §4, §9.2)."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Any

import pytest

from tests.ais.goapi import GoApi, GoError
from tests.cluster import Cluster
from tests.waiting import wait_for

COUNTS = ("used", "avail")
SECTIONS = ("space", "rebalance", "auth", "mirror", "ec", "chunks", "checksum", "write_policy", "rate_limit", "lru")


def check_net(net: dict[str, Any]) -> None:
    assert isinstance(net["node_ip_addr"], str)
    assert net["daemon_port"].isdecimal()
    assert net["direct_url"].startswith("http://")


def check_snode(snode: dict[str, Any], node_id: str, role: str) -> None:
    for name in ("public_net", "intra_data_net", "intra_control_net"):
        check_net(snode[name])
    assert (snode["daemon_id"], snode["daemon_type"]) == (node_id, role)
    assert isinstance(snode["flags"], int)
    assert isinstance(snode["id_digest"], int)


def check_machine(machine: dict[str, Any]) -> None:
    assert machine["mem_used"] > 0
    assert machine["mem_avail"] > 0
    assert 0 < machine["pct_mem_used"] <= 100
    assert isinstance(machine["pct_mem_used"], float)
    assert isinstance(machine["pct_cpu_used"], float)
    assert isinstance(machine["cpu_util"], int)
    assert 0 <= machine["cpu_util"] <= 100
    assert all(isinstance(machine["load_avg"][name], float) for name in ("One", "Five", "Fifteen"))


def check_capacity(capacity: dict[str, Any], mountpaths: set[str]) -> None:
    assert set(capacity["mountpaths"]) == mountpaths
    for of in capacity["mountpaths"].values():
        assert all(isinstance(of[name], str) and int(of[name]) > 0 for name in COUNTS)
        assert 0 < of["pct_used"] < 100
        assert set(of["fs"]) == {"Fs", "FsType", "FsID"}
        assert of["fs"]["FsType"]
        assert len([int(half) for half in of["fs"]["FsID"].split(",")]) == 2
        assert isinstance(of["disks"], list)
    each = capacity["mountpaths"].values()
    assert capacity["total_used"] in [of["used"] for of in each], "one file system, counted once"
    assert capacity["pct_min"] <= capacity["pct_avg"] <= capacity["pct_max"]
    assert capacity["cs_err"] == ""


def check_state(state: dict[str, Any], smap: dict[str, Any]) -> None:
    assert state["smap"]["Primary"]["pub_url"] in [node["public_net"]["direct_url"] for node in smap["pmap"].values()]
    assert state["smap"]["uuid"] == state["bmd"]["uuid"] == smap["uuid"]
    for name in ("smap", "bmd", "rmd", "config", "etlmd"):
        assert state[name]["version"].isdecimal()
    assert state["flags"] & 6 == 6


def test_show_cluster(ais: GoApi, cluster: Cluster) -> None:
    smap = ais.smap()
    assert ais.endpoint == smap["proxy_si"]["public_net"]["direct_url"]
    assert smap["version"].isdecimal()
    assert any(node["flags"] & 2 for node in smap["pmap"].values()), "a member of the IC"
    assert (set(smap["pmap"]), set(smap["tmap"])) == (set(cluster.proxy_ids), set(cluster.target_ids))
    for node_id in (*smap["pmap"], *smap["tmap"]):
        role = "proxy" if node_id in smap["pmap"] else "target"
        status = ais.node(node_id, "node_status")
        check_snode(status["snode"], node_id, role)
        assert status["status"] == ""
        assert status["ais_version"].split(".")[0] == "5"
        assert {name: type(status[name]) for name in ("deployment", "build_time", "k8s_pod_name")} == dict.fromkeys(
            ("deployment", "build_time", "k8s_pod_name"), str
        )
        assert status["tracker"]["up.ns.time"] > 0
        assert status["tracker"]["state.flags"] & 6 == 6
        assert all(isinstance(value, int) for value in status["tracker"].values())
        check_machine(status["sys_info"])
        check_state(status["cluster"], smap)
        assert status["smap_version"] == status["cluster"]["smap"]["version"]
        if role == "target":
            check_capacity(status["capacity"], {str(path) for path in cluster.mountpaths(node_id)})
        else:
            assert status["capacity"]["mountpaths"] is None
            assert status["capacity"]["total_used"] == "0"
    config = ais.cluster("cluster_config")
    assert all(isinstance(config[name], dict) for name in SECTIONS)
    assert config["uuid"] == smap["uuid"]
    assert ais.cluster("backends") == ["aws", "azure", "gcp"]


def test_a_target_that_is_down_is_a_row_that_says_so(ais: GoApi, cluster: Cluster) -> None:
    cluster.stop("t3")
    try:
        status = ais.node("t3", "node_status")
        assert status["status"] == "offline"
        check_snode(status["snode"], "t3", "target")
        with pytest.raises(GoError) as raised:
            ais.node("t3", "node_stats")
        assert raised.value.status == 503
        assert set(ais.cluster("node_stats")["target"]) == {"t1", "t2"}
    finally:
        cluster.start("t3")
        cluster.wait_until_ready()
    wait_for(lambda: ais.node("t3", "node_status")["status"] == "", what="t3 online")


def test_a_target_in_maintenance_says_so(ais: GoApi) -> None:
    def put(action: str) -> None:
        ais.call("PUT", "/v1/cluster", message={"action": action, "value": {"sid": "t2", "skip_rebalance": True}})

    put("start-maintenance")
    wait_for(lambda: ais.node("t2", "node_status")["status"] == "maintenance", what="maintenance")
    assert ais.node("t2", "node_status")["tracker"]["state.flags"] & 1024
    put("stop-maintenance")
    wait_for(lambda: ais.node("t2", "node_status")["status"] == "", what="back")


def test_show_storage(ais: GoApi, cluster: Cluster) -> None:
    ais.smap()
    everything = ais.cluster("mountpaths")["targets"]
    for target_id in cluster.target_ids:
        paths = sorted(str(path) for path in cluster.mountpaths(target_id))
        listed = ais.node(target_id, "mountpaths")
        assert listed == {"available": paths, "waiting_dd": [], "disabled": []}
        assert everything[target_id] == listed
        disk = ais.node(target_id, "disk")
        assert set(disk["mountpaths"]) == set(paths)
        for stats in disk["AllDiskStats"].values():
            assert {name: type(value) for name, value in stats.items()} == dict.fromkeys(
                ("RBps", "Ravg", "WBps", "Wavg", "Util"), int
            )
    gathered = ais.cluster("sysinfo")
    for sysinfo in gathered["target"].values():
        check_machine(sysinfo)
        assert 0 < int(sysinfo["fs_used"]) < int(sysinfo["fs_capacity"])
        assert 0 < sysinfo["pct_fs_used"] < 100


def test_show_performance_counts_what_clients_do(ais: GoApi, bucket: str) -> None:
    def totals() -> dict[str, int]:
        trackers = [stats["tracker"] for stats in ais.cluster("node_stats")["target"].values()]
        return {name: sum(tracker.get(name, 0) for tracker in trackers) for name in expected}

    expected = {"get.n": 2, "get.size": 1100, "put.n": 1, "put.size": 1000, "del.n": 1, "err.get.n": 1, "head.n": 0}
    before = totals()
    ais.put_object(bucket, "o", b"x" * 1000)
    ais.get_object(bucket, "o")
    ais.get_object(bucket, "o", Range="bytes=0-99")
    with pytest.raises(GoError):
        ais.get_object(bucket, "nonesuch")
    ais.call("DELETE", f"/v1/objects/{bucket}/o", {"provider": "ais"})
    after = totals()
    assert {name: after[name] - before[name] for name in after} == expected
    listings = ais.cluster("node_stats")["proxy"]["tracker"].get("lst.n", 0)
    ais.names(bucket)
    assert ais.cluster("node_stats")["proxy"]["tracker"]["lst.n"] == listings + 1
    metrics = ais.node("t1", "metrics")
    assert {metrics[name] for name in ("get.n", "put.n", "del.n", "dl.n", "err.io.get.n")} == {"counter"}
    assert (metrics["get.size"], metrics["get.ns.total"], metrics["up.ns.time"]) == ("size", "total", "special")


@pytest.mark.parametrize("node_id", ["p1", "t1"])
def test_show_config_of_a_node(ais: GoApi, cluster: Cluster, node_id: str) -> None:
    ais.smap()
    config = ais.node(node_id, "config")
    assert all(isinstance(config[name], dict) for name in SECTIONS)
    port = cluster.urls[node_id].rpartition(":")[2]
    assert (config["host_net"]["hostname"], config["host_net"]["port"]) == ("127.0.0.1", port)
    expected = {str(path): "" for path in cluster.mountpaths(node_id)} if node_id == "t1" else {}
    assert config["fspaths"] == expected
    answer = ais.call("GET", "/v1/reverse/daemon", {"what": "software_version"}, headers={"Ais-Node-Id": node_id})
    assert answer.body == b"5.0.0"


@pytest.mark.parametrize("node_id", ["p1", "t1"])
def test_show_log(ais: GoApi, cluster: Cluster, node_id: str) -> None:
    def log(**query: str) -> bytes:
        headers = {"Ais-Node-Id": node_id}
        answer = ais.call("GET", "/v1/reverse/daemon", {"what": "log", **query}, headers=headers)
        assert answer.header("Content-Type") in ("text/plain; charset=utf-8", "application/gzip")
        return answer.body

    recent = cluster.logs[node_id]
    recent.keep('{"event": "all is well"}', "info")
    recent.keep('{"event": "something is odd"}', "warning")
    seen = log(severity="info", offset="0")
    assert seen.endswith(b'{"event": "all is well"}\n{"event": "something is odd"}\n')
    recent.keep('{"event": "broken"}', "error")
    assert log(severity="info", offset=str(len(seen))) == b'{"event": "broken"}\n', (
        "who follows goes on where it stopped"
    )
    assert b"all is well" not in log(severity="warning")
    assert log(severity="error") == b'{"event": "broken"}\n'
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(log(all="true")))) as packed:
        member = packed.extractfile(f"{node_id}.log")
        assert member is not None
        assert member.read() == log()
    for query in ({"severity": "loud"}, {"offset": "-1"}, {"offset": "x"}):
        with pytest.raises(GoError) as raised:
            log(**query)
        assert raised.value.status == 400


def test_show_remote_cluster(ais: GoApi) -> None:
    assert ais.cluster("remote") == {"a": None, "ver": 0}


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("PUT", "/v1/cluster", "set-config"),
        ("PUT", "/v1/cluster", "reset-config"),
        ("PUT", "/v1/cluster", "rotate-logs"),
        ("PUT", "/v1/cluster", "reset-stats"),
        ("PUT", "/v1/cluster", "shutdown"),
        ("PUT", "/v1/cluster/set-config", ""),
        ("PUT", "/v1/cluster/attach", ""),
        ("PUT", "/v1/cluster/detach", ""),
        ("PUT", "/v1/cluster/proxy/p2", ""),
        ("PUT", "/v1/daemon", "set-config"),
        ("PUT", "/v1/daemon/set-config", ""),
        ("PUT", "/v1/reverse/daemon", "rotate-logs"),
        ("PUT", "/v1/reverse/daemon/set-config", ""),
    ],
)
def test_what_is_done_elsewhere_says_where(ais: GoApi, method: str, path: str, action: str) -> None:
    message = {"action": action} if action else None
    with pytest.raises(GoError) as raised:
        ais.call(method, path, {"log.level": "4"}, message=message, headers={"Ais-Node-Id": "t1"})
    assert (raised.value.status, raised.value.code) == (501, "ErrUnsupp")
    assert "is not done by request here" in raised.value.message


def test_a_node_that_is_not_there(ais: GoApi) -> None:
    for node_id, status, text in (("nonesuch", 404, "does not exist"), ("", 400, "missing node ID")):
        with pytest.raises(GoError) as raised:
            ais.node(node_id, "node_status")
        assert raised.value.status == status
        assert text in raised.value.message


def test_only_what_a_node_tells_of_itself_is_passed_on(ais: GoApi) -> None:
    for path in ("/intra", "/mountpaths/../../../intra/v1/mountpaths", "/%2e%2e/%2e%2e/metrics"):
        with pytest.raises(GoError) as raised:
            ais.call("GET", f"/v1/reverse/daemon{path}", headers={"Ais-Node-Id": "t1"})
        assert raised.value.status == 400


def test_mountpaths_are_disabled_and_enabled_by_way_of_a_proxy(ais: GoApi, cluster: Cluster) -> None:
    path = str(cluster.mountpaths("t1")[0])
    headers = {"Ais-Node-Id": "t1"}
    message = {"action": "disable-mp", "value": path}
    ais.call("POST", "/v1/reverse/daemon/mountpaths", message=message, headers=headers)
    wait_for(lambda: path in ais.node("t1", "mountpaths")["disabled"], what="disabled")
    assert path not in ais.node("t1", "node_status")["capacity"]["mountpaths"]
    message["action"] = "enable-mp"
    ais.call("POST", "/v1/reverse/daemon/mountpaths", message=message, headers=headers)
    wait_for(lambda: path in ais.node("t1", "mountpaths")["available"], what="enabled")
    with pytest.raises(GoError) as raised:
        ais.call("POST", "/v1/reverse/daemon/mountpaths", message=message, headers={"Ais-Node-Id": "p1"})
    assert raised.value.status == 400
