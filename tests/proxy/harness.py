"""Proxies and stand-in targets in one event loop, on real sockets, sharing one SQLite meta store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from common import clock
from common.lifecycle import TaskScope
from common.node import Node as ServedNode
from common.node import listen, serve
from common.nodeclient import NodeClient
from proxy.app import ProxyNode
from proxy.config import ProxyConfig
from tests.proxy.standin import StandIn

DEADLINE_SECONDS = 10.0


@dataclass
class Server:
    """A node being served, until `stop`."""

    listener: socket.socket
    url: str
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Any] | None = None

    @classmethod
    def bind(cls) -> Server:
        listener = listen("127.0.0.1", 0)
        return cls(listener, f"http://127.0.0.1:{listener.getsockname()[1]}")

    def start(self, scope: TaskScope, node: ServedNode) -> None:
        self.task = scope.start(f"serve {self.url}", serve(node, self.listener, self.stopping))

    async def stop(self) -> None:
        self.stopping.set()
        if self.task is not None:
            await self.task
        self.listener.close()


@dataclass
class Cluster:
    proxies: list[Server]
    servers: dict[str, Server]
    targets: dict[str, StandIn]
    http: httpx.AsyncClient

    async def request(self, method: str, path: str, body: object = None, *, proxy: int = 0) -> httpx.Response:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        return await self.http.request(method, self.proxies[proxy].url + path, content=content)

    async def start_job(self, *, proxy: int = 0, **fields: Any) -> str:
        answer = await self.request("POST", "/v1/download", {"bucket": {"name": "demo"}} | fields, proxy=proxy)
        assert answer.status_code == 200, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    async def start_slow_job(self, **fields: Any) -> str:
        """Start a job, and wait until all its targets have begun."""
        job_id = await self.start_job(**fields)
        shares = [target.shares[job_id] for target in self.targets.values() if job_id in target.shares]
        await eventually(lambda: all(share.state != "prepared" for share in shares))
        return job_id

    async def status(self, job_id: str, *, proxy: int = 0, **fields: Any) -> dict[str, Any]:
        answer = await self.request("GET", "/v1/download", {"id": job_id} | fields, proxy=proxy)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def finished(self, job_id: str) -> dict[str, Any]:
        """The status of a job once it has ended."""
        return await eventually(lambda: self.status(job_id), lambda status: status["finished_time"][:4] != "1970")

    async def kill(self, target_id: str) -> None:
        """The target's process is gone: its port refuses."""
        await self.servers[target_id].stop()


async def eventually(ask: Callable[[], Any], holds: Callable[[Any], bool] = bool) -> Any:
    """The first answer for which something holds; fails after a deadline, showing the last one."""
    end = clock.monotonic() + DEADLINE_SECONDS
    while True:
        value = ask()
        if asyncio.iscoroutine(value):
            value = await value
        if holds(value):
            return value
        assert clock.monotonic() < end, f"did not come true: {value!r}"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def cluster(
    directory: Path, *, targets: int = 3, proxies: int = 1, keep_alive_seconds: float = 30.0, **settings: Any
) -> AsyncIterator[Cluster]:
    """A running cluster: all targets have joined, and every proxy knows it."""
    scope = TaskScope()
    proxy_servers = [Server.bind() for _ in range(proxies)]
    servers = {f"t{number}": Server.bind() for number in range(1, targets + 1)}
    client = NodeClient()
    urls = [server.url for server in proxy_servers]
    no_backends = directory / "backends.toml"
    no_backends.write_text("".join(f"[{section}]\nenabled = false\n" for section in ("s3", "gs", "az")))
    standins = {node_id: StandIn(node_id, server.url, urls, client) for node_id, server in servers.items()}
    nodes = [
        ProxyNode(
            ProxyConfig(
                id=f"p{number}",
                port=0,
                public_url=server.url,
                cluster_id="C1",
                data_dir=directory / f"p{number}",
                meta_store=f"sqlite:{directory}/meta.db",
                keep_alive_seconds=keep_alive_seconds,
                backends_file=no_backends,
                **settings,
            )
        )
        for number, server in enumerate(proxy_servers, start=1)
    ]
    http = httpx.AsyncClient(trust_env=False, verify=False, timeout=30.0)
    running = Cluster(proxy_servers, servers, standins, http)
    try:
        for server, node in zip(proxy_servers, nodes, strict=True):
            server.start(scope, node)
        for node_id, standin in standins.items():
            servers[node_id].start(scope, standin)
            await eventually(lambda standin=standin: _joined(standin))
        for number in range(proxies):
            await eventually(lambda number=number: _knows(running, number, targets))
        for standin in standins.values():
            await standin.report()
        yield running
    finally:
        await http.aclose()
        await client.close()
        await asyncio.gather(*(server.stop() for server in (*servers.values(), *proxy_servers)))
        assert await scope.close() == []


async def _joined(standin: StandIn) -> bool:
    try:
        await standin.report()
    except Exception:
        return False
    return True


async def _knows(running: Cluster, proxy: int, targets: int) -> bool:
    smap = (await running.request("GET", "/v1/daemon?what=smap", proxy=proxy)).json()
    ready = await running.request("GET", "/v1/health?readiness=true", proxy=proxy)
    return len(smap["tmap"]) == targets and (ready.status_code == 200 or not targets)
