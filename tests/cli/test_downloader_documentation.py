"""AIStore's documentation of its downloader, from top to bottom, by `alias ais=haul`: a real cluster, own origins.

The commands are those of docs/downloader.md and docs/cli/download.md of NVIDIA/aistore, in their order; only the hosts
and the names of jobs are ours. wire.md §1.8 tells which of its flags AIStore itself has not; they are taken, too.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.gcsserver import GcsServer
from tests.cluster import Cluster
from tests.origin import Origin

SMALL = {"imagenet_train-000000.tgz": b"a" * 10, "imagenet_train-000001.tgz": b"b" * 20}
GOOGLE = {f"imagenet/imagenet_train-{number:06d}.tgz": b"x" * number for number in range(1, 6)}


@pytest.fixture(scope="module")
def google() -> Iterator[GcsServer]:
    with GcsServer() as server:
        for bucket in ("lpr-vision", "lpr-sync", "lpr-prefix"):
            server.make_bucket(bucket)
            server.put(bucket, GOOGLE | {"dir/prefix-1": b"1", "dir/prefix-2": b"22", "dir/other": b"333"})
        server.make_bucket("lpr-imagenet")
        server.put("lpr-imagenet", {f"train-{number:04d}.tgz": b"t" * number for number in range(1, 21)})
        yield server


@pytest.fixture(scope="module")
def cluster(google: GcsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    backends = f"{google.settings_toml()}\n[s3]\nenabled = false\n"
    root = tmp_path_factory.mktemp("cluster")
    with Cluster(root, targets=2, mountpaths=1, backends=backends, retry_attempts=2) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as server:
        server.put("/18.04.1/ubuntu-18.04.1-desktop-amd64.iso", b"ubuntu" * 1000)
        for name in ("train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
            server.put(f"/exdb/mnist/{name}", name.encode())
        yield server


class Shell:
    """Runs lines of the documentation in bash, where `ais` is `haul`."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        program = folder / "haul"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cli.main "$@"\n')
        program.chmod(0o755)
        self._folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "HAUL_ENDPOINT"},
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "AIS_ENDPOINT": endpoint,
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def __call__(self, line: str, *, code: int = 0) -> str:
        """Standard output; the exit code must be `code`."""
        script = f"shopt -s expand_aliases\nalias ais=haul\n{line}"
        done = subprocess.run(
            ["bash", "-c", script], env=self._environment, cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, line: str) -> str:
        """The id of the job that the line starts."""
        match = re.search(r"dnl-[\w-]+", self(line))
        assert match, line
        return match[0]


@pytest.fixture
def shell(cluster: Cluster, tmp_path: Path) -> Shell:
    return Shell(tmp_path, cluster.urls["p1"])


def count(shell: Shell, line: str) -> int:
    return int(shell(f"{line} | wc -l"))


def test_the_readme_of_the_downloader(shell: Shell) -> None:
    shell("ais bucket create imagenet")
    first = shell.start('ais job start download "gs://lpr-imagenet/train-{0001..0010}.tgz" ais://imagenet')
    second = shell.start('ais job start download "gs://lpr-imagenet/train-{0011..0020}.tgz" ais://imagenet')
    shell(f"ais wait {first}")
    shell(f"ais wait download {second}")
    rows = [line for line in shell("ais show job download --all").splitlines() if first in line or second in line]
    assert len(rows) == 2
    assert all("finished" in row and row.endswith("-> ais://imagenet") for row in rows)
    assert count(shell, "ais ls --no-headers ais://imagenet") == 20


def test_a_single_file(shell: Shell, origin: Origin) -> None:
    shell("ais create ubuntu")
    link = origin.url("/18.04.1/ubuntu-18.04.1-desktop-amd64.iso")
    job = shell.start(f"ais start download {link} ais://ubuntu/ubuntu-18.04.1.iso")
    assert "1 object stored" in shell(f"ais show job {job} --progress")
    assert "ubuntu-18.04.1.iso" in shell("ais ls ais://ubuntu")
    bounded = shell.start(f"ais start download {link} ais://ubuntu --timeout 10m --description 'my ubuntu' --wait")
    assert "my ubuntu" in shell(f"ais show job download {bounded}")
    assert shell.start(f"ais start download {link} ais://ubuntu --download-timeout 10m --limit-bph 1GiB --progress")


