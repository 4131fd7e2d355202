"""Ports of this machine that a test's servers may be told to listen at; the nodes of a `Cluster` need none."""

from __future__ import annotations

import contextlib
import os
import random
import socket

_ROW = 16
_PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to outgoing connections."""
_MAX_WORKERS = 8


def free_port() -> int:
    """The first of a row of 16 free ports, which no other worker of this run of pytest takes."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _MAX_WORKERS
    own = range(_PORTS.start + worker * _ROW, _PORTS.stop, _MAX_WORKERS * _ROW)
    while True:
        first = random.choice(own)
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + _ROW):
                    probes.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", port))))
            except OSError:
                continue
            return first
