"""`haul cp`, `mv`, `rmo` and summaries of many objects at once, which are jobs of a real cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Haul, Outcome
from tests.cluster import Cluster

NAMES = [f"set/o{number:02d}" for number in range(5)] + ["readme"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, quiet_nodes: None) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), targets=2, mountpaths=1) as cluster:
        cluster.wait_until_ready()
        cluster.api.create_bucket("src")
        for name in NAMES:
            cluster.api.put("src", name, name.encode())
        yield cluster


@pytest.fixture
def cluster(running: Cluster, state_home: object, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("HAUL_ENDPOINT", running.urls["p1"])
    return running


def names(haul: Haul, location: str) -> list[str]:
    return haul("ls", location, "--name-only").out.split()


def said(outcome: Outcome) -> tuple[int, str]:
    """Exit code and output, without the id of the job."""
    return outcome.code, re.sub(r"\b[a-z]{3}-[\w-]+", "JOB", outcome.out)


def test_whole_buckets_and_parts_of_them(haul: Haul, cluster: Cluster) -> None:
    whole = haul("cp", "ais://src", "ais://whole", "--wait")
    assert said(whole) == (0, "JOB: finished, 6 objects, 41 B\n")
    assert re.sub(r"cpy-\S+:", "JOB:", whole.err) == "Started job JOB: ais://src -> ais://whole\n"
    assert names(haul, "ais://whole") == sorted(NAMES)
    assert said(haul("bucket", "cp", "ais://src/set/", "ais://part/below/", "--progress"))[0] == 0
    assert names(haul, "ais://part") == [f"below/{name}" for name in NAMES[:-1]]
    assert said(haul("cp", "ais://src/set/o{00..02}", "ais://template", "--wait"))[0] == 0
    assert names(haul, "ais://template") == NAMES[:3]
    assert said(haul("cp", "ais://src", "ais://listed", "--list", "readme,set/o01", "--wait"))[0] == 0
    assert names(haul, "ais://listed") == ["readme", "set/o01"]
    assert cluster.api.get("listed", "readme").content == b"readme"


def test_a_copy_that_is_left_alone(haul: Haul, cluster: Cluster) -> None:
    started = haul("cp", "ais://src", "ais://alone")
    job = started.out.split()[2].rstrip(":")
    assert (started.code, started.err) == (0, f"  wait for it:  haul wait {job}\n")
    assert haul("wait", job).code == 0
    assert job in haul("show", "job", "copy-bucket", "--all").out
    assert "state:   finished" in haul("show", "job", job).out
    as_json = json.loads(haul("cp", "ais://src", "ais://alone", "--json").out)
    assert haul("wait", as_json["id"]).code == 0


def test_a_dry_run_copies_nothing(haul: Haul, cluster: Cluster) -> None:
    done = haul("cp", "ais://src", "ais://dry", "--dry-run", "--wait")
    assert (done.code, "6 objects" in done.out, "(dry run)" in done.err) == (0, True, True)
    assert names(haul, "ais://dry") == []


def test_a_bucket_is_renamed(haul: Haul, cluster: Cluster) -> None:
    assert haul("cp", "ais://src", "ais://old", "--wait").code == 0
    assert said(haul("mv", "ais://old", "renamed", "--wait"))[0] == 0
    assert names(haul, "ais://renamed") == sorted(NAMES)
    assert "ais://old" not in haul("ls").out.splitlines()
    assert haul("mv", "ais://renamed", "ais://renamed").code == 2
    assert haul("mv", "ais://renamed", "ais://other/name").code == 2


def test_summaries(haul: Haul, cluster: Cluster) -> None:
    header, row = haul("bucket", "summary", "ais://src").out.splitlines()
    assert header.split() == ["BUCKET", "OBJECTS", "SIZE", "SMALLEST", "AVERAGE", "LARGEST", "USED"]
    assert row.split()[:4] == ["ais://src", "6", "41", "B"]
    assert "ais://src/set/" in haul("ls", "ais://src/set/", "--summary").out
    assert "ais://src " in haul("ls", "--summary").out
    (found,) = json.loads(haul("storage", "summary", "src", "--json").out)
    assert (found["name"], found["ObjCount"]["obj_count_present"]) == ("src", "6")


def test_many_objects_are_removed(haul: Haul, cluster: Cluster) -> None:
    assert haul("cp", "ais://src", "ais://less", "--wait").code == 0
    assert haul("rmo", "ais://less", "--template", "set/o{00..02}").out == "Removed from ais://less\n"
    assert names(haul, "ais://less") == ["readme", "set/o03", "set/o04"]
    refused = haul("rmo", "ais://less", "--template", "set/o0")
    assert (refused.code, "--prefix" in refused.err) == (2, True)
    assert names(haul, "ais://less") == ["readme", "set/o03", "set/o04"]
    assert haul("object", "rm", "ais://less", "--list", "readme,set/o03").code == 0
    assert names(haul, "ais://less") == ["set/o04"]


def test_what_is_not_there(haul: Haul, cluster: Cluster) -> None:
    missing = haul("cp", "ais://sro", "ais://x")
    assert (missing.code, "Did you mean ais://src?" in missing.err) == (1, True)
    assert haul("cp", "ais://src", "ais://src").code == 2
