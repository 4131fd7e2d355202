from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import xxhash

from cli import state
from tests.cli.conftest import Haul
from tests.cli.standin import EPOCH, Cluster, job

AWKWARD = [
    "a b",
    "100%",
    "a%20b",
    "é日本",
    'it\'s "x"',
    "tab\there",
    "back\\slash",
    "q?x=1#f",
    "/abs",
    "a//b",
    "plus+&=",
]


def test_buckets(haul: Haul, cluster: Cluster) -> None:
    assert haul("ls").err == "No buckets. Create one:  haul create ais://NAME\n"
    assert haul("create", "ais://one", "ais://two").out == "Created ais://one\nCreated ais://two\n"
    assert haul("ls").out == "ais://one\nais://two\n"
    assert [bucket["uri"] for bucket in json.loads(haul("ls", "--json").out)] == ["ais://one", "ais://two"]
    again = haul("create", "ais://one")
    assert (again.code, again.err) == (1, 'Error: bucket "ais://one" already exists\n')
    assert haul("create", "ais://one", "--exist-ok").code == 0
    assert haul("rmb", "ais://one").code == 0
    assert haul("rmb", "ais://one", "-y").err == 'Error: bucket "ais://one" does not exist\n'


def test_what_is_made_and_removed_in_json(haul: Haul, cluster: Cluster) -> None:
    cluster.buckets["old"] = {"x": b"1", "y": b"2"}
    made = haul("create", "ais://old", "ais://new", "--exist-ok", "--json")
    assert json.loads(made.out) == [{"uri": "ais://old", "created": False}, {"uri": "ais://new", "created": True}]
    assert json.loads(haul("rmo", "ais://old/x", "ais://old/y", "--json").out) == [
        {"uri": "ais://old/x"},
        {"uri": "ais://old/y"},
    ]
    assert json.loads(haul("rmb", "ais://old", "ais://new", "--json").out) == [
        {"uri": "ais://old"},
        {"uri": "ais://new"},
    ]
    partly = haul("create", "ais://a", "ais://a", "--json")
    assert (partly.code, json.loads(partly.out)) == (1, [{"uri": "ais://a", "created": True}])
    assert partly.err == 'Error: bucket "ais://a" already exists\n'


@pytest.mark.parametrize(
    "words",
    [
        "create", "ls", "rmb", "put", "get", "rmo", "download", "start download", "wait", "stop", "show job",
        "prefetch", "evict", "bucket props set", "bucket props show",
        "show object", "show cluster", "job show", "job wait", "job stop", "job rm", "cluster up", "cluster status",
        "cluster down",
    ],
)  # fmt: skip
def test_whatever_shows_something_can_show_it_as_json(haul: Haul, words: str) -> None:
    assert "--json" in haul(*words.split(), "--help").out


def test_an_object_and_json_do_not_share_standard_output(haul: Haul, cluster: Cluster) -> None:
    assert haul("get", "ais://b/x", "-", "--json").code == 2


def test_a_bucket_with_objects_is_not_removed_without_being_sure(haul: Haul, cluster: Cluster) -> None:
    cluster.buckets["b"] = {"x": b"1"}
    refused = haul("rmb", "ais://b")
    assert refused.code == 1
    assert "--yes" in refused.err
    assert "b" in cluster.buckets
    assert haul("rmb", "ais://b", "--yes").code == 0
    assert "b" not in cluster.buckets


def test_listing(haul: Haul, cluster: Cluster) -> None:
    cluster.buckets["b"] = {f"rng/o{n}": b"x" * 1024 * n for n in range(5)} | {"other\n": b"y"}
    assert haul("ls", "ais://b").out == (
        "      SIZE  NAME\n       1 B  other\\n\n       0 B  rng/o0\n  1.00 KiB  rng/o1\n"
        "  2.00 KiB  rng/o2\n  3.00 KiB  rng/o3\n  4.00 KiB  rng/o4\n6 objects, 10.0 KiB\n"
    )
    assert "3 objects, 3.00 KiB" in haul("ls", "ais://b/rng/", "--limit", "3").out
    assert "2048  rng/o2" in haul("ls", "ais://b/rng/o2", "--units", "raw").out
    entries = json.loads(haul("ls", "ais://b", "--json").out)
    assert [entry["size"] for entry in entries] == [1, 0, 1024, 2048, 3072, 4096]
    assert entries[0]["name"] == "other\n"
    assert haul("ls", "ais://b/none").err == "No objects in ais://b whose names begin with none.\n"
    assert json.loads(haul("ls", "ais://b/none", "--json").out) == []
    assert haul("ls", "ais://nonesuch").err == 'Error: bucket "ais://nonesuch" does not exist\n'


