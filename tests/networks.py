"""Hosts as network namespaces on one switch, whose links are cut, one way or both, and lose packets, as a test wants.

    with Network() as network, Origin(network.outside) as origin:
        hosts = {name: network.add_host(name) for name in ("p1", "t1")}
        network.cut("t1", "p1")      # what t1 sends to p1 is lost; the other way is open
        network.heal()

The test itself stands outside, at `network.outside`, where all hosts reach it. The switch and every rule are inside
namespaces that live as long as a process of their own, which ends with the test's: nothing is left behind, whatever
happens to the test, and the machine's own firewall is not touched. Needs root, iproute2 and iptables.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
from dataclasses import dataclass
from typing import Self

_ATTEMPTS = 100


@dataclass(frozen=True)
class Host:
    """Where a process can be placed: its address, and what a command begins with to run there."""

    address: str
    command: tuple[str, ...]


HERE = Host("127.0.0.1", ())
"""Where the test itself runs."""


class _Namespace:
    """A network namespace, held by a process that ends when this one does."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            raise AssertionError("a network namespace cannot be made: the tests of cuts need root")

    @property
    def pid(self) -> str:
        return str(self._holder.pid)

    @property
    def command(self) -> tuple[str, ...]:
        return "nsenter", "--net", "--target", self.pid, "--"

    def run(self, *command: str) -> None:
        _run(*self.command, *command)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class Network:
    """One switch and its hosts, in a subnet of their own; a context manager."""

    def __init__(self) -> None:
        self._clean_up = contextlib.ExitStack()
        self._namespaces: dict[str, _Namespace] = {}
        self.hosts: dict[str, Host] = {}
        self.subnet = ""
        self.outside = ""
        """The address of the test itself."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._switch = _Namespace()
            stack.callback(self._switch.close)
            self._switch.run("ip", "link", "add", "switch", "type", "bridge")
            self._switch.run("ip", "link", "set", "switch", "up")
            self._prefix, own_end = self._connect_outside()
            stack.callback(subprocess.run, ["ip", "link", "delete", own_end], check=False, stderr=subprocess.DEVNULL)
            self.subnet, self.outside = f"{self._prefix}.0/24", f"{self._prefix}.1"
            _run("ip", "address", "add", f"{self.outside}/24", "dev", own_end)
            _run("ip", "link", "set", own_end, "up")
            self._plug_in("outside")
            self._clean_up = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._clean_up.close()

    def add_host(self, name: str) -> Host:
        """One more host, which reaches all others."""
        namespace = _Namespace()
        self._clean_up.callback(namespace.close)
        host = Host(f"{self._prefix}.{len(self.hosts) + 2}", namespace.command)
        port = f"port{len(self.hosts)}"
        self._switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace.pid)
        self._plug_in(port)
        namespace.run("ip", "link", "set", "lo", "up")
        namespace.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        namespace.run("ip", "link", "set", "eth0", "up")
        self._namespaces[name], self.hosts[name] = namespace, host
        return host

    def cut(self, sender: str, receiver: str, *, probability: float = 1.0) -> None:
        """What `sender` sends to `receiver` is lost, or that part of it; the other way stays as it is."""
        chance = () if probability >= 1 else ("-m", "statistic", "--mode", "random", "--probability", str(probability))
        source = self.hosts[sender].address
        self._namespaces[receiver].run("iptables", "-w", "-A", "INPUT", "-s", source, *chance, "-j", "DROP")

    def cut_both(self, one: str, other: str, *, probability: float = 1.0) -> None:
        """The link between two hosts is cut both ways."""
        self.cut(one, other, probability=probability)
        self.cut(other, one, probability=probability)

    def heal(self) -> None:
        """All links between hosts are whole again."""
        for namespace in self._namespaces.values():
            namespace.run("iptables", "-w", "-F", "INPUT")

    def _connect_outside(self) -> tuple[str, str]:
        """A subnet that no other network has, of those set aside for tests (RFC 2544), and the interface to it."""
        for _ in range(_ATTEMPTS):
            number = random.randrange(1, 255)
            name = f"haul-test-{number}"
            made = subprocess.run(
                ["ip", "link", "add", name, "type", "veth", "peer", "name", "outside", "netns", self._switch.pid],
                check=False,
                capture_output=True,
                text=True,
            )
            if made.returncode == 0:
                return f"198.18.{number}", name
            assert "exists" in made.stderr, made.stderr
        raise AssertionError("no subnet is free")

    def _plug_in(self, port: str) -> None:
        self._switch.run("ip", "link", "set", port, "master", "switch", "up")


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
