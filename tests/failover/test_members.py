"""Members come, rest, leave and end in order; and what is not a member's data directory any more never gets in."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.crash.processes import pattern_origin
from tests.nodes import ROOT, Nodes, is_ready
from tests.rebalance.moving import SETTINGS, check_placed, fill, reads_all, wait_until_settled
from tests.waiting import wait_for

THREE = ["t1", "t2", "t3"]


def haul(nodes: Nodes, *arguments: str, proxy: str = "p1") -> subprocess.CompletedProcess[str]:
    """The command line against one proxy, as a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HAUL_ENDPOINT": nodes.urls[proxy]}
    command = [str(Path(sys.executable).with_name("haul")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=90, check=False)


def change(nodes: Nodes, action: str, node_id: str, proxy: str = "p1") -> httpx.Response:
    return nodes.api_of(proxy).call("PUT", "/v1/cluster", {"action": action, "value": {"sid": node_id}})


def flags(nodes: Nodes, node_id: str, proxy: str = "p1") -> int:
    return int(nodes.smap(proxy)["tmap"][node_id]["flags"])


class TestMaintenance:
    def test_a_target_rests_and_comes_back(self, tmp_path: Path) -> None:
        with Nodes(tmp_path, target_settings=SETTINGS) as nodes:
            fill(nodes)
            done = haul(nodes, "cluster", "add-remove-nodes", "start-maintenance", "t[t2]")
            assert (done.returncode, done.stdout.startswith("t2 is in maintenance")) == (0, True), done.stderr
            wait_for(lambda: flags(nodes, "t2", "p2") == 4, what="both proxies know")
            wait_until_settled(nodes, set(THREE))
            check_placed(nodes, ["t1", "t3"])
            shown = haul(nodes, "show", "cluster", proxy="p2").stdout
            assert "in maintenance" in next(line for line in shown.splitlines() if " t2 " in line)
            # An operator's mark outlives the node's process and its place in the map.
            assert nodes.stop("t2") == 0
            wait_for(lambda: nodes.members() == {"t1", "t3"}, what="t2 is given up")
            nodes.start("t2")
            wait_for(lambda: nodes.members() == set(THREE), what="t2 is back")
            assert flags(nodes, "t2") == 4
            done = haul(nodes, "cluster", "add-remove-nodes", "stop-maintenance", "t2", proxy="p2")
            assert done.returncode == 0, done.stderr
            wait_for(lambda: flags(nodes, "t2") == 0, what="both proxies know")
            wait_until_settled(nodes, set(THREE))
            check_placed(nodes, THREE)
            reads_all(nodes, "p2")()

    def test_a_target_leaves_for_good_and_may_not_come_back_with_what_it_had(self, tmp_path: Path) -> None:
        with Nodes(tmp_path, target_settings=SETTINGS) as nodes:
            fill(nodes)
            done = haul(nodes, "cluster", "add-remove-nodes", "decommission", "t3", "--wait")
            assert (done.returncode, "t3 has left the cluster" in done.stderr) == (0, True), done.stderr
            assert nodes.wait_for_end("t3") == 1
            assert "has been decommissioned" in nodes.log_of("t3")
            wait_until_settled(nodes, {"t1", "t2"})
            check_placed(nodes, ["t1", "t2"])
            nodes.start("t3")
            assert nodes.wait_for_end("t3") == 1
            assert nodes.log_of("t3").rstrip().endswith("start it with an empty data directory to add it")
            shutil.rmtree(nodes.directory / "t3")
            for path in ("t3/mp1", "t3/mp2"):
                (nodes.directory / path).mkdir(parents=True)
            nodes.start("t3")
            wait_until_settled(nodes, set(THREE))
            check_placed(nodes, THREE)

    def test_wrong_requests_change_nothing(self, tmp_path: Path) -> None:
        with Nodes(tmp_path, targets=2) as nodes:
            wait_until_settled(nodes, {"t1", "t2"})
            version = nodes.smap()["version"]
            for action, node_id, status, text in (
                ("start-maintenance", "t9", 404, "t9"),
                ("start-maintenance", "p2", 400, "is a proxy"),
                ("start-maintenance", "", 400, "value.sid"),
                ("make-coffee", "t1", 400, "make-coffee"),
            ):
                answer = change(nodes, action, node_id)
                assert (answer.status_code, text in answer.json()["message"]) == (status, True), answer.text
            for option, wrong in (
                ("dry_run", True),
                ("skip_rebalance", "true"),
                ("skip_rebalance", 1),
                ("rm_user_data", "no"),
            ):
                for action in ("start-maintenance", "stop-maintenance", "decommission-node"):
                    value = {"sid": "t1", option: wrong}
                    answer = nodes.api.call("PUT", "/v1/cluster", {"action": action, "value": value})
                    assert (answer.status_code, option in answer.json()["message"]) == (400, True), answer.text
            assert nodes.smap()["version"] == version
            every = {"skip_rebalance": False, "rm_user_data": True, "keep_initial_config": False, "no_shutdown": True}
            message = {"action": "decommission-node", "value": {"sid": "t1", **every}}
            assert nodes.api.call("PUT", "/v1/cluster", message).status_code == 200
            answer = change(nodes, "start-maintenance", "t2", "p2")
            assert (answer.status_code, "last one" in answer.json()["message"]) == (400, True)
            done = haul(nodes, "cluster", "add-remove-nodes", "stop-maintenance", "t7")
            assert (done.returncode, "t7" in done.stderr) == (1, True)


class TestIdentity:
    def second(self, nodes: Nodes, node_id: str, data_dir: Path, *, port: int | None = None) -> tuple[int, str]:
        """Run one more process of a node's id; the exit code and what it says."""
        lines = nodes.config_of(node_id).read_text(encoding="utf-8").splitlines()
        own = {"data_dir": f'"{data_dir}"', "mountpaths": f'["{data_dir}/mp1", "{data_dir}/mp2"]'}
        if port is not None:
            own |= {"port": str(port), "public_url": f'"http://127.0.0.1:{port}"'}
        text = "\n".join(
            f"{name} = {own.get(name, value)}" for name, _, value in (line.partition(" = ") for line in lines)
        )
        config = nodes.directory / "second.toml"
        config.write_text(text, encoding="utf-8")
        role = "proxy" if node_id in nodes.proxy_ids else "target"
        done = subprocess.run(
            [sys.executable, "-P", "-m", role, "--config", str(config)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    @pytest.mark.parametrize("node_id", ["p2", "t2"])
    def test_a_second_process_on_a_data_directory_is_refused(self, node_id: str, tmp_path: Path) -> None:
        with Nodes(tmp_path, targets=2) as nodes:
            code, said = self.second(nodes, node_id, nodes.directory / node_id, port=nodes.free_port())
            assert (code, f"in use by process {nodes.pid(node_id)}" in said) == (1, True), said
            assert is_ready(nodes.urls[node_id])

    @pytest.mark.parametrize("node_id", ["p2", "t2"])
    def test_a_node_with_the_id_of_a_running_one_is_refused(self, node_id: str, tmp_path: Path) -> None:
        with Nodes(tmp_path, targets=2) as nodes:
            other = nodes.directory / "other"
            for path in ("mp1", "mp2"):
                (other / path).mkdir(parents=True)
            code, said = self.second(nodes, node_id, other, port=nodes.free_port())
            assert (code, "needs its own id" in said) == (1, True), said
            assert is_ready(nodes.urls[node_id])
            assert nodes.smap()["version"] == nodes.smap("p2")["version"]

    @pytest.mark.parametrize("node_id", ["p2", "t2"])
    def test_an_old_copy_of_a_data_directory_is_refused(self, node_id: str, tmp_path: Path) -> None:
        with Nodes(tmp_path, targets=2) as nodes:
            assert nodes.stop(node_id) == 0
            shutil.copytree(nodes.directory / node_id, nodes.directory / "copy", symlinks=True)
            nodes.start(node_id)
            wait_for(lambda: is_ready(nodes.urls[node_id]), what=f"{node_id} ready")
            nodes.stop(node_id)
            shutil.rmtree(nodes.directory / node_id)
            (nodes.directory / "copy").rename(nodes.directory / node_id)
            # The copy's start has the number of the one that the cluster knows.
            nodes.start(node_id)
            assert nodes.wait_for_end(node_id) == 1
            assert "old copy" in nodes.log_of(node_id)

    def test_swapped_data_directories_are_refused(self, tmp_path: Path) -> None:
        with Nodes(tmp_path) as nodes:
            for node_id in ("t1", "t2"):
                assert nodes.stop(node_id) == 0
            (nodes.directory / "t1").rename(nodes.directory / "t0")
            (nodes.directory / "t2").rename(nodes.directory / "t1")
            (nodes.directory / "t0").rename(nodes.directory / "t2")
            for node_id, owner in (("t1", "t2"), ("t2", "t1")):
                nodes.start(node_id)
                assert nodes.wait_for_end(node_id) == 1
                assert f"belongs to node {owner}" in nodes.log_of(node_id)


class TestEnds:
    @pytest.mark.parametrize("node_id", ["t2", "p2"])
    def test_a_node_that_is_told_to_end_parks_its_work_leaves_and_goes_on_later(
        self, node_id: str, tmp_path: Path
    ) -> None:
        """Its lease does not have to expire, which would take minutes here (F13)."""
        settings = {"keep_alive_seconds": 60, "failover_grace_seconds": 600}
        with pattern_origin(b"body" * 100) as origin, Nodes(tmp_path, proxy_settings=settings) as nodes:
            job = nodes.api.download(type="range", template=origin.url("/o/{0000..1999}"), limits={"connections": 4})
            count = lambda: nodes.api.status(job, only_active_tasks=True)["finished_cnt"]  # noqa: E731
            wait_for(lambda: count() > 100, what="some objects")
            assert nodes.stop(node_id) == 0
            if node_id in nodes.target_ids:
                stale = lambda: nodes.api.status(job, only_active_tasks=True).get("stale_targets")  # noqa: E731
                assert wait_for(stale, what="the proxy knows that it is gone") == [node_id]
            nodes.start(node_id)
            status = nodes.api.finished(job)
            assert (status["finished_cnt"], status["error_cnt"]) == (2000, 0)
            assert sum(origin.counts().values()) <= 2000 + 4, "only what was under way is fetched again"

    def test_all_nodes_stop_while_everything_is_under_way(self, tmp_path: Path) -> None:
        with pattern_origin(b"body" * 100) as origin, Nodes(tmp_path) as nodes:
            job = nodes.api.download(type="range", template=origin.url("/o/{0000..1999}"), limits={"connections": 4})
            wait_for(lambda: nodes.api.status(job, only_active_tasks=True)["finished_cnt"] > 100)
            everybody = (*nodes.target_ids, *nodes.proxy_ids)
            for node_id in everybody:
                nodes.signal(node_id, signal.SIGTERM)
            assert [nodes.wait_for_end(node_id) for node_id in everybody] == [0] * 5
            for node_id in reversed(everybody):
                nodes.start(node_id)
            nodes.wait_until_ready()
            assert nodes.api.finished(job)["finished_cnt"] == 2000


def known(nodes: Nodes, target: str) -> int:
    """The version of the map that a target has."""
    answer = httpx.get(f"{nodes.urls[target]}/v1/daemon", params={"what": "smap"}, timeout=5)
    return int(answer.json()["version"])


def test_a_target_with_an_older_map_is_corrected_and_an_older_map_is_not_taken(tmp_path: Path) -> None:
    with Nodes(tmp_path) as nodes:
        version = int(nodes.smap()["version"])
        old = {"version": 1, "created_ns": 1, "nodes": []}
        assert nodes.intra("t1", "/intra/v1/clustermap", old).status_code == 200
        assert known(nodes, "t1") >= version
        nodes.api.create_bucket("b")
        nodes.api.put("b", "x", b"x")
        nodes.signal("t1", signal.SIGSTOP)
        assert change(nodes, "start-maintenance", "t2").status_code == 200
        nodes.signal("t1", signal.SIGCONT)
        wait_for(lambda: known(nodes, "t1") > version, what="t1 has the later map")
        assert nodes.api.get("b", "x").content == b"x"


def test_messages_of_nodes_that_are_none(tmp_path: Path) -> None:
    with Nodes(tmp_path, targets=1, proxies=1) as nodes:
        for body in (None, [], {"node": 5}, {"node": {"id": "t1"}}):
            answer = nodes.intra("p1", "/intra/v1/nodes", body)
            assert answer.status_code == 400, answer.content
