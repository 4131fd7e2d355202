from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import structlog

from cli import main
from tests.cli.standin import Cluster
from tests.cluster import Cluster as RealCluster


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


class Haul(Protocol):
    def __call__(self, *arguments: str, stdin: bytes = b"") -> Outcome: ...


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is known of any cluster."""
    home = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    monkeypatch.delenv("HAUL_ENDPOINT", raising=False)
    monkeypatch.delenv("AIS_ENDPOINT", raising=False)
    return home


@pytest.fixture
def haul(state_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Haul:
    """Runs one command line in this process."""

    def run(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        code = main.run(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def quiet_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What nodes in this process log goes to a file, because what commands print is read."""
    with (tmp_path_factory.mktemp("log") / "nodes.log").open("w") as log:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
        yield
        structlog.reset_defaults()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, quiet_nodes: None) -> Iterator[RealCluster]:
    """A real cluster, which a module may have with other settings."""
    with RealCluster(tmp_path_factory.mktemp("cluster"), targets=2, mountpaths=2) as cluster:
        cluster.wait_until_ready()
        yield cluster


@pytest.fixture
def cluster(state_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The stand-in, and HAUL_ENDPOINT leading to it."""
    standin = Cluster()
    monkeypatch.setenv("HAUL_ENDPOINT", standin.url)
    yield standin
    standin.close()
