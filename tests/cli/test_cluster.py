from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli import main, state
from cli.cluster import configs, ports, processes, service, shape
from cli.cluster.shape import ClusterShape, NodeShape, Wanted
from cli.errors import CommandError, UsageError
from tests.cli.conftest import Haul
from tests.etcd import Etcd
from tests.ports import free_port

SHAPE = ClusterShape(
    cluster_id="c1",
    host="127.0.0.1",
    public_host="127.0.0.1",
    mountpaths=2,
    durability="process",
    allow_origins=("127.0.0.0/8",),
    nodes=(NodeShape("p1", "proxy", 8080), NodeShape("t1", "target", 8081), NodeShape("t2", "target", 8082)),
)


def test_the_shape_is_read_back_as_written(tmp_path: Path) -> None:
    shape.save(tmp_path, SHAPE)
    assert shape.load(tmp_path) == SHAPE
    assert stat.S_IMODE((tmp_path / "cluster.json").stat().st_mode) == 0o600
    assert shape.load(tmp_path / "none") is None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "x": 2}', '{"format": 1, "nodes": [{}]}']
)
def test_a_damaged_shape_is_an_error_and_not_a_new_cluster(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(CommandError, match=r"cluster\.json"):
        shape.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{\n  "format": 1,\n  nodes\n}', "line 3, column 3: Expecting property name"),
        ('{"format": 2}', "written by another version"),
        ("[]", "it is no JSON object"),
        ("{}", '"format" is missing'),
        ('{"format": 1, "cluster_id": "c"}', '"host" is missing'),
        (SHAPE.to_json().replace('"host"', '"hots"'), '"host" is missing'),
        (SHAPE.to_json().replace("{", '{"extra": 1,', 1), '"extra" is not known'),
        (SHAPE.to_json().replace("8080", '"8080"'), '"port" of p1 must be 1 to 65535'),
        (SHAPE.to_json().replace('"proxy"', '"target"'), "at least one proxy and one target"),
        (SHAPE.to_json().replace('"role"', '"rule"'), '"nodes" must be'),
        (SHAPE.to_json().replace('"mountpaths": 2', '"mountpaths": "2"'), '"mountpaths" must be a number'),
    ],
)
def test_what_is_wrong_with_a_shape_is_said_and_what_to_do(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(CommandError) as raised:
        shape.load(tmp_path)
    assert problem in str(raised.value)
    assert "Correct the file" in str(raised.value)


def test_what_differs_is_named() -> None:
    assert shape.differences(SHAPE, Wanted(targets=2, port=8080, allow_origins=("127.0.0.0/8",))) == []
    assert shape.differences(SHAPE, Wanted(targets=3, durability="power-loss")) == [
        "--targets 3 (it has 2)",
        "--durability power-loss (it has process)",
    ]
    assert shape.differences(SHAPE, Wanted(s3_port=9000)) == ["--s3-port 9000 (it has none)"]
    assert shape.differences(SHAPE, Wanted(meta_store="etcd://a:1")) == ["--meta-store etcd://a:1 (it has none)"]


def test_a_shape_from_before_there_was_a_choice_of_stores_and_s3(tmp_path: Path) -> None:
    plain = json.loads(SHAPE.to_json())
    del plain["meta_store"], plain["s3_port"]
    (tmp_path / "cluster.json").write_text(json.dumps(plain))
    assert shape.load(tmp_path) == SHAPE


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(targets=0),
        Wanted(mountpaths=65),
        Wanted(port=0),
        Wanted(port=65536),
        Wanted(s3_port=0),
        Wanted(durability="never"),
        Wanted(allow_origins=("10.0.0.1/8",)),
        Wanted(allow_origins=("everything",)),
        Wanted(meta_store="meta.db"),
        Wanted(meta_store="etcd://localhost"),
    ],
)
def test_impossible_shapes(wanted: Wanted) -> None:
    with pytest.raises(UsageError):
        shape.check(wanted)


