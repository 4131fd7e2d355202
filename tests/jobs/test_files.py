"""Whole jobs over FTP and SFTP: placed, continued after a break, skipped when unchanged, and refused with a reason."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from xxhash import xxh64_hexdigest

from tests.cluster import Cluster
from tests.fileservers import FtpServer, Server, known_hosts_of, serving

MIB = 1 << 20
LARGE = random.Random(7).randbytes(20 * MIB)
SMALL = {f"{n}.bin": random.Random(n).randbytes(1000 * n) for n in range(12)}


@pytest.fixture(params=["ftp", "sftp"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with serving(request.param, tmp_path / "files", {"large": LARGE, **SMALL}) as running:
        yield running


@pytest.fixture
def cluster(server: Server, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, targets=2, mountpaths=1, known_hosts_file=known_hosts_of(server, tmp_path)) as cluster:
        yield cluster


def test_many_files_then_again(cluster: Cluster, server: Server) -> None:
    links = [server.url(f"/{name}") for name in SMALL]
    job = {"type": "multi", "objects": links}
    status = cluster.api.finished(cluster.api.download(**job))
    assert (status["finished_cnt"], status["error_cnt"], status["skipped_cnt"]) == (len(SMALL), 0, 0), status
    for name, data in SMALL.items():
        response = cluster.api.get("b", name)
        assert (response.content, response.headers["ais-checksum-value"]) == (data, xxh64_hexdigest(data))
    again = cluster.api.finished(cluster.api.download(**job))
    assert (again["finished_cnt"], again["error_cnt"], again["skipped_cnt"]) == (len(SMALL), 0, len(SMALL)), again


def test_a_large_file_goes_on_after_a_break(cluster: Cluster, server: Server) -> None:
    server.drop_after = 9 * MIB
    status = cluster.api.finished(cluster.api.download(type="single", link=server.url("/large")))
    assert (status["finished_cnt"], status["error_cnt"]) == (1, 0), status
    assert server.drop_after is None, "it has broken off"
    response = cluster.api.get("b", "large")
    assert response.headers["ais-checksum-value"] == xxh64_hexdigest(LARGE) == xxh64_hexdigest(response.content)
    if isinstance(server, FtpServer):
        assert any(command.startswith("REST") and command != "REST 0" for command in server.commands)


def test_a_dry_run_knows_the_sizes(cluster: Cluster, server: Server) -> None:
    body = {"type": "multi", "bucket": {"name": "dry"}, "dry_run": True, "objects": [server.url("/large")]}
    found = cluster.api.call("POST", "/v1/download", body).json()
    assert (found["objects"], found["bytes"]) == (1, len(LARGE))


def test_what_is_not_there_is_an_error_of_that_object(cluster: Cluster, server: Server) -> None:
    links = [server.url("/nope"), server.url("/3.bin")]
    status = cluster.api.finished(cluster.api.download(type="multi", objects=links))
    assert (status["finished_cnt"], status["error_cnt"]) == (1, 1), status
    assert "does not exist" in status["download_errors"][0]["error"]
    assert "secret" not in str(status)
