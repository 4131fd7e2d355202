"""`haul download --manifest` against a real cluster."""

import hashlib
from pathlib import Path

import pytest

from cli import main
from tests.cluster import Cluster
from tests.origin import Origin


def test_a_local_file_of_sums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Origin() as origin, Cluster(tmp_path / "cluster", targets=2, mountpaths=1) as cluster:
        sums = tmp_path / "SHA256SUMS"
        made = {f"{n}.bin": f"object {n}".encode() for n in range(20)}
        for name, data in made.items():
            origin.put(f"/set/{name}", data)
        sums.write_text("".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in made.items()))
        endpoint = ("--endpoint", cluster.api.url)
        command = ("download", origin.url("/set/"), "ais://set", "--manifest", str(sums), "--wait", *endpoint)
        assert main.run(command) == 0, capsys.readouterr().err
        assert {entry["name"] for entry in cluster.api.list("set")} == set(made)
        assert cluster.api.list("haul-manifests") == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("ais://b/name", "--manifest", "x.csv"), "a bucket"),
        (("ais://b", "--manifest", "x.csv", "--from", "y"), "cannot be used together"),
    ],
)
def test_what_cannot_be_meant(arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(("download", *arguments, "--endpoint", "http://127.0.0.1:9")) == 2
    assert complaint in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Cluster(tmp_path / "cluster", targets=1, mountpaths=1) as cluster:
        missing = str(tmp_path / "none.csv")
        assert main.run(("download", "ais://b", "--manifest", missing, "--endpoint", cluster.api.url)) == 1
        assert "none.csv" in capsys.readouterr().err