def test_configurations(tmp_path: Path) -> None:
    directory = tmp_path / 'a "quoted" é dir'
    proxy, target, _ = SHAPE.nodes
    assert tomllib.loads(configs.to_toml(configs.fields_of(SHAPE, directory, proxy))) == {
        "id": "p1",
        "host": "127.0.0.1",
        "port": 8080,
        "public_url": "http://127.0.0.1:8080",
        "cluster_id": "c1",
        "data_dir": f"{directory}/p1",
        "secret_key_file": f"{directory}/secret.key",
        "meta_store": f"sqlite:{directory}/meta.db",
    }
    fields = tomllib.loads(configs.to_toml(configs.fields_of(SHAPE, directory, target)))
    assert fields["mountpaths"] == [f"{directory}/t1/mp1", f"{directory}/t1/mp2"]
    assert fields["proxies"] == ["http://127.0.0.1:8080"]
    assert (fields["allow_origins"], fields["durability"]) == (["127.0.0.0/8"], "process")


def test_s3_has_ports_of_its_own(tmp_path: Path) -> None:
    first, second = NodeShape("p1", "proxy", 8080), NodeShape("p2", "proxy", 8081)
    plan = replace(SHAPE, nodes=(first, second, NodeShape("t1", "target", 8084)), s3_port=8082)
    ports_of_s3 = [configs.fields_of(plan, tmp_path, node).get("s3_port") for node in plan.nodes]
    assert ports_of_s3 == [8082, 8083, None]
    assert plan.s3_endpoints[1:3] == ("http://127.0.0.1:8081/s3", "http://127.0.0.1:8082")
    port = free_port()
    nodes = ports.assign("127.0.0.1", port, 2, 2, port + 2)
    assert [node.port - port for node in nodes[:2]] == [0, 1]
    assert not {port + 2, port + 3} & {node.port for node in nodes}
    with pytest.raises(UsageError, match="cannot be p2's and that of S3"):
        ports.assign("127.0.0.1", port, 2, 1, port + 1)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CommandError, match="--s3-port"):
        ports.assign("127.0.0.1", port, 1, 1, taken.getsockname()[1])


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert ports.wait_until_free("127.0.0.1", port, 0.0) == f"port {port} on 127.0.0.1 is taken by another program"
        assert ports.next_free("127.0.0.1", port) > port
        with pytest.raises(CommandError, match=f"port {port} .*--port"):
            ports.assign("127.0.0.1", port, 1, 1)
    with pytest.raises(CommandError, match="no port after 65535; choose a smaller --port"):
        ports.assign("127.0.0.1", 65535, 2, 1)
    with pytest.raises(CommandError, match="no port after 65535; choose a smaller --port"):
        ports.next_free("127.0.0.1", 65536)
    assert "cannot listen" in ports.wait_until_free("192.0.2.77", 8080, 0.0)
    assert ports.public_host("127.0.0.1") == "127.0.0.1"
    assert ports.public_host("0.0.0.0") not in {"0.0.0.0", ""}


