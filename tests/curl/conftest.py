"""curl as documentation uses it: command lines as they are written, against a cluster and a web server."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.origin import Origin

Curl = Callable[[str], "Answer"]
_numbers = count(1)


@dataclass(frozen=True)
class Answer:
    """What curl printed: the last status, the headers of all answers on the way as they came, and the last body."""

    status: int
    head: str
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def headers(self) -> dict[str, str]:
        """Those of the last answer, names in lower case."""
        last = self.head.strip().rpartition("\r\n\r\n")[2]
        lines = (line.partition(":") for line in last.split("\r\n")[1:])
        return {name.lower(): value.strip() for name, _, value in lines}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def bucket(cluster: Cluster) -> str:
    """A new and empty bucket."""
    name = f"bucket-{next(_numbers)}"
    cluster.api.create_bucket(name)
    return name


@pytest.fixture
def curl(cluster: Cluster, origin: Origin, tmp_path: Path) -> Curl:
    """Runs a line: `G` is a proxy, `T` a target, `WEB` the web server; files are those of `tmp_path`."""
    places = {
        "http://G/": cluster.urls["p1"] + "/",
        "http://T/": cluster.urls["t1"] + "/",
        "WEB/": f"{origin.host}:{origin.port}/",
    }

    def run(line: str) -> Answer:
        for name, place in places.items():
            line = line.replace(name, place)
        head = tmp_path / "head"
        done = subprocess.run(
            [*shlex.split(line), "-sS", "-D", str(head), "-w", "%{stderr}%{http_code}"],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        written = head.read_bytes()
        # With -i or --head the same headers stand before the body.
        return Answer(int(done.stderr), written.decode("latin-1"), done.stdout.removeprefix(written))

    return run
