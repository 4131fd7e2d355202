"""Runs one node as a process: the listening socket, the event loop, signals, and the order of its end.

What the node is made of is left to `proxy.app` and `target.app`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import uvicorn
import uvloop
from pydantic import Field

from common.errors import HaulError, InvalidRequest
from common.logs import RecentLines, configure_logging
from common.patience import bounded
from common.refusals import closing_refused
from common.settings import ENVIRONMENT_PREFIX, Settings, load_settings
from common.web import Application

_BACKLOG = 2048
_DRAIN_SECONDS = 10


class Node(Protocol):
    """What a composition root gives: the ASGI application, and what must run around it.

    It may have three attributes more: `http_protocol`, the class that speaks HTTP in place of uvicorn's
    `HttpToolsProtocol`; `listeners`, sockets besides the first, there from `start` on; and `ended`, a future that has
    the error when the node must stop by itself.
    """

    application: Application

    async def start(self) -> None:
        """Bring everything up; requests are served from here on."""

    async def stop(self) -> None:
        """Bring everything down; requests have been drained."""


@contextlib.contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process alone; raises InvalidRequest naming the holder when it is taken."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise InvalidRequest(f"data directory {data_dir} is in use by process {holder}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; raises InvalidRequest when the port is taken or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidRequest(f"cannot listen on {host}:{port}: {reason}") from None
    listener.listen(_BACKLOG)
    return listener


async def serve(node: Node, listener: socket.socket, stopping: asyncio.Event | None = None) -> None:
    """Serve until SIGTERM, SIGINT or `stopping`: refuse, drain, then stop the node.

    Raises the error that made the node stop by itself, if one did.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            closing_refused(bounded(node.application)),
            interface="asgi3",
            http=getattr(node, "http_protocol", "httptools"),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )
    loop = asyncio.get_running_loop()
    await node.start()
    ended: asyncio.Future[HaulError] = getattr(node, "ended", None) or loop.create_future()
    try:
        sockets = [listener, *getattr(node, "listeners", ())]
        serving = loop.create_task(_serve_quietly(server, sockets))
        waiting = loop.create_task(stopping.wait() if stopping is not None else asyncio.Event().wait())
        ends: set[asyncio.Future[Any]] = {serving, waiting, ended}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        server.should_exit = True
        await serving
    finally:
        await node.stop()
    if ended.done():
        raise ended.result()


async def _serve_quietly(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, stop)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment] # ours are set above
    await server.serve(sockets=sockets)


def run(node: Node, listener: socket.socket) -> None:
    """Run a node to its end on uvloop."""
    uvloop.run(serve(node, listener))


class NodeSettings(Settings):
    """What the configuration of every node has."""

    id: str
    host: str
    port: int
    data_dir: Path
    backends_file: Path | None = Field(
        None,
        description="TOML file with the ways to S3, GCS, Azure and other clusters; the same for all nodes. "
        "See `docs/sources.md`.",
    )
    secret_key_file: Path | None = Field(
        None,
        description="File with the key that credentials of jobs are kept under: 32 bytes in URL-safe base64, the same "
        "for all nodes. Without it jobs cannot carry credentials.",
    )


C = TypeVar("C", bound=NodeSettings)


def main(role: str, model: type[C], build: Callable[[C, RecentLines], Node]) -> int:
    """`python -m ROLE --config FILE`: run a node until it is told to stop; returns the process's exit code.

    With `--environment`, variables `HAUL_NODE_…` win over the file, or stand in for it.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {role}", description=f"Run one {role} of a Haul cluster.")
    parser.add_argument("--config", type=Path, help=f"TOML file with the {role}'s settings")
    parser.add_argument("--environment", action="store_true", help=f"read settings from {ENVIRONMENT_PREFIX}… as well")
    arguments = parser.parse_args()
    if not arguments.config and not arguments.environment:
        parser.error("the settings must come from somewhere: --config FILE, --environment or both")
    recent_lines = configure_logging()
    try:
        config = load_settings(model, arguments.config, os.environ if arguments.environment else None)
        with exclusive(config.data_dir), listen(config.host, config.port) as listener:
            run(build(config, recent_lines), listener)
    except HaulError as error:
        print(f"{role}: {error.message}", file=sys.stderr)  # noqa: T201 - the log may not be where the user looks
        return 1
    return 0
