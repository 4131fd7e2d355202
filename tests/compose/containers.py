"""The cluster of `docker-compose.yml` as its operator has it: brought up by `make up`'s own command, then mistreated.

Everything else goes through the `docker` package: containers are found by the labels that compose gives them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import docker
import httpx
from docker.models.containers import Container

from tests.cluster import Api
from tests.compose import originserver
from tests.nodes import is_ready
from tests.ports import free_port
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
PROXIES = ("proxy1", "proxy2")
ETCD = ("etcd1", "etcd2", "etcd3")
MAX_TARGETS = 6
FAILOVER_GRACE_SECONDS = 10
READY_SECONDS = 120.0
"""Everything shares the machine with everything else: what takes seconds may take many."""
T = TypeVar("T")


class Containers:
    """`with Containers("name") as cluster`: the containers, the proxies' APIs and the origin beside them."""

    def __init__(self, project: str) -> None:
        self._docker = docker.from_env()
        self._project = project
        self._labels = [f"com.docker.compose.project={project}"]
        names = [*PROXIES, *(f"target{number}" for number in range(1, MAX_TARGETS + 1))]
        first_port = free_port()
        ports = {name: first_port + position for position, name in enumerate(names)}
        prometheus_port = first_port + len(names)
        self._settings = {f"HAUL_{name.upper()}_PORT": str(port) for name, port in ports.items()} | {
            "PROMETHEUS_PORT": str(prometheus_port),
            "COMPOSE_PROJECT_NAME": project,
            # The networks that an engine makes have private addresses; the nodes' own are refused all the same.
            "HAUL_ALLOW_ORIGINS": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
            "HAUL_FAILOVER_GRACE_SECONDS": str(FAILOVER_GRACE_SECONDS),
        }
        ports["prometheus"] = prometheus_port
        self.urls = {name: f"http://localhost:{port}" for name, port in ports.items()}
        self.apis = {name: Api(self.urls[name]) for name in PROXIES}

    def __enter__(self) -> Self:
        try:
            self.manage("up")
            self.origin = ContainerOrigin(self._docker, self._project)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for api in self.apis.values():
            api.close()
        if hasattr(self, "origin"):
            self.origin.remove()
        self.manage("down", "--volumes")
        self._docker.close()

    def manage(self, *arguments: str, **changed: str) -> None:
        """What `make up`, `make down`, `make scale`, `make upgrade` run; `changed` are settings from now on."""
        self._settings |= changed
        command = [sys.executable, str(ROOT / "deploy/compose/cluster.py"), *arguments]
        environment = os.environ | self._settings
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr + self.last_words()

    def container(self, service: str) -> Container:
        wanted = [*self._labels, f"com.docker.compose.service={service}"]
        (found,) = self._docker.containers.list(all=True, filters={"label": wanted})
        return found

    def services(self) -> list[str]:
        """The members of etcd, the proxies and the targets."""
        found = self._docker.containers.list(all=True, filters={"label": self._labels})
        services = sorted(container.labels["com.docker.compose.service"] for container in found)
        return [service for service in services if service.startswith(("etcd", "proxy", "target"))]

    def targets(self) -> list[str]:
        return [service for service in self.services() if service.startswith("target")]

    def last_words(self) -> str:
        """The end of every container's log, for a failure's report."""
        found = self._docker.containers.list(all=True, filters={"label": self._labels})
        return "".join(f"\n--- {each.name}\n{each.logs(tail=8).decode(errors='replace')}" for each in found)

    def kill(self, service: str) -> None:
        """SIGKILL; it stays dead until it is started."""
        container = self.container(service)
        container.kill()
        container.wait()

    def start(self, service: str) -> None:
        """Start it and wait until it is ready."""
        self.container(service).start()
        self.wait_until_ready(service)

    def restart_gracefully(self, service: str) -> int:
        """SIGTERM, wait for the end, start again; the exit code of the first run."""
        container = self.container(service)
        container.stop(timeout=30)
        code = int(container.wait()["StatusCode"])
        self.start(service)
        return code

    def wait_until_ready(self, service: str) -> None:
        if service in ETCD:
            wait_for(lambda: self.etcd_is_well(service), seconds=READY_SECONDS, what=f"{service} is well")
        else:
            wait_for(lambda: is_ready(self.urls[service]), seconds=READY_SECONDS, what=f"{service} is ready")

    def etcd_is_well(self, service: str) -> bool:
        return bool(self.container(service).exec_run(["etcdctl", "endpoint", "health"]).exit_code == 0)

    def etcd_leader(self) -> str:
        endpoints = "--endpoints=" + ",".join(f"http://{member}:2379" for member in ETCD)
        command = ["etcdctl", endpoints, "endpoint", "status", "--write-out=json"]
        answer = self.container(ETCD[0]).exec_run(command)
        (leader,) = [
            state["Endpoint"]
            for state in json.loads(answer.output)
            if state["Status"]["leader"] == state["Status"]["header"]["member_id"]
        ]
        return str(leader).removeprefix("http://").partition(":")[0]

    def run_beside(self, script: str, volumes: set[str]) -> None:
        """Run a script as an operator would, with volumes of the cluster at `/data/VOLUME`."""
        image = os.environ.get("ETCD_IMAGE") or "haul-etcd:local"
        mounts = [f"{self._project}_{volume}:/data/{volume}" for volume in volumes]
        self._docker.containers.run(image, ["sh", "-euc", script], volumes=mounts, remove=True)

    @contextlib.contextmanager
    def cut_off(self, service: str) -> Iterator[None]:
        """No network inside of the `with`: neither the nodes nor the clients reach it."""
        network = self._docker.networks.get(f"{self._project}_default")
        container = self.container(service)
        aliases = container.attrs["NetworkSettings"]["Networks"][network.name]["Aliases"]
        network.disconnect(container)
        try:
            yield
        finally:
            network.connect(container, aliases=aliases)

    def smap(self, proxy: str = PROXIES[0]) -> dict[str, Any]:
        return dict(self.apis[proxy].call("GET", "/v1/daemon?what=smap").json())

    def leader(self, proxy: str = PROXIES[0]) -> str:
        return str(self.smap(proxy)["proxy_si"]["daemon_id"])

    def members(self, proxy: str = PROXIES[0]) -> set[str]:
        return set(self.smap(proxy)["tmap"])

    def files_on_disks(self, bucket: str) -> int:
        """How many objects of a bucket all targets have on their disks."""
        script = f"find /disks/*/@ais/{bucket}/%ob -type f 2>/dev/null | wc -l"
        return sum(int(self.container(target).exec_run(["sh", "-c", script]).output) for target in self.targets())