def test_a_range_from_google_with_errors(shell: Shell) -> None:
    shell("ais create local-lpr")
    template = "gs://lpr-vision/imagenet/imagenet_train-{000001..000007}.tgz"
    job = shell.start(f'ais start download "{template}" ais://local-lpr/imagenet/')
    shell(f"ais show job download {job}")
    shell(f"ais show job download {job} --progress --refresh 500ms", code=1)
    shown = shell(f"ais show job download {job} -v")
    assert "2 FAILED" in shown
    assert (
        "imagenet/imagenet_train-000006.tgz: gs://lpr-vision/imagenet/imagenet_train-000006.tgz does not exist" in shown
    )
    assert shell(f"ais show job download {job} --verbose") == shown
    limited = shell.start(f'ais start download "{template}" ais://local-lpr/imagenet/ --conns=1')
    shell(f"ais wait download {limited} --progress --refresh 500ms", code=1)
    assert count(shell, "ais ls --no-headers ais://local-lpr/imagenet/") == 5


def test_a_range_from_another_cluster(shell: Shell, origin: Origin) -> None:
    for name, content in SMALL.items():
        origin.put(f"/v1/objects/elsewhere/{name}", content)
    host = origin.url("").removeprefix("http://").rstrip("/")
    source = f"ais://{host}/elsewhere/imagenet_train-{{000000..000001}}.tgz"
    job = shell.start(f'ais start download "{source}" ais://local-set/set_1/')
    assert "2 objects stored" in shell(f"ais show job download {job} --progress --refresh 500ms")
    assert shell("ais ls ais://local-set --name-only").split() == [f"set_1/{name}" for name in SMALL]


def test_a_whole_bucket_and_its_synchronization(shell: Shell, google: GcsServer) -> None:
    shell("ais create lpr-sync-copy")
    assert count(shell, "ais ls --no-headers gcp://lpr-sync") == 8
    shell("ais bucket props set ais://lpr-sync-copy backend_bck=gcp://lpr-sync")
    assert count(shell, "ais ls --no-headers --cached ais://lpr-sync-copy") == 0
    job = shell.start("ais start download gs://lpr-sync ais://lpr-sync-copy")
    shell(f"ais wait download {job}")
    assert count(shell, "ais ls --no-headers --cached ais://lpr-sync-copy") == 8
    for name in ("dir/prefix-1", "dir/other"):
        google.remove("lpr-sync", name)
    assert count(shell, "ais ls --no-headers gcp://lpr-sync") == 6
    assert count(shell, "ais ls --no-headers --cached ais://lpr-sync-copy") == 8
    shell(f"ais wait download {shell.start('ais start download --sync gs://lpr-sync ais://lpr-sync-copy')}")
    assert count(shell, "ais ls --no-headers --cached ais://lpr-sync-copy") == 6
    names = "ais ls --name-only"
    assert shell(f"diff <({names} gcp://lpr-sync) <({names} --cached ais://lpr-sync-copy) | wc -l").strip() == "0"


def test_objects_with_a_prefix(shell: Shell) -> None:
    shell("ais create lpr-prefix-copy")
    shell("ais bucket props set ais://lpr-prefix-copy backend_bck=gcp://lpr-prefix")
    job = shell.start("ais start download gs://lpr-prefix/dir/prefix- ais://lpr-prefix-copy")
    shell(f"ais wait {job}")
    assert shell("ais ls --cached --name-only ais://lpr-prefix-copy").split() == ["dir/prefix-1", "dir/prefix-2"]


def test_several_objects_of_a_list(shell: Shell, tmp_path: Path) -> None:
    names = ["imagenet/imagenet_train-000003.tgz", "imagenet/imagenet_train-000004.tgz"]
    (tmp_path / "objects.txt").write_text(json.dumps(names))
    job = shell.start("ais start download gs://lpr-vision ais://listed --object-list=objects.txt")
    assert "2 objects stored" in shell(f"ais show job download {job} --progress --refresh 500ms")
    assert shell("ais ls ais://listed --name-only").split() == names


def test_stopping_removing_and_finding_jobs(shell: Shell, origin: Origin) -> None:
    origin.put("/slow", b"x" * 100)
    gate = origin.gate("/slow")
    job = shell.start(f'ais start download {origin.url("/slow")} ais://ubuntu-slow --desc "downloads a slow one"')
    assert job in shell('ais show job download --regex "^downloads (.*)"')
    shell(f"ais job rm download {job}", code=1)
    assert shell(f"ais stop {job}") == f"Stopped job {job}\n"
    gate.release()
    shell(f"ais stop download {job}")
    shell(f"ais wait {job}", code=1)
    assert shell(f"ais job rm download {job}") == f"Removed job {job}\n"
    assert job not in shell('ais show job download --all --regex "^downloads (.*)"')
