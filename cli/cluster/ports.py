"""Which addresses and ports a new cluster gets; asks the operating system by binding, and keeps nothing bound."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time

from cli.cluster.shape import NodeShape, node_ids
from cli.errors import CommandError, UsageError
from common.clock import monotonic

_POLL_SECONDS = 0.05
_LAST_PORT = 65535
_NO_MORE = f"not enough ports for all nodes: there is no port after {_LAST_PORT}; choose a smaller --port"


def assign(host: str, first_port: int, proxies: int, targets: int, s3_port: int = 0) -> tuple[NodeShape, ...]:
    """Proxies on `first_port` and the ports that follow, targets on the free ones after that.

    `s3_port` and those that follow are left to the proxies, too, unless it is 0. Raises CommandError naming the port
    when a proxy's is taken, UsageError when it is wanted twice.
    """
    nodes, port = [], first_port
    kept = range(s3_port, s3_port + proxies) if s3_port else range(0)
    for port_of_s3 in kept:
        _require(host, port_of_s3, "--s3-port")
    for node_id, role in node_ids(proxies, targets):
        if role == "proxy":
            _require(host, port)
            if port in kept:
                raise UsageError(f"port {port} cannot be {node_id}'s and that of S3; choose another --s3-port")
        else:
            port = next_free(host, port)
            while port in kept:
                port = next_free(host, port + 1)
        nodes.append(NodeShape(node_id, role, port))
        port += 1
    return tuple(nodes)


def _require(host: str, port: int, option: str = "--port") -> None:
    if port > _LAST_PORT:
        raise UsageError(_NO_MORE.replace("--port", option))
    if problem := _problem(host, port):
        raise CommandError(f"{problem}; choose another with {option}")


def wait_until_free(host: str, port: int, seconds: float) -> str:
    """Why a node cannot listen there, empty when it can; a process just killed holds its port for a moment."""
    end = monotonic() + seconds
    while (problem := _problem(host, port)) and monotonic() < end:
        time.sleep(_POLL_SECONDS)
    return problem


def next_free(host: str, port: int) -> int:
    """The first port from `port` upwards that a node could listen on."""
    if port > _LAST_PORT:
        raise UsageError(_NO_MORE)
    for candidate in range(port, _LAST_PORT + 1):
        if not _problem(host, candidate):
            return candidate
    raise CommandError(f"no port from {port} to {_LAST_PORT} is free; choose a smaller --port")


def _problem(host: str, port: int) -> str:
    """Why a node cannot listen there; empty when it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the nodes do it: ports with old connections in TIME_WAIT are free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port} on {host} is taken by another program"
            return f"cannot listen on {host}:{port}: {error.strerror or error}"
    return ""


def public_host(host: str) -> str:
    """The address that clients can be sent to: `host`, or this machine's own where that is a wildcard."""
    if not _is_wildcard(host):
        return host
    family, somewhere = (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only makes the system choose the address it would use.
            probe.connect((somewhere, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if ":" in host else "127.0.0.1"


def is_local_only(host: str) -> bool:
    """Whether nobody on other machines can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
