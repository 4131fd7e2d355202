"""`haul show storage`, `show log`, and `ls --archive`: what nodes tell, on a real cluster."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from cli import nodes
from tests.cli.conftest import Haul
from tests.cluster import Cluster


@pytest.fixture
def cluster(running: Cluster, state_home: object, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("HAUL_ENDPOINT", running.urls["p1"])
    return running


def test_storage(haul: Haul, cluster: Cluster) -> None:
    header, *rows, total = haul("show", "storage").out.splitlines()
    assert header.split() == ["TARGET", "MOUNTPATH", "USED", "FREE", "USED%", "DISK"]
    assert [row.split()[0] for row in rows] == ["t1", "t1", "t2", "t2"]
    assert all("%" in row for row in rows)
    assert total.startswith("used ")
    one = json.loads(haul("show", "storage", "capacity", "t[t1]", "--json").out)
    assert list(one) == ["t1"]
    assert len(one["t1"]["mountpaths"]) == 2
    assert "there is no node" in haul("show", "storage", "capacity", "t9").err
    assert haul("show", "storage", "mountpath", "t1").out == haul("storage", "show", "mountpath", "t1").out


def test_logs(haul: Haul, cluster: Cluster) -> None:
    assert haul("show", "log", "t1").code == 0
    assert json.loads(haul("log", "show", "p[p1]", "--json").out)["node"] == "p1"
    assert haul("show", "log", "t9").err == 'Error: there is no node "t9": there are p1, t1, t2\n'
    assert haul("show", "log", "t1", "--severity", "loud").code == 1


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ("a\nb\n", "a\nb\nc\n", "c\n"),
        ("a\nb\n", "b\nc\n", "c\n"),
        ("a\n", "x\ny\n", "x\ny\n"),
        ("", "x\n", "x\n"),
        ("a\n", "a\n", ""),
    ],
)
def test_what_a_log_has_that_is_new(before: str, now: str, new: str) -> None:
    assert nodes.new_lines(before, now) == new


def test_what_is_in_archives(haul: Haul, cluster: Cluster) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        member = tarfile.TarInfo("inside.txt")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    cluster.api.create_bucket("archives")
    cluster.api.put("archives", "a.tar", content.getvalue())
    assert haul("ls", "ais://archives", "--archive", "--name-only").out.split() == ["a.tar", "a.tar/inside.txt"]
    assert haul("ls", "ais://archives", "--name-only").out.split() == ["a.tar"]
