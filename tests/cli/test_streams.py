from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Haul
from tests.cli.standin import Cluster, job

HAUL = [sys.executable, "-m", "cli.main"]


def ended(words: str, *, stdout: int, unbuffered: str) -> tuple[int, str]:
    """Run one command line as a process of its own, and return its exit code and what it has written to stderr."""
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [*HAUL, *words.split()]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["ls ais://b", "ls ais://b --json", "show object ais://b/x0", "get ais://b/x0 -"])
def test_a_full_disk_behind_standard_output(cluster: Cluster, words: str, unbuffered: str) -> None:
    cluster.buckets["b"] = {f"x{n}": b"1" for n in range(3)}
    with Path("/dev/full").open("wb") as full:
        code, err = ended(words, stdout=full.fileno(), unbuffered=unbuffered)
    assert (code, err) == (1, "Error: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["ls ais://b", "ls ais://b --json", "show object ais://b/x", "get ais://b/x -"])
def test_nobody_reads_standard_output_any_more(cluster: Cluster, words: str, unbuffered: str) -> None:
    cluster.buckets["b"] = {"x": b"1"}
    reader, writer = os.pipe()
    os.close(reader)
    code, err = ended(words, stdout=writer, unbuffered=unbuffered)
    os.close(writer)
    assert (code, err) == (1, "")


def test_standard_output_may_be_closed(cluster: Cluster) -> None:
    command = ["sh", "-c", '"$@" >&-', "sh", *HAUL, "create", "ais://b"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr, list(cluster.buckets)) == (0, "", ["b"])


def test_a_standard_input_that_cannot_be_read(cluster: Cluster) -> None:
    cluster.buckets["b"] = {}
    with Path("/proc/self/mem").open("rb") as unreadable:
        command = [*HAUL, "put", "-", "ais://b/x"]
        ended = subprocess.run(command, stdin=unreadable, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "Error: cannot read standard input: Input/output error\n")
    assert cluster.puts == []


def test_a_mistake_of_ours_is_one_line(cluster: Cluster) -> None:
    cluster.statuses["dnl-1"] = [job("dnl-1", finished_cnt=[])]
    command = [*HAUL, "show", "job", "dnl-1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert ended.stderr.startswith("Error: this should not have happened: ")
    more = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"HAUL_DEBUG": "1"})
    assert more.stderr.startswith("Traceback")


def test_a_file_that_cannot_be_written_is_named(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    cluster.buckets["b"] = {"x": b"1"}
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").mkdir()
    outcome = haul("get", "ais://b/x", str(tmp_path / "d"))
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert str(tmp_path / "d") in outcome.err
