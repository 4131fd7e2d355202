"""The cluster of `docker-compose.yml` as a whole: up, down, and with more targets or fewer. Standard library only.

    python3 deploy/compose/cluster.py up | down [--volumes] | scale 8 | upgrade

How many targets there are is remembered in `.compose/`, where the nodes' files lie, too. What a container is made of is
left to the compose files.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_IN_FILE = 4
"""Targets that `docker-compose.yml` has itself."""
_MAX_TARGETS = 64
_FIRST_PORT = 9101
_DISKS = ("disk1", "disk2")
_PROFILES = {"monitoring": ("prometheus", "grafana"), "prometheus": ("prometheus",)}
_ETC = "/etc/haul"
"""Where nodes see the files that are for all of them."""
_KEY, _BACKENDS = "secret.key", "backends.toml"
_KEY_BYTES = 32
_POLL_SECONDS = 0.5
_EVERYWHERE = "0.0.0.0"  # noqa: S104


class Failed(Exception):
    """What could not be done, in words for the user."""


def service_of(number: int) -> dict[str, Any]:
    """One more target in the form of those in `docker-compose.yml`."""
    name = f"target{number}"
    port = f"${{HAUL_TARGET{number}_PORT:-{_FIRST_PORT + number - 1}}}"
    disks = [f"{name}-{disk}:/disks/{position}" for position, disk in enumerate(_DISKS, start=1)]
    return {
        "extends": {"file": str(ROOT / "deploy/compose/node.yml"), "service": "target"},
        "hostname": name,
        "environment": {
            "HAUL_NODE_ID": name,
            "HAUL_NODE_INTRA_URL": f"http://{name}:8080",
            "HAUL_NODE_PUBLIC_URL": f"http://${{HAUL_PUBLIC_HOST:-localhost}}:{port}",
        },
        "ports": [f"${{HAUL_BIND:-127.0.0.1}}:{port}:8080"],
        "volumes": [f"{name}:/var/lib/haul", *disks],
    }


def volumes_of(name: str) -> list[str]:
    """The named volumes of a target."""
    return [name, *(f"{name}-{disk}" for disk in _DISKS)]


class NodeFiles:
    """The directory that all nodes see as `/etc/haul`: a key for credentials of jobs, `backends.toml` if there is one.

    Nodes run as a user of their own, so it is open to everybody, and the directory that it lies in to its owner only.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = directory / _KEY

    def prepare(self) -> None:
        """Make the directory and the key, if they are missing."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.parent.chmod(0o700)
        self._directory.chmod(0o755)
        with contextlib.suppress(FileExistsError), self._key.open("xb") as file:
            file.write(base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)) + b"\n")
        self._key.chmod(0o644)

    def variables(self) -> dict[str, str]:
        """What the compose files need to know; a node that was told of a file that is missing would not start."""
        has_backends = (self._directory / _BACKENDS).exists()
        return {
            "HAUL_ETC": str(self._directory),
            "HAUL_SECRET_KEY_FILE": f"{_ETC}/{_KEY}",
            "HAUL_BACKENDS_FILE": f"{_ETC}/{_BACKENDS}" if has_backends else "",
        }

    def forget(self) -> None:
        """Remove the key: nothing is left that was sealed with it."""
        self._key.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody's file is in it
            self._directory.rmdir()


class ComposeCluster:
    """The containers of one project; `project` and the ports are taken from the environment, as compose does."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._state = ROOT / ".compose" / f"{project}.json"
        self._more = ROOT / ".compose" / f"{project}-targets.yml"
        self._files = NodeFiles(ROOT / ".compose" / f"{project}-etc")
        self._compose = _compose_command()

    @property
    def targets(self) -> int:
        """How many targets the cluster has."""
        try:
            return int(json.loads(self._state.read_text(encoding="utf-8"))["targets"])
        except FileNotFoundError:
            return _IN_FILE

    def up(self) -> None:
        """Start what does not run and wait until every node is ready."""
        self._start(self.targets)
        self.wait_until_healthy()

    def down(self, *, with_volumes: bool) -> None:
        """Stop and remove the containers; the volumes stay, unless they are to go, too."""
        self._write(self.targets)
        self._run("--profile", "monitoring", "down", "--remove-orphans", *(["--volumes"] if with_volumes else []))
        if with_volumes:
            self._state.unlink(missing_ok=True)
            self._more.unlink(missing_ok=True)
            self._files.forget()

    def scale(self, targets: int) -> None:
        """Have that many targets: new ones join; those too many are emptied first, and leave with their volumes."""
        before = self.targets
        if targets >= before:
            self._start(targets, "--no-recreate")
            self.wait_until_healthy()
        for number in range(before, targets, -1):
            self._let_go(f"target{number}")
            self._write(number - 1)

    def upgrade(self) -> None:
        """Take up a new image or new settings, one container after the other, each when the one before is well."""
        self._write(self.targets)
        for service in self._services(self.targets):
            self._run("up", "--detach", "--no-deps", service)
            self.wait_until_healthy()

    def wait_until_healthy(self, *, seconds: float = 180.0) -> None:
        """Wait for the health checks of all containers; raises Failed that names who is not well."""
        left: list[str] = []

        def all_are_well() -> bool:
            left[:] = self._unwell()
            return not left

        _wait(all_are_well, seconds, lambda: f"not healthy: {', '.join(left)}")

    def _unwell(self) -> list[str]:
        """Who is not healthy; asked by their own checks, because the engine runs these only every few seconds."""
        ours = f"label=com.docker.compose.project={self._project}"
        ids = _output("docker", "ps", "--all", "--quiet", "--filter", ours).split()
        unwell = []
        for container in json.loads(_output("docker", "inspect", *ids)) if ids else []:
            health = container["State"].get("Health")
            if health is None or health["Status"] == "healthy":
                continue
            check = ["docker", "exec", container["Id"], *container["Config"]["Healthcheck"]["Test"][1:]]
            if subprocess.run(check, capture_output=True, check=False).returncode != 0:
                unwell.append(container["Config"]["Labels"]["com.docker.compose.service"])
        return unwell

    def _let_go(self, name: str) -> None:
        if name in self._members():
            print(f"{name}: its objects move to the others …", flush=True)  # noqa: T201
            self._ask("PUT", "/v1/cluster", {"action": "decommission-node", "value": {"sid": name}})
            _wait(lambda: name not in self._members(), 3600.0, lambda: f"{name} still holds objects or shares of jobs")
        self._run("rm", "--stop", "--force", name)
        _output("docker", "volume", "rm", "--force", *(f"{self._project}_{volume}" for volume in volumes_of(name)))

    def _members(self) -> set[str]:
        return set(self._ask("GET", "/v1/daemon?what=smap")["tmap"])

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the first proxy that answers."""
        reasons = []
        bind = os.environ.get("HAUL_BIND") or _EVERYWHERE
        host = "localhost" if bind == _EVERYWHERE else bind
        for number, default in ((1, "8080"), (2, "8081")):
            url = f"http://{host}:{os.environ.get(f'HAUL_PROXY{number}_PORT', default)}{path}"
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
            try:
                with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                    return json.loads(response.read() or b"null")
            except urllib.error.HTTPError as error:
                raise Failed(f"{method} {url}: {error.code} {error.read().decode(errors='replace').strip()}") from None
            except OSError as error:
                reasons.append(f"{url}: {error}")
        raise Failed("; ".join(reasons))

    def _start(self, targets: int, *options: str) -> None:
        self._write(targets)
        profiles = os.environ.get("COMPOSE_PROFILES", "").split(",")
        others = dict.fromkeys(service for profile in profiles for service in _PROFILES.get(profile, ()))
        self._run("up", "--detach", *options, *self._services(targets), *others)

    @staticmethod
    def _services(targets: int) -> list[str]:
        return ["etcd1", "etcd2", "etcd3", "proxy1", "proxy2", *(f"target{n}" for n in range(1, targets + 1))]

    def _write(self, targets: int) -> None:
        self._files.prepare()
        self._state.write_text(json.dumps({"targets": targets}) + "\n", encoding="utf-8")
        numbers = range(_IN_FILE + 1, targets + 1)
        if not numbers:
            self._more.unlink(missing_ok=True)
            return
        services = {f"target{number}": service_of(number) for number in numbers}
        volumes: dict[str, None] = {volume: None for name in services for volume in volumes_of(name)}
        document = json.dumps({"services": services, "volumes": volumes}, indent=2)
        self._more.write_text(f"# Written by deploy/compose/cluster.py.\n{document}\n", encoding="utf-8")

    def _run(self, *arguments: str) -> None:
        files = [ROOT / "docker-compose.yml", *([self._more] if self._more.exists() else [])]
        chosen = [option for file in files for option in ("--file", str(file))]
        command = [*self._compose, "--project-name", self._project, *chosen, *arguments]
        environment = os.environ | self._files.variables()
        if (code := subprocess.run(command, env=environment, check=False).returncode) != 0:
            raise Failed(f"{' '.join(self._compose)} {' '.join(arguments)} ended with exit code {code}")


def _compose_command() -> Sequence[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            continue
    raise Failed("neither `docker compose` nor `docker-compose` is here; on Debian:  apt-get install docker-compose")


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with exit code {done.returncode}")
    return done.stdout


def _wait(condition: Callable[[], bool], seconds: float, reason: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{reason()} after {seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


def _target_count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MAX_TARGETS:
        raise argparse.ArgumentTypeError(f"between 1 and {_MAX_TARGETS} targets")
    return number


def main() -> int:
    """Carry out one command; returns the exit code."""
    parser = argparse.ArgumentParser(description="The cluster of docker-compose.yml as a whole.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up")
    commands.add_parser("down").add_argument("--volumes", action="store_true", help="remove all data, too")
    commands.add_parser("upgrade")
    commands.add_parser("scale").add_argument("targets", type=_target_count)
    arguments = parser.parse_args()
    try:
        cluster = ComposeCluster(os.environ.get("COMPOSE_PROJECT_NAME", "haul"))
        if arguments.command == "up":
            cluster.up()
        elif arguments.command == "down":
            cluster.down(with_volumes=arguments.volumes)
        elif arguments.command == "upgrade":
            cluster.upgrade()
        else:
            cluster.scale(arguments.targets)
    except Failed as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