def test_a_process_is_known_by_its_configuration_and_not_by_its_pid(tmp_path: Path) -> None:
    config = tmp_path / "t1" / "config.toml"
    script = "import sys; sys.stdout.write('up\\n'); sys.stdout.flush(); sys.stdin.read()"
    command = [sys.executable, "-c", script, "-m", "target", "--config", str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert processes.find([("target", config)]) == {config: process.pid}
        assert processes.find([("proxy", config), ("target", tmp_path / "t2" / "config.toml")]) == {}
        process.kill()
    assert processes.find([("target", config)]) == {}


def test_the_age_of_a_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert 0 <= processes.age_seconds(process.pid) <= processes.age_seconds(os.getpid())
        process.kill()
    assert processes.age_seconds(process.pid) == 0


def test_there_is_no_cluster(haul: Haul, tmp_path: Path) -> None:
    for words in (("status",), ("down",)):
        outcome = haul("cluster", *words, "--dir", str(tmp_path / "none"))
        assert outcome.code == 1
        assert f"haul cluster up --dir {tmp_path / 'none'}" in outcome.err
    assert not (tmp_path / "none").exists()


def test_a_directory_that_cannot_be_made(haul: Haul, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory, reason in (("/proc/xx", "No such file or directory"), (tmp_path / "file" / "x", "Not a directory")):
        outcome = haul("cluster", "up", "--dir", str(directory))
        assert (outcome.code, outcome.err) == (1, f"Error: cannot make the directory {directory}: {reason}\n")


@pytest.mark.parametrize("word", ["status", "down"])
def test_no_cluster_is_meant_silently_when_the_environment_names_another(
    haul: Haul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".haul").mkdir(parents=True)
    (tmp_path / "last").mkdir()
    shape.save(tmp_path / "last", SHAPE)
    state.save(state.LastCluster(str(tmp_path / "last"), SHAPE.endpoints))
    monkeypatch.setenv("HAUL_ENDPOINT", "http://10.1.2.3:8080")
    refused = haul("cluster", word)
    assert (refused.code, refused.out) == (2, "")
    assert "HAUL_ENDPOINT names http://10.1.2.3:8080, which is no node" in refused.err
    assert f"{tmp_path}/last" in refused.err
    assert "--dir" in refused.err
    assert haul("cluster", word, "--dir", str(tmp_path / "last")).code == 0
    monkeypatch.setenv("HAUL_ENDPOINT", "127.0.0.1:8082/")
    assert haul("cluster", word).code == 0
    shape.save(tmp_path / "home" / ".haul", replace(SHAPE, public_host="10.1.2.3"))
    monkeypatch.setenv("HAUL_ENDPOINT", "http://10.1.2.3:8080")
    chosen = haul("cluster", word)
    assert chosen.code == 0
    assert f"{tmp_path}/home/.haul" in chosen.out + chosen.err


def test_down_says_first_which_cluster_it_stops(haul: Haul, tmp_path: Path, state_home: Path) -> None:
    shape.save(tmp_path, SHAPE)
    state.save(state.LastCluster(str(tmp_path), SHAPE.endpoints))
    assert haul("cluster", "down").err == f"Stopping the cluster in {tmp_path}\n"
    assert haul("cluster", "down", "--dir", str(tmp_path)).err == ""


def test_a_strange_directory_is_left_alone(haul: Haul, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").touch()
    outcome = haul("cluster", "up", "--dir", str(tmp_path / "d"))
    assert outcome.code == 1
    assert "thesis.tex" in outcome.err
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [".lock", "thesis.tex"]


def test_one_command_at_a_time(haul: Haul, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = haul("cluster", "up", "--dir", str(tmp_path))
    assert (outcome.code, "another haul command" in outcome.err) == (1, True)


def test_a_taken_port_is_named_and_nothing_is_left(haul: Haul, tmp_path: Path, state_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = haul("cluster", "up", "--dir", str(tmp_path / "c"), "--port", str(port))
    assert outcome.code == 1
    assert f"port {port} on 127.0.0.1 is taken" in outcome.err
    assert [path.name for path in (tmp_path / "c").iterdir()] == [".lock"]
    assert state.load() is None


# From here on with the real nodes.


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Running:
    """A cluster under test and the commands around it."""

    def __init__(self, haul: Haul, directory: Path, port: int) -> None:
        self.haul = haul
        self.directory = directory
        self.port = port

    def up(self, *options: str) -> str:
        outcome = self.haul("cluster", "up", "--dir", str(self.directory), *options)
        assert outcome.code == 0, outcome.err
        return outcome.out

    def status(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = json.loads(
            self.haul("cluster", "status", "--dir", str(self.directory), "--json").out
        )
        return nodes

    def pids(self) -> dict[str, int]:
        return {node["id"]: node["pid"] for node in self.status()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the one cluster of this module lies; stopped at the end, whatever the tests have done with it."""
    directory = tmp_path_factory.mktemp("cluster")
    yield directory
    main.run(["cluster", "down", "--dir", str(directory), "--json"])


@pytest.fixture
def running(haul: Haul, directory: Path) -> Running:
    """The cluster of this module, all of it running."""
    plan = shape.load(directory)
    cluster = Running(haul, directory, plan.proxies[0].port if plan else free_port())
    if plan:
        cluster.up()
    else:
        cluster.up("--proxies", "2", "--targets", "2", "--mountpaths", "2", "--port", str(cluster.port),
                   "--durability", "process", "--allow-origin", "127.0.0.0/8")  # fmt: skip
    return cluster


def test_up_status_down(running: Running, tmp_path: Path) -> None:
    nodes = running.status()
    assert [(node["id"], node["role"], node["state"]) for node in nodes] == [
        ("p1", "proxy", "online"),
        ("p2", "proxy", "online"),
        ("t1", "target", "online"),
        ("t2", "target", "online"),
    ]
    assert [node["url"] for node in nodes[:2]] == [f"http://127.0.0.1:{running.port + n}" for n in range(2)]
    assert [len(node["mountpaths"]) for node in nodes] == [0, 0, 2, 2]
    last = state.load()
    assert last
    assert last.endpoints == tuple(node["url"] for node in nodes[:2])
    for node in nodes:
        assert httpx.get(f"{node['url']}/v1/health?readiness=true", trust_env=False).status_code == 200
        assert (running.directory / node["id"] / "pid").read_text() == f"{node['pid']}\n"

    (tmp_path / "f").write_bytes(b"hello")
    assert running.haul("create", "ais://b", "--exist-ok").code == 0
    assert running.haul("put", str(tmp_path / "f"), "ais://b").code == 0

    assert "running already" in running.up()
    assert running.status() == nodes

    assert running.haul("cluster", "down").out == f"Stopped 4 nodes; the data stays in {running.directory}\n"
    assert {(node["state"], node["pid"]) for node in running.status()} == {("stopped", None)}
    assert not list(running.directory.glob("*/pid"))
    assert "is not running" in running.haul("cluster", "down").out
    assert "no cluster answers" in running.haul("ls").err

    running.up()
    assert running.haul("get", "ais://b/f", str(tmp_path / "g")).code == 0
    assert (tmp_path / "g").read_bytes() == b"hello"


def test_a_crashed_node_is_started_again_and_only_that(running: Running) -> None:
    before = running.pids()
    os.kill(before["t2"], signal.SIGKILL)
    eventually(lambda: running.pids()["t2"] is None)
    assert [node["state"] for node in running.status()] == ["online", "online", "online", "stopped"]
    assert "(started t2)" in running.up()
    after = running.pids()
    assert after["t2"] != before["t2"]
    assert {**after, "t2": 0} == {**before, "t2": 0}


def test_a_node_that_hangs_is_silent_and_not_starting(running: Running) -> None:
    pid = running.pids()["t1"]
    os.kill(pid, signal.SIGSTOP)
    try:
        young = service.status(running.directory)
        old = service.status(running.directory, ready_deadline_seconds=0.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert [report.state for report in young] == ["online", "online", "starting", "online"]
    assert [report.state for report in old] == ["online", "online", "silent", "online"]


def test_the_clients_go_to_the_proxy_that_lives(running: Running) -> None:
    assert running.haul("create", "ais://b", "--exist-ok").code == 0
    os.kill(running.pids()["p1"], signal.SIGKILL)
    eventually(lambda: running.pids()["p1"] is None)
    assert running.haul("ls").out == "ais://b\n"


def test_a_recorded_shape_is_not_changed(running: Running) -> None:
    refused = running.haul("cluster", "up", "--dir", str(running.directory), "--targets", "3", "--port", "9")
    assert refused.code == 1
    assert "--targets 3 (it has 2), --port 9" in refused.err
    assert len(running.status()) == 4


def test_a_pid_that_belongs_to_another_program_is_not_touched(running: Running) -> None:
    running.haul("cluster", "down", "--dir", str(running.directory))
    (running.directory / "p1" / "pid").write_text(f"{os.getpid()}\n")
    assert running.status()[0]["state"] == "stopped"
    assert "is not running" in running.haul("cluster", "down", "--dir", str(running.directory)).out


def test_a_node_that_cannot_start_is_reported_with_its_log(running: Running) -> None:
    pid = running.pids()["t1"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: running.pids()["t1"] is None)
    recorded = (running.directory / "cluster.json").read_text()
    (running.directory / "cluster.json").write_text(recorded.replace('"durability": "process"', '"durability": "?"'))
    outcome = running.haul("cluster", "up", "--dir", str(running.directory))
    (running.directory / "cluster.json").write_text(recorded)
    assert outcome.code == 1
    assert "target t1 ended with code 1 while it was starting; the end of its log:" in outcome.err
    assert "durability" in outcome.err
    assert "Traceback" not in outcome.err
    assert [node["state"] for node in running.status()] == ["online", "online", "stopped", "online"]


def test_a_cluster_with_its_state_in_an_etcd(haul: Haul, tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd", members=1) as etcd:
        running = Running(haul, tmp_path / "c", free_port())
        try:
            told = running.up(
                *("--targets", "1", "--mountpaths", "1", "--port", str(running.port)), "--meta-store", etcd.meta_store
            )
            assert f"state in {etcd.meta_store}" in told
            assert haul("create", "ais://b").code == 0
            haul("cluster", "down", "--dir", str(running.directory))
            running.up()
            assert haul("ls").out == "ais://b\n"
            assert not list(running.directory.glob("meta.db*"))
        finally:
            haul("cluster", "down", "--dir", str(running.directory))
