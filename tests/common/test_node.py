"""A node as a process: how it ends, and what it says when it cannot start."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from common import node
from common.errors import InvalidRequest
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


class Process:
    """A tiny node; `port` is 0 when it could not start."""

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.common.tiny_node", str(data_dir), str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.port = int(self.read_line() or 0)
        if self.port:
            assert self.read_line() == "started"
        self.url = f"http://127.0.0.1:{self.port}"

    def read_line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def write_line(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Exit status, the rest of standard output, standard error."""
        output, errors = self._process.communicate(timeout=30)
        return self._process.returncode, output, errors

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def running(*arguments: Any) -> Iterator[Process]:
    process = Process(*arguments)
    try:
        yield process
    finally:
        process.kill()


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=30, trust_env=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_request_is_answered_before_the_node_ends(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path / "data") as process, ThreadPoolExecutor(1) as threads:
        slow = threads.submit(_get, f"{process.url}/slow")
        assert process.read_line() == "serving"
        process.signal(number)
        wait_for(lambda: _refuses(process.port), what="refusing new connections")
        process.write_line()
        response = slow.result(30)
        assert (response.status_code, response.text) == (200, "done")
        status, output, errors = process.end()
        assert (status, output.split(), errors) == (0, ["answering", "stopped"], "")


def test_an_idle_kept_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(tmp_path / "data") as process, httpx.Client(base_url=process.url, trust_env=False) as client:
        assert client.get("/").text == "done"
        process.signal(signal.SIGTERM)
        status, output, errors = process.end()
        assert (status, output.split(), errors) == (0, ["stopped"], "")


def test_a_second_process_on_the_same_data_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir) as holder:
        with running(data_dir) as second:
            status, _, errors = second.end()
        assert status == 1
        assert errors.strip() == f"data directory {data_dir} is in use by process {holder.pid}"
        assert _get(holder.url).text == "done"


def test_data_of_a_killed_process_can_be_taken_over(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir) as first:
        first.signal(signal.SIGKILL)
        first.end()
    with running(data_dir) as second:
        assert _get(second.url).text == "done"
        assert (data_dir / "lock").read_text() == str(second.pid)


def test_a_taken_port_is_said_to_be_taken(tmp_path: Path) -> None:
    with running(tmp_path / "one") as first, running(tmp_path / "two", first.port) as second:
        status, _, errors = second.end()
        assert status == 1
        assert errors.strip() == f"cannot listen on 127.0.0.1:{first.port}: Address already in use"


def test_a_port_can_be_listened_on_again_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "data") as first, httpx.Client(base_url=first.url, trust_env=False) as client:
        client.get("/")
        first.signal(signal.SIGTERM)
        assert first.end()[0] == 0
        with running(tmp_path / "data", first.port) as second:
            assert second.port == first.port


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [("127.0.0.1", 70_000, "port must be 0-65535"), ("192.0.2.1", 0, "Cannot assign requested address")],
)
def test_addresses_that_cannot_be_listened_on(host: str, port: int, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=f"cannot listen on {host}:{port}: .*{reason}"):
        node.listen(host, port)


def test_the_data_directory_is_made_private_and_released(tmp_path: Path) -> None:
    data_dir = tmp_path / "a" / "b"
    for _ in range(2):
        with node.exclusive(data_dir):
            assert data_dir.stat().st_mode & 0o777 == 0o700
            with pytest.raises(InvalidRequest, match=f"in use by process {os.getpid()}"), node.exclusive(data_dir):
                pass
