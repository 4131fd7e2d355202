"""Nodes as real processes with settings of a test's choice, on a meta store of its choice: killed, stopped, restarted.

Smaller than `tests.crash.processes`, which runs what `haul cluster up` does; nothing here is part of a running product.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import msgpack

from tests.cluster import Api
from tests.networks import HERE, Host
from tests.ports import free_port
from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]
CLUSTER_ID = "testcluster"


class Nodes:
    """`with Nodes(tmp_path) as nodes`: proxies `p1…`, targets `t1…`; what fails is given up after about 3 seconds."""

    def __init__(
        self,
        directory: Path,
        *,
        targets: int = 3,
        proxies: int = 2,
        mountpaths: int = 2,
        meta_store: str = "",
        proxy_settings: dict[str, Any] | None = None,
        target_settings: dict[str, Any] | None = None,
        place: Callable[[str], Host] = lambda node_id: HERE,
        intra_url: Callable[[str], str] = lambda url: url,
    ) -> None:
        """`place`: where a node runs, by its id; `intra_url`: how peers reach a node, by its URL."""
        self.directory = directory
        self._place = place
        self._intra_url = intra_url
        self._meta_store = meta_store or f"sqlite:{directory}/meta.db"
        self._mountpaths = mountpaths
        self._first_port = free_port()
        self._proxy_settings = {"keep_alive_seconds": 0.3, "failover_grace_seconds": 1.0, "decision_grace_seconds": 1.0}
        self._proxy_settings |= proxy_settings or {}
        self._target_settings = {
            "allow_origins": ["127.0.0.0/8"],
            "durability": "process",
            "report_seconds": 0.3,
            **(target_settings or {}),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._apis: dict[str, Api] = {}
        self.proxy_ids = [f"p{number}" for number in range(1, proxies + 1)]
        self.target_ids = [f"t{number}" for number in range(1, targets + 1)]
        self._hosts: dict[str, Host] = {}
        self._intra_urls: dict[str, str] = {}
        self.urls: dict[str, str] = {}
        for node_id in (*self.proxy_ids, *self.target_ids):
            self._configure(node_id)

    def add_target(self, node_id: str) -> None:
        """One more target; it is started by `start`."""
        self.target_ids.append(node_id)
        self._configure(node_id)

    def _configure(self, node_id: str) -> None:
        port = self._first_port + len(self.urls)
        host = self._hosts[node_id] = self._place(node_id)
        url = self.urls[node_id] = f"http://{host.address}:{port}"
        self._intra_urls[node_id] = self._intra_url(url)
        data_dir = self.directory / node_id
        data_dir.mkdir(parents=True)
        fields: dict[str, Any] = {
            "id": node_id,
            "host": host.address,
            "port": port,
            "public_url": url,
            "cluster_id": CLUSTER_ID,
            "data_dir": str(data_dir),
        }
        if self._intra_urls[node_id] != url:
            fields["intra_url"] = self._intra_urls[node_id]
        if node_id in self.proxy_ids:
            fields |= {"meta_store": self._meta_store, **self._proxy_settings}
        else:
            paths = [data_dir / f"mp{number}" for number in range(1, self._mountpaths + 1)]
            for path in paths:
                path.mkdir()
            proxies = [self._intra_urls[proxy] for proxy in self.proxy_ids]
            fields |= {"mountpaths": [str(path) for path in paths], "proxies": proxies, **self._target_settings}
        # What JSON writes for texts, numbers and lists of texts is TOML, too.
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in fields.items()]
        self.config_of(node_id).write_text("".join(lines), encoding="utf-8")

    def config_of(self, node_id: str) -> Path:
        return self.directory / f"{node_id}.toml"

    def __enter__(self) -> Self:
        try:
            for node_id in (*self.proxy_ids, *self.target_ids):
                self.start(node_id)
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for api in self._apis.values():
            api.close()
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self._processes.values():
            process.wait()

    @property
    def api(self) -> Api:
        """The public dialect, by the first proxy."""
        return self.api_of(self.proxy_ids[0])

    def api_of(self, proxy_id: str) -> Api:
        if proxy_id not in self._apis:
            self._apis[proxy_id] = Api(self.urls[proxy_id])
        return self._apis[proxy_id]

    def start(
        self, node_id: str, failpoints: str = "", *, under: Sequence[str] = (), log_to: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a node, perhaps `under` another command that becomes it, and with its log somewhere else."""
        role = "proxy" if node_id in self.proxy_ids else "target"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"HAUL_FAILPOINTS": failpoints} if failpoints else {})
        with (log_to or self.directory / f"{node_id}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *self._hosts[node_id].command,
                    *under,
                    *(sys.executable, "-P", "-m", role, "--config", str(self.config_of(node_id))),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        self._processes[node_id] = process
        return process

    def kill(self, node_id: str) -> None:
        """SIGKILL, and wait until the process is gone."""
        self._processes[node_id].kill()
        self._processes[node_id].wait()

    def signal(self, node_id: str, number: signal.Signals) -> None:
        self._processes[node_id].send_signal(number)

    def pid(self, node_id: str) -> int:
        return self._processes[node_id].pid

    def free_port(self) -> int:
        """One that no node of this cluster will listen at."""
        return self._first_port + len(self.urls) + 10

    def stop(self, node_id: str) -> int:
        """SIGTERM; the exit code."""
        self._processes[node_id].terminate()
        return self._processes[node_id].wait(30)

    def wait_for_end(self, node_id: str) -> int:
        """The exit code of a node that ends by itself."""
        return self._processes[node_id].wait(30)

    def is_running(self, node_id: str) -> bool:
        return self._processes[node_id].poll() is None

    def log_of(self, node_id: str) -> str:
        return (self.directory / f"{node_id}.log").read_text(encoding="utf-8", errors="replace")

    def wait_until_ready(self) -> None:
        """Until every proxy knows that every target is online."""
        for node_id in self._processes:
            wait_for(lambda url=self.urls[node_id]: is_ready(url), seconds=90, what=f"{node_id} ready")
        for proxy in self.proxy_ids:
            wait_for(lambda proxy=proxy: self.members(proxy) >= set(self.target_ids), what=f"{proxy} knows all targets")

    def members(self, proxy_id: str = "p1") -> set[str]:
        """The targets of the cluster map, as a proxy shows it; none while it has lost the store."""
        return set(self._smap_if_known(proxy_id).get("tmap", ()))

    def smap(self, proxy_id: str = "p1") -> dict[str, Any]:
        response = self.api_of(proxy_id).call("GET", "/v1/daemon?what=smap")
        assert response.status_code == 200, response.text
        return dict(response.json())

    def leader(self, proxy_id: str = "p1") -> str:
        """The leader as a proxy knows it; empty while it knows none, or has lost the store."""
        return str((self._smap_if_known(proxy_id).get("proxy_si") or {}).get("daemon_id", ""))

    def _smap_if_known(self, proxy_id: str) -> dict[str, Any]:
        response = self.api_of(proxy_id).call("GET", "/v1/daemon?what=smap")
        assert response.status_code in (200, 503), response.text
        return dict(response.json()) if response.status_code == 200 else {}

    def intra(self, node_id: str, path: str, body: object = None) -> httpx.Response:
        """What one node asks of another."""
        return httpx.post(self.urls[node_id] + path, content=msgpack.packb(body), timeout=10)


def is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/v1/health", params={"readiness": "true"}, timeout=2).status_code == 200
    return False
