"""A cluster of real processes, to be killed; and the oracle that says whether anything was lost."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from xxhash import xxh64_hexdigest

from cli.cluster import service
from cli.cluster.shape import Wanted
from tests.cluster import Api
from tests.origin import Origin
from tests.ports import free_port


class Processes:
    """`haul cluster up` in a directory; everything is stopped at the end."""

    def __init__(self, directory: Path, *, targets: int, mountpaths: int, proxies: int = 1) -> None:
        self.directory = directory
        self._wanted = Wanted(
            targets=targets,
            mountpaths=mountpaths,
            proxies=proxies,
            port=free_port(),
            allow_origins=("127.0.0.0/8",),
        )
        self.api: Api

    def __enter__(self) -> Self:
        self.up()
        self.api = Api(next(node.url for node in service.status(self.directory) if node.role == "proxy"))
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        service.down(self.directory)

    def up(self, failpoints: str = "") -> None:
        """Start what is not running; `failpoints` arm the processes that this starts."""
        if failpoints:
            os.environ["HAUL_FAILPOINTS"] = failpoints
        try:
            service.up(self.directory, self._wanted)
        finally:
            os.environ.pop("HAUL_FAILPOINTS", None)

    def running(self, role: str = "") -> dict[str, int]:
        """Process ids of the nodes that run, by node id."""
        return {
            node.id: node.pid
            for node in service.status(self.directory)
            if node.pid is not None and role in ("", node.role)
        }

    def proxy_urls(self) -> dict[str, str]:
        """URLs of all proxies, by node id."""
        return {node.id: node.url for node in service.status(self.directory) if node.role == "proxy"}

    def kill(self, node_id: str) -> None:
        os.kill(self.running()[node_id], signal.SIGKILL)

    def work_files(self) -> list[Path]:
        return list(self.directory.glob("t*/mp*/@ais/*/%wk/*"))


def check_objects(processes: Processes, bucket: str, expected: Sequence[tuple[str, bytes]]) -> None:
    """Every object is listed once, whole, with the checksum of the right bytes; nothing else is there, no litter."""
    entries = processes.api.list(bucket, props="name,size,checksum")
    assert [(entry["name"], entry.get("size", "0"), entry["checksum"]) for entry in entries] == [
        (name, str(len(data)), xxh64_hexdigest(data)) for name, data in expected
    ]
    assert processes.work_files() == []


@contextlib.contextmanager
def pattern_origin(body: bytes, host: str = "127.0.0.1") -> Iterator[Origin]:
    """An origin whose objects below `/o/` are their own path followed by `body`."""
    with Origin(host) as origin:
        origin.serve_pattern("/o/", lambda path: path.encode() + body)
        yield origin
