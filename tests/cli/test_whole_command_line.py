"""Commands on buckets, objects and nodes, as processes of a user would run them, on a real cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Haul
from tests.cluster import Cluster


@pytest.fixture
def cluster(running: Cluster, state_home: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("HAUL_ENDPOINT", running.urls["p1"])
    return running


def test_names_without_a_scheme_are_buckets_of_the_cluster(haul: Haul, cluster: Cluster) -> None:
    assert haul("create", "plain").out == "Created ais://plain\n"
    assert haul("bucket", "create", "plain", "-i").out == "ais://plain exists already\n"
    assert haul("bucket", "rm", "plain").out == "Removed ais://plain\n"


def test_what_was_probably_meant(haul: Haul, cluster: Cluster) -> None:
    cluster.api.create_bucket("imagenet")
    assert "Did you mean 'download'?" in haul("downlod").err
    assert "Did you mean 'haul storage mountpath'" in haul("mountpath").err
    assert "--limit" in haul("ls", "--limt", "3").err
    assert haul("ls", "ais://imagnet").err == (
        'Error: bucket "ais://imagnet" does not exist\n       Did you mean ais://imagenet?\n'
    )
    assert "Did you mean s3://?" in haul("ls", "s4://imagenet").err
    assert "Did you mean" not in haul("ls", "ais://nothing-like-it").err


def test_objects_in_the_forms_of_ls(haul: Haul, cluster: Cluster) -> None:
    cluster.api.create_bucket("forms")
    for name in ("a", "ab", "set/x.bin", "set/y.txt"):
        cluster.api.put("forms", name, b"12345")
    assert haul("ls", "ais://forms", "--no-headers").out.splitlines() == [
        "       5 B  a",
        "       5 B  ab",
        "       5 B  set/x.bin",
        "       5 B  set/y.txt",
    ]
    names = ("--name-only",)
    assert haul("ls", "ais://forms/a", *names).out == "a\n"
    assert haul("ls", "ais://forms/a*", *names).out == "a\nab\n"
    assert haul("ls", "ais://forms", "--prefix", "set/", *names).out == "set/x.bin\nset/y.txt\n"
    assert haul("ls", "ais://forms/set/", "--regex", r"\.txt$", *names).out == "set/y.txt\n"
    assert haul("ls", "ais://forms", "--paged", "--page-size", "1", "--limit", "3", *names).out == "a\nab\nset/x.bin\n"
    assert haul("ls", "ais://forms", "--page-size", "1", "--max-pages", "2", *names).out == "a\nab\n"
    assert haul("ls", "ais://forms", "--start-after", "ab", *names).out == "set/x.bin\nset/y.txt\n"
    assert haul("ls", "ais://forms", "--nr", *names).out.split() == ["set/", "a", "ab"]
    assert haul("ls", "ais://forms", "--count-only").out == "4 objects, 20 B\n"
    shown = haul("ls", "ais://forms/a", "--props", "name,checksum,version", "--no-footers").out.splitlines()
    assert shown[0].split() == ["SIZE", "CHECKSUM", "VERSION", "NAME"]
    assert shown[1].split()[2:] == [shown[1].split()[2], "1", "a"]
    assert "ais://forms" in haul("ls", "ais://").out.splitlines()
    assert "ais://forms" in haul("ls", "ais:", "--regex", "form").out.splitlines()
    assert haul("ls", "s3:").err == "No buckets. Create one:  haul create ais://NAME\n"
    wrong = haul("ls", "ais://forms", "--props", "colour")
    assert (wrong.code, 'there is no "colour"' in wrong.err) == (2, True)
    assert haul("ls", "ais://forms", "--regex", "(").code == 2


def test_an_object_on_standard_output(haul: Haul, cluster: Cluster) -> None:
    cluster.api.create_bucket("cats")
    cluster.api.put("cats", "x", b"0123456789")
    assert haul("object", "cat", "ais://cats/x").out == "0123456789"
    assert haul("object", "cat", "ais://cats/x", "--offset", "2", "--length", "3").out == "234"
    assert haul("object", "cat", "ais://cats/none").code == 1


def test_the_configuration(haul: Haul, cluster: Cluster) -> None:
    shown = haul("show", "config").out
    assert "checksum.type" in shown
    assert haul("show", "config", "cluster", "checksum.type").out.splitlines()[1].split() == [
        "checksum.type",
        "xxhash2",
    ]
    assert haul("show", "config", "checksum.type").out == haul("config", "show", "cluster", "checksum.type").out
    assert json.loads(haul("show", "config", "cluster", "checksum", "--json").out)["type"] == "xxhash2"
    assert "host_net.port" in haul("show", "config", "p1").out
    assert "Did you mean checksum or" in haul("show", "config", "cluster", "checksm").err
    assert "there is no node" in haul("show", "config", "t9", "checksum").err


def test_searching_for_commands(haul: Haul) -> None:
    assert "haul bucket props set" in haul("search", "propert").out
    assert [found["command"] for found in json.loads(haul("search", "mountpath", "attach", "--json").out)] == [
        "haul storage mountpath attach"
    ]
    nothing = haul("search", "downlaod")
    assert (nothing.code, "Did you mean download" in nothing.err) == (1, True)


def test_help_is_in_sections(haul: Haul) -> None:
    shown = haul("--help").out
    sections = ["Downloads and other jobs:", "Objects:", "Buckets:", "The cluster:", "Help and shell:"]
    places = [shown.index(section) for section in sections]
    assert places == sorted(places)
    assert haul("version").out == haul("--version").out
