"""Whose a data directory is, and how often a node was started on it: what tells a restart from a copy.

The cluster remembers the latest start of every node and refuses earlier ones; that is left to `proxy.membership`.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from common.errors import InvalidRequest
from common.names import printable

FILE_NAME = "node.json"
_RUN_BITS = 20


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's data directory: `data_id` is unique for ever, `starts` counts the processes that have run on it."""

    node: str
    cluster: str
    data_id: str
    starts: int

    def incarnation(self) -> int:
        """Names one run of the node: it grows with every start, and two copies of a directory never give the same."""
        return self.starts << _RUN_BITS | secrets.randbits(_RUN_BITS)


def start_of(incarnation: int) -> int:
    """The number of the start that an incarnation belongs to."""
    return incarnation >> _RUN_BITS


def take(data_dir: Path, node_id: str, cluster_id: str) -> Identity:
    """Count a start on a data directory, durably; a new directory becomes this node's.

    Raises InvalidRequest when it is another node's or another cluster's, or cannot be read.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / FILE_NAME
    known = _read(path)
    if known is None:
        taken = Identity(node_id, cluster_id, secrets.token_hex(8), 1)
    else:
        for what, found, wanted in (("node", known.node, node_id), ("cluster", known.cluster, cluster_id)):
            if found != wanted:
                raise InvalidRequest(
                    f"data directory {data_dir} belongs to {what} {printable(found)}, not to {wanted}: "
                    "give each node its own directory back"
                )
        taken = Identity(node_id, cluster_id, known.data_id, known.starts + 1)
    write_durably(path, json.dumps(asdict(taken)))
    return taken


def _read(path: Path) -> Identity | None:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return Identity(str(plain["node"]), str(plain["cluster"]), str(plain["data_id"]), int(plain["starts"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{path} cannot be read ({type(error).__name__}): whose directory is this?") from None


def write_durably(path: Path, text: str) -> None:
    """Replace a small file in one step that survives a loss of power."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
