"""Real etcd servers on loopback, as many as a test wants: killed, stopped, restarted, wiped.

They are what `etcd` is on the PATH: Debian's by default, and any newer one that is put before it.
"""

from __future__ import annotations

import contextlib
import signal
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx

from tests.networks import HERE, Host
from tests.ports import free_port
from tests.waiting import wait_for

_HEARTBEAT_MS = 50
_DEMAND_LEADER = {"Grpc-Metadata-hasleader": "true"}


class Etcd:
    """`with Etcd(directory) as etcd`: members 0, 1, …; `options` go to each, `tls` is how the test speaks to them.

    All run on one `host`. A leader that stands still for longer than an election's time loses its place, and calls that
    it had taken in are lost: short where tests wait for another leader, long where they need the same one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        members: int = 3,
        election_ms: int = 500,
        options: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        host: Host = HERE,
    ) -> None:
        self.directory = directory
        self._host = host
        self._election_ms = election_ms
        self._options = list(options)
        self._scheme = "http" if tls is None else "https"
        first = free_port()
        self._client_ports = range(first, first + members)
        self._peer_ports = range(first + members, first + 2 * members)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.http = httpx.Client(timeout=10, trust_env=False, verify=tls or True)

    @property
    def urls(self) -> list[str]:
        return [f"{self._scheme}://{self._host.address}:{port}" for port in self._client_ports]

    @property
    def meta_store(self) -> str:
        """How a proxy is configured to use it."""
        names = ",".join(url.partition("//")[2] for url in self.urls)
        return f"{'etcds' if self._scheme == 'https' else 'etcd'}://{names}"

    def __enter__(self) -> Self:
        try:
            for member in range(len(self.urls)):
                self.start(member)
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in self._processes.values():
            process.wait()

    def start(self, member: int) -> None:
        peers = [f"http://{self._host.address}:{port}" for port in self._peer_ports]
        arguments = {
            "name": f"m{member}",
            "data-dir": self.directory / f"m{member}",
            "listen-client-urls": self.urls[member],
            "advertise-client-urls": self.urls[member],
            "listen-peer-urls": peers[member],
            "initial-advertise-peer-urls": peers[member],
            "initial-cluster": ",".join(f"m{number}={url}" for number, url in enumerate(peers)),
            "heartbeat-interval": _HEARTBEAT_MS,
            "election-timeout": self._election_ms,
            "logger": "zap",
            "log-level": "warn",
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / f"m{member}.log").open("ab") as log:
            self._processes[member] = subprocess.Popen(
                [
                    *self._host.command,
                    "etcd",
                    *(f"--{name}={value}" for name, value in arguments.items()),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, member: int) -> None:
        self._processes[member].kill()
        self._processes[member].wait()

    def pause(self, *members: int) -> None:
        for member in members or self._living():
            self._processes[member].send_signal(signal.SIGSTOP)

    def resume(self, *members: int) -> None:
        for member in members or self._living():
            self._processes[member].send_signal(signal.SIGCONT)

    def mend(self) -> None:
        """All members run and have a leader again."""
        self.resume(*self._living())
        for member in self._processes.keys() - self._living():
            self.start(member)
        self.wait_until_ready()

    def call(self, member: int, path: str, **body: Any) -> dict[str, Any]:
        """What the test itself wants of a member."""
        response = self.http.post(self.urls[member] + path, json=body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def leader(self) -> int:
        """The member that leads."""

        def leading() -> list[int]:
            with contextlib.suppress(httpx.HTTPError, AssertionError):
                states = {member: self.call(member, "/v3/maintenance/status") for member in self._living()}
                return [
                    member for member, state in states.items() if state["header"]["member_id"] == state.get("leader")
                ]
            return []

        return wait_for(leading, what="a leader of etcd")[0]

    def revision(self, member: int = 0) -> int:
        return int(self.call(member, "/v3/kv/range", key="AA==")["header"]["revision"])

    def wait_until_ready(self) -> None:
        for member in self._living():
            wait_for(lambda member=member: self._answers(member), what=f"etcd {member} ready")

    def _living(self) -> list[int]:
        return [member for member, process in self._processes.items() if process.poll() is None]

    def _answers(self, member: int) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            answer = self.http.post(self.urls[member] + "/v3/kv/range", json={"key": "AA=="}, headers=_DEMAND_LEADER)
            return answer.status_code != httpx.codes.SERVICE_UNAVAILABLE
        return False