class ContainerOrigin:
    """The origin in a container of its own, on the cluster's network."""

    def __init__(self, engine: docker.DockerClient, project: str) -> None:
        self._container = engine.containers.run(
            os.environ.get("HAUL_IMAGE") or "haul:local",
            ["python", "-c", Path(originserver.__file__).read_text(encoding="utf-8")],
            name=f"{project}-origin",
            hostname="origin",
            network=f"{project}_default",
            ports={f"{originserver.PORT}/tcp": ("127.0.0.1", 0)},
            init=True,
            detach=True,
        )
        wait_for(self._is_published, what="the origin's port is published")
        published = self._container.ports[f"{originserver.PORT}/tcp"][0]["HostPort"]
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{published}", timeout=10)
        wait_for(self._answers, what="the origin answers")

    def _is_published(self) -> bool:
        self._container.reload()
        return bool(self._container.ports.get(f"{originserver.PORT}/tcp"))

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self._http.get("/counts/none").status_code == 200
        return False

    def remove(self) -> None:
        self._http.close()
        self._container.remove(force=True)

    def template(self, label: str, number: int, size_bytes: int) -> str:
        """The link of a range job over that many objects."""
        return f"http://origin:{originserver.PORT}{path_of(label, size_bytes, f'{{0000..{number - 1:04}}}')}"

    def hold(self, label: str, *, after: int) -> None:
        self._http.post(f"/hold/{label}", params={"after": after}).raise_for_status()

    def release(self, label: str) -> None:
        self._http.post(f"/release/{label}").raise_for_status()

    def wait_for(self, label: str, *, answered: int = 0, waiting: int = 0) -> None:
        """Until that many requests have been answered, and that many are being held."""
        counts: dict[str, int] = {}

        def come() -> bool:
            counts.update(self._http.get(f"/counts/{label}").json())
            return counts["answered"] >= answered and counts["waiting"] >= waiting

        try:
            wait_for(come, seconds=READY_SECONDS)
        except AssertionError:
            raise AssertionError(f"{label}: {counts}, expected {answered} answered and {waiting} waiting") from None


def path_of(label: str, size_bytes: int, number: str) -> str:
    return f"/{size_bytes}-{label}/{label}-{number}"


def patiently(call: Callable[[], httpx.Response], *, seconds: float = 60.0) -> httpx.Response:
    """What a good client does: ask again when nobody answers, or the answer is to come back later."""
    last: list[httpx.Response] = []

    def answered() -> bool:
        with contextlib.suppress(httpx.TransportError):
            last[:] = [call()]
            return last[0].status_code not in (502, 503, 504)
        return False

    wait_for(answered, seconds=seconds, what=f"an answer (the last was {last[0].text if last else 'none'})")
    return last[0]