@pytest.mark.parametrize("name", AWKWARD)
def test_every_name_goes_there_and_back(haul: Haul, cluster: Cluster, tmp_path: Path, name: str) -> None:
    cluster.buckets["b"] = {}
    (tmp_path / "in").write_bytes(b"some bytes")
    assert haul("put", str(tmp_path / "in"), f"ais://b/{name}").code == 0
    assert cluster.buckets["b"] == {name: b"some bytes"}
    assert haul("get", f"ais://b/{name}", str(tmp_path / "out")).code == 0
    assert (tmp_path / "out").read_bytes() == b"some bytes"
    assert "\t" not in haul("show", "object", f"ais://b/{name}").out
    assert haul("rmo", f"ais://b/{name}").code == 0
    assert cluster.buckets["b"] == {}


def test_bytes_travel_to_the_target_once(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    cluster.buckets["b"] = {}
    content = os.urandom(3 * 1024 * 1024 + 7)
    (tmp_path / "big").write_bytes(content)
    assert haul("put", str(tmp_path / "big"), "ais://b/dir/").out == "Stored ais://b/dir/big (3.00 MiB)\n"
    assert cluster.puts == [("dir/big", len(content))]
    assert cluster.buckets["b"]["dir/big"] == content


def test_standard_input_and_output(cluster: Cluster) -> None:
    cluster.buckets["b"] = {}
    command = [sys.executable, "-m", "cli.main"]
    subprocess.run([*command, "put", "-", "ais://b/x"], input=b"\x00\xffpiped", check=True)
    got = subprocess.run([*command, "get", "ais://b/x", "-"], check=True, capture_output=True)
    assert got.stdout == b"\x00\xffpiped"


def test_a_directory_is_stored_with_all_below_it(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    cluster.buckets["b"] = {}
    for number in range(20):
        path = tmp_path / "d" / f"s{number % 3}" / f"f {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
    assert haul("put", str(tmp_path / "d"), "ais://b/to").out == "Stored 20 objects in ais://b (190 B)\n"
    assert cluster.buckets["b"] == {f"to/s{n % 3}/f {n}": b"x" * n for n in range(20)}
    assert haul("put", str(tmp_path / "nothing"), "ais://b").code == 1


def test_parts(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    cluster.buckets["b"] = {"x": bytes(range(100))}
    out = tmp_path / "part"
    assert haul("get", "ais://b/x", str(out), "--offset", "10", "--length", "5").code == 0
    assert out.read_bytes() == bytes(range(10, 15))
    assert haul("get", "ais://b/x", str(out), "--offset", "98").code == 0
    assert out.read_bytes() == bytes([98, 99])
    assert haul("get", "ais://b/x", str(out), "--length", "nonsense").code == 2


@pytest.mark.parametrize("damage", ["corrupt_reads", "cut_reads"])
def test_a_damaged_object_leaves_the_old_file_and_no_other(
    haul: Haul, cluster: Cluster, tmp_path: Path, damage: str
) -> None:
    cluster.buckets["b"] = {"x": b"some bytes"}
    setattr(cluster, damage, True)
    out = tmp_path / "dir" / "out"
    out.parent.mkdir()
    out.write_bytes(b"old")
    outcome = haul("get", "ais://b/x", str(out))
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert out.read_bytes() == b"old"


def test_errors_are_one_clear_line(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    cluster.buckets["b"] = {}
    assert haul("get", "ais://b/none", str(tmp_path / "x")).err == "Error: t[t1]: ais://b/none does not exist\n"
    assert not (tmp_path / "x").exists()
    assert haul("rmo", "ais://b/none").code == 1
    assert haul("put", str(tmp_path / "none"), "ais://b/x").err.startswith("Error: cannot read ")
    assert haul("get", "ais://b/x", str(tmp_path / "no" / "dir")).err.startswith("Error: cannot write ")
    assert haul("get", "b/x").code == 2
    assert haul("get", "ais://b/../x").code == 2
    assert haul("get").code == 2
    assert haul("nonesuch").code == 2


def test_units_that_do_not_exist(haul: Haul) -> None:
    refused = haul("ls", "--units", "zz")
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == "Error: Invalid value for '--units': zz (iec, si, raw)"
    assert "iec|si|raw" in haul("ls", "--help").out


def test_nobody_answers(haul: Haul, state_home: Path) -> None:
    unknown = haul("ls")
    assert unknown.code == 1
    assert "haul cluster up" in unknown.err
    refused = haul("ls", "--endpoint", "127.0.0.1:9")
    assert (refused.code, "http://127.0.0.1:9" in refused.err, "connection refused" in refused.err) == (1, True, True)
    state.save(state.LastCluster("/data/c", ("http://127.0.0.1:9",)))
    assert "haul cluster up --dir /data/c" in haul("ls").err
    assert haul("ls", "--endpoint", "ftp://x").code == 2


def test_the_proxies_of_the_last_cluster_are_tried_in_turn(
    haul: Haul, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HAUL_ENDPOINT")
    state.save(state.LastCluster("/data/c", ("http://127.0.0.1:9", cluster.url)))
    assert haul("create", "ais://b").code == 0
    (tmp_path / "f").write_bytes(b"x")
    assert haul("put", str(tmp_path / "f"), "ais://b").code == 0
    assert haul("get", "ais://b/f", str(tmp_path / "g")).code == 0


def test_the_environment_names_proxies(haul: Haul, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user of AIStore's program has set it, or as the library takes it, which comes first."""
    monkeypatch.delenv("HAUL_ENDPOINT")
    monkeypatch.setenv("AIS_ENDPOINT", cluster.url)
    assert haul("create", "ais://b").code == 0
    monkeypatch.setenv("HAUL_ENDPOINT", "127.0.0.1:9, 127.0.0.1:10")
    refused = haul("ls")
    assert refused.code == 1
    assert "http://127.0.0.1:9 or http://127.0.0.1:10: connection refused (endpoint from HAUL_ENDPOINT)" in refused.err
    monkeypatch.setenv("HAUL_ENDPOINT", f"127.0.0.1:9,{cluster.url}")
    assert haul("ls").out == "ais://b\n"


def test_download_is_posted_and_left_alone(haul: Haul, cluster: Cluster) -> None:
    outcome = haul("start", "download", "http://h/x", "ais://b/y", "--desc", "why", "-H", "A: 1", "--limit-bph", "1KiB")
    assert (outcome.code, outcome.out) == (0, "Started job dnl-new\n")
    assert "haul show job dnl-new --progress" in outcome.err
    assert cluster.posted[0] | {"bucket": {}} == {
        "bucket": {},
        "type": "single",
        "link": "http://h/x",
        "object_name": "y",
        "description": "why",
        "headers": {"A": ["1"]},
        "limits": {"bytes_per_hour": 1024},
    }
    assert json.loads(haul("download", "http://h/x", "ais://b", "--json").out) == {"id": "dnl-new"}


def test_download_with_a_list(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("http://h/1\nhttp://h/2\n")
    assert haul("download", "ais://b", "--from", str(tmp_path / "list")).code == 0
    assert cluster.posted[0]["objects"] == ["http://h/1", "http://h/2"]
    assert haul("download", "http://h", "ais://b/p/", "--object-list", "-", stdin=b'["1"]').code == 0
    assert cluster.posted[1]["objects"] == {"p/1": "http://h/1"}
    assert haul("download", "http://h", "ais://b", "--from", str(tmp_path / "none")).code == 1
    assert haul("download", "http://h").code == 2


def test_waiting_ends_with_a_summary(haul: Haul, cluster: Cluster) -> None:
    begin = job("dnl-new", finished_time=EPOCH, finished_cnt=0)
    cluster.statuses["dnl-new"] = [begin, begin, job("dnl-new", downloaded_bytes=1024)]
    outcome = haul("download", "http://h/x", "ais://b", "--wait")
    assert (outcome.code, outcome.err) == (0, "Started job dnl-new\n")
    assert outcome.out == "dnl-new: 1 object stored, 1.00 KiB in 2.0 s (512 B/s)\n"


def test_failed_objects_make_the_command_fail_and_are_named(haul: Haul, cluster: Cluster) -> None:
    errors = [{"name": f"o{n}\t", "error": "http://h/x does not exist"} for n in range(5)]
    cluster.statuses["dnl-new"] = [job("dnl-new", finished_cnt=1, error_cnt=5, total=6, download_errors=errors)]
    outcome = haul("download", "http://h/x", "ais://b", "--progress")
    assert outcome.code == 1
    assert "1 object stored, in 2.0 s, 5 FAILED" in outcome.out
    assert "o0\\t: http://h/x does not exist" in outcome.err
    assert "haul show job dnl-new -v" in outcome.err


def test_progress_in_plain_lines(haul: Haul, cluster: Cluster) -> None:
    tasks = [{"name": "big", "downloaded": "512", "total": "1024", "start_time": EPOCH, "end_time": EPOCH}]
    cluster.statuses["dnl-new"] = [
        job("dnl-new", finished_time=EPOCH, finished_cnt=1, total=4, current_tasks=tasks),
        job("dnl-new", finished_cnt=4, total=4),
    ]
    lines = haul("download", "http://h/x", "ais://b", "--progress").out.splitlines()
    assert lines[0].startswith("dnl-new: 1 of 4 objects, slowest: big (512 B of 1.00 KiB)")
    assert lines[1].startswith("dnl-new: 4 of 4 objects")


def test_json_of_a_wait_is_the_last_status_and_nothing_else(haul: Haul, cluster: Cluster) -> None:
    cluster.statuses["dnl-new"] = [job("dnl-new", finished_time=EPOCH, finished_cnt=0), job("dnl-new")]
    outcome = haul("download", "http://h/x", "ais://b", "--progress", "--json")
    assert json.loads(outcome.out)["finished_cnt"] == 1
    assert "dnl-new: " in outcome.err


def test_a_wait_has_a_limit(haul: Haul, cluster: Cluster) -> None:
    cluster.statuses["dnl-new"] = [job("dnl-new", finished_time=EPOCH, finished_cnt=0)]
    outcome = haul("download", "http://h/x", "ais://b", "--wait", "--timeout", "50ms")
    assert outcome.code == 1
    assert "still running after 50 ms; it goes on" in outcome.err


def test_a_silent_cluster_is_borne_for_a_while(haul: Haul, cluster: Cluster) -> None:
    cluster.statuses["dnl-new"] = [job("dnl-new")]
    cluster.failing_statuses = 3
    outcome = haul("wait", "dnl-new", "--progress")
    assert outcome.code == 0
    assert "the meta store does not answer; trying again" in outcome.out


def test_interrupting_a_watch_leaves_the_job_running(cluster: Cluster) -> None:
    cluster.statuses["dnl-new"] = [job("dnl-new", finished_time=EPOCH, finished_cnt=0)]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "wait", "dnl-new", "--progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline().startswith("dnl-new: 0 of 1 object")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "dnl-new goes on" in err
    assert "haul stop dnl-new" in err
    assert cluster.aborted == []


@pytest.fixture
def some_jobs(cluster: Cluster) -> Cluster:
    runs: dict[str, Any] = {"finished_time": EPOCH, "finished_cnt": 3, "total": 10, "description": "slow one"}
    cluster.statuses["dnl-run"] = [job("dnl-run", **runs, started_time="2026-11-23T02:00:00Z")]
    cluster.statuses["dnl-bad"] = [
        job("dnl-bad", error_cnt=2, total=3, download_errors=[{"name": "x", "error": "why"}])
    ]
    return cluster


@pytest.mark.parametrize("words", [("show", "job"), ("show", "job", "download"), ("job", "show")])
def test_show_jobs(haul: Haul, some_jobs: Cluster, words: tuple[str, ...]) -> None:
    shown = haul(*words).out
    assert "dnl-run  running  3/10" in shown
    assert "slow one" in shown
    assert "dnl-bad" not in shown
    assert [line.split()[0] for line in haul(*words, "--all").out.splitlines()] == ["JOB", "dnl-bad", "dnl-run"]
    assert haul(*words, "--regex", "zzz").err == "No running jobs; --all shows those that have ended, too.\n"
    assert [entry["id"] for entry in json.loads(haul(*words, "--json").out)] == ["dnl-run"]


def test_show_one_job(haul: Haul, some_jobs: Cluster) -> None:
    assert "done:     3 of 10 objects, 0 failed" in haul("show", "job", "dnl-run").out
    shown = haul("show", "job", "download", "dnl-bad").out
    assert "state:    failed" in shown
    assert "-v lists the errors" in shown
    assert "    x: why" in haul("show", "job", "dnl-bad", "-v").out
    assert json.loads(haul("show", "job", "dnl-bad", "--json").out)["error_cnt"] == 2
    assert haul("show", "job", "dnl-no").err == "Error: download job dnl-no does not exist\n"
    assert haul("show", "job", "--progress").code == 2
    assert haul("show", "job", "a", "b").code == 2


def test_stop_wait_and_remove(haul: Haul, some_jobs: Cluster) -> None:
    assert haul("stop", "dnl-run").out == "Stopped job dnl-run\n"
    assert haul("stop", "download", "--all").out == "Stopped job dnl-run\n"
    assert haul("job", "stop", "--regex", "^slow").code == 0
    assert some_jobs.aborted == ["dnl-run"] * 3
    assert haul("job", "rm", "download", "--all").out == "Removed job dnl-bad\n"
    assert haul("job", "rm", "download", "dnl-bad").code == 0
    assert some_jobs.removed == ["dnl-bad"] * 2
    assert haul("wait", "download", "dnl-bad").code == 1
    assert haul("stop").code == 2
    partly = haul("stop", "dnl-no", "dnl-run")
    assert (partly.code, partly.out, partly.err) == (
        1,
        "Stopped job dnl-run\n",
        "Error: download job dnl-no does not exist\n",
    )
    assert json.loads(haul("stop", "dnl-run", "--json").out) == {"ids": ["dnl-run"], "errors": []}


def test_show_cluster(haul: Haul, cluster: Cluster) -> None:
    shown = haul("show", "cluster").out
    assert "2 of 3 nodes online" in shown
    nodes = {node["id"]: node for node in json.loads(haul("show", "cluster", "--json").out)["nodes"]}
    assert {node_id: node["state"] for node_id, node in nodes.items()} == {
        "p1": "online",
        "t1": "online",
        "t2": "unreachable",
    }
    assert nodes["t1"]["mountpaths"] == ["/data/mp1", "/data/mp2"]


def test_show_object(haul: Haul, cluster: Cluster) -> None:
    cluster.buckets["b"] = {"x": b"12345"}
    fields = json.loads(haul("show", "object", "ais://b/x", "--json").out)
    assert (fields["size"], fields["location"], fields["custom"]) == (5, "t[t1]:mp[/data/mp1]", {"source": "web"})
    assert fields["checksum"] == xxhash.xxh64_hexdigest(b"12345")
    assert haul("show", "object", "ais://b/none").code == 1


def test_help_names_every_command(haul: Haul) -> None:
    shown = haul("--help").out
    groups = ("cluster", "download", "start", "show", "wait", "stop", "job")
    for command in (*groups, "create", "ls", "rmb", "put", "get", "rmo"):
        assert f"\n  {command} " in shown
    assert haul("--version").out.startswith("haul ")
