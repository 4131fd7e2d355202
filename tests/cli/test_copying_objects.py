"""`haul cp`, `mv` and `object set-custom` for one object, and for files of this machine, on a real cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import copying
from tests.cli.conftest import Haul
from tests.cluster import Cluster


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, quiet_nodes: None) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), targets=2, mountpaths=1) as cluster:
        cluster.wait_until_ready()
        for bucket in ("src", "dst"):
            cluster.api.create_bucket(bucket)
        yield cluster


@pytest.fixture
def cluster(running: Cluster, state_home: object, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("HAUL_ENDPOINT", running.urls["p1"])
    running.api.put("src", "dir/a b", b"content")
    return running


@pytest.mark.parametrize(
    ("typed", "bucket", "name"),
    [
        ("ais://dst", "dst", "dir/a b"),
        ("ais://dst/into/", "dst", "into/a b"),
        ("ais://dst/as?this#%41", "dst", "as?this#%41"),
        ("ais://src/copy", "src", "copy"),
    ],
)
def test_where_a_copy_goes(haul: Haul, cluster: Cluster, typed: str, bucket: str, name: str) -> None:
    assert haul("cp", "ais://src/dir/a b", typed).out == f"Copied ais://src/dir/a b -> ais://{bucket}/{name}\n"
    assert cluster.api.get(bucket, name).content == b"content"
    assert cluster.api.get("src", "dir/a b").content == b"content"


def test_an_object_gets_another_name(haul: Haul, cluster: Cluster) -> None:
    assert (
        haul("object", "mv", "ais://src/dir/a b", "ais://src/new").out == "Moved ais://src/dir/a b -> ais://src/new\n"
    )
    assert cluster.api.get("src", "new").content == b"content"
    assert cluster.api.get("src", "dir/a b").status_code == 404
    assert json.loads(haul("mv", "ais://src/new", "ais://dst", "--json").out) == {
        "from": "ais://src/new",
        "uri": "ais://dst/new",
    }
    assert cluster.api.get("dst", "new").content == b"content"
    assert cluster.api.get("src", "new").status_code == 404
    assert haul("mv", "ais://src/new", "ais://src/newer").code == 1


def test_what_was_stored_while_an_object_moved_stays(
    haul: Haul, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_copy = copying._put_copy

    def meanwhile(*arguments: Any) -> None:
        put_copy(*arguments)
        cluster.api.put("src", "busy", b"newer")

    cluster.api.put("src", "busy", b"older")
    monkeypatch.setattr(copying, "_put_copy", meanwhile)
    outcome = haul("mv", "ais://src/busy", "ais://dst")
    assert outcome.code == 1
    assert "its source stays" in outcome.err
    assert "it was changed while it was copied" in outcome.err
    assert cluster.api.get("src", "busy").content == b"newer"
    assert cluster.api.get("dst", "busy").content == b"older"


def test_files_go_there_and_back(haul: Haul, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from here")
    assert haul("cp", str(tmp_path / "file"), "ais://dst/").out == "Stored ais://dst/file (9 B)\n"
    assert haul("cp", "ais://dst/file", str(tmp_path / "back")).code == 0
    assert (tmp_path / "back").read_bytes() == b"from here"


def test_notes_about_an_object(haul: Haul, cluster: Cluster) -> None:
    assert haul("object", "set-custom", "ais://src/dir/a b", "color=red", "kind=x").code == 0
    assert "color:         red" in haul("show", "object", "ais://src/dir/a b").out
    assert haul("object", "set-custom", "ais://src/dir/a b", "color=blue", "--replace").code == 0
    shown = json.loads(haul("object", "show", "ais://src/dir/a b", "--json").out)
    assert shown["custom"] == {"color": "blue"}
    assert haul("object", "set-custom", "ais://src/dir/a b", "color").code == 2


def test_notes_with_commas_are_shown_as_they_are(haul: Haul, cluster: Cluster) -> None:
    assert haul("object", "set-custom", "ais://src/dir/a b", "tags=a,b=c,d", "--replace").code == 0
    shown = json.loads(haul("object", "show", "ais://src/dir/a b", "--json").out)
    assert shown["custom"] == {"tags": "a,b=c,d"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("cp", "ais://src/none", "ais://dst"), 1),
        (("cp", "ais://src/dir/a b", "ais://none"), 1),
        (("cp", "ais://src/dir/a b", "ais://src"), 2),
        (("cp", "ais://src/dir/a b", "ais://dst", "--dry-run"), 2),
        (("cp", "ais://src/dir/a b", "ais://dst", "--sync"), 2),
        (("cp", "one-file", "another"), 2),
        (("cp", __file__, "ais://dst", "--wait"), 2),
        (("cp", __file__, "ais://dst", "--all"), 2),
        (("cp", __file__, "ais://dst", "--cont-on-err"), 2),
        (("cp", "a-file", "ais://dst", "--template", "x{1..2}"), 2),
        (("mv", "ais://src/dir/a b", "ais://src/dir/a b"), 2),
        (("mv", "s3://src/x", "ais://src/x"), 2),
    ],
)
def test_what_cannot_be_done(haul: Haul, cluster: Cluster, words: tuple[str, ...], code: int) -> None:
    assert haul(*words).code == code
