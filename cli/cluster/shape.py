"""The shape of a cluster on one machine: which nodes, which ports, where their data lies; one JSON file records it.

Pure but for `load` and `save`. Starting the nodes is left to `cli.cluster.service`.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from cli.errors import CommandError, UsageError
from cli.state import write_atomically
from common.metastore.etcd.address import is_etcd, member_urls
from common.names import printable

FILE_NAME = "cluster.json"
FORMAT = 1
DURABILITIES = ("power-loss", "process")
_MAX_NODES = 64


@dataclass(frozen=True, slots=True)
class NodeShape:
    """One node: its id, `proxy` or `target`, and the port it listens on."""

    id: str
    role: str
    port: int


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """What `haul cluster up` decided once; everything else follows from it.

    `public_host` is the address that clients are sent to, which differs from `host` when that is a wildcard.
    `meta_store` is empty where the cluster's state is in a file beside the nodes. `s3_port` is where the first proxy
    speaks S3 alone, the others on the ports that follow; 0 for nowhere.
    """

    cluster_id: str
    host: str
    public_host: str
    mountpaths: int
    durability: str
    allow_origins: tuple[str, ...]
    nodes: tuple[NodeShape, ...]
    meta_store: str = ""
    s3_port: int = 0

    @property
    def proxies(self) -> tuple[NodeShape, ...]:
        return tuple(node for node in self.nodes if node.role == "proxy")

    @property
    def targets(self) -> tuple[NodeShape, ...]:
        return tuple(node for node in self.nodes if node.role == "target")

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The public URLs of the proxies."""
        return tuple(self.public_url(node) for node in self.proxies)

    @property
    def s3_endpoints(self) -> tuple[str, ...]:
        """Where S3 is spoken: below the proxies' public URLs, and alone."""
        alone = (self._url(self.s3_port_of(node)) for node in self.proxies if self.s3_port)
        return (*(f"{url}/s3" for url in self.endpoints), *alone)

    def public_url(self, node: NodeShape) -> str:
        """Where clients reach the node."""
        return self._url(node.port)

    def _url(self, port: int) -> str:
        host = f"[{self.public_host}]" if ":" in self.public_host else self.public_host
        return f"http://{host}:{port}"

    def s3_port_of(self, node: NodeShape) -> int:
        """Where a proxy speaks S3 alone; 0 for nowhere."""
        return self.s3_port + self.proxies.index(node) if self.s3_port and node.role == "proxy" else 0

    def mountpath_dirs(self, directory: Path, node: NodeShape) -> list[str]:
        """The mountpaths of a target, absolute; a proxy has none."""
        if node.role == "proxy":
            return []
        return [str(directory / node.id / f"mp{number}") for number in range(1, self.mountpaths + 1)]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` gives; raises CommandError with the reason."""
        try:
            plain = json.loads(text)
        except json.JSONDecodeError as error:
            raise CommandError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
        if isinstance(plain, dict):
            plain.setdefault("meta_store", "")
            plain.setdefault("s3_port", 0)
        if problem := _problem(plain, [field.name for field in fields(cls)]):
            raise CommandError(problem)
        del plain["format"]
        plain["nodes"] = tuple(NodeShape(**node) for node in plain["nodes"])
        plain["allow_origins"] = tuple(plain["allow_origins"])
        return cls(**plain)


def _problem(plain: Any, names: Sequence[str]) -> str:
    """What is wrong with a recorded shape, whose fields but `format` have these names; empty when nothing is."""
    if not isinstance(plain, dict):
        return "it is no JSON object"
    if plain.get("format", FORMAT) != FORMAT:
        return "it was written by another version of haul"
    if missing := [name for name in ("format", *names) if name not in plain]:
        return f'"{missing[0]}" is missing'
    if unknown := sorted(plain.keys() - {"format", *names}):
        return f'"{printable(unknown[0])}" is not known'
    return _problem_of_values(plain) or _problem_of_nodes(plain["nodes"])


def _problem_of_values(plain: dict[str, Any]) -> str:
    for name in ("cluster_id", "host", "public_host", "durability", "meta_store"):
        if not isinstance(plain[name], str):
            return f'"{name}" must be a text'
    for name in ("mountpaths", "s3_port"):
        if type(plain[name]) is not int:
            return f'"{name}" must be a number'
    origins = plain["allow_origins"]
    if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
        return '"allow_origins" must be a list of texts'
    return ""


def _problem_of_nodes(nodes: Any) -> str:
    expected = {field.name for field in fields(NodeShape)}
    if not isinstance(nodes, list) or not all(isinstance(node, dict) and node.keys() == expected for node in nodes):
        return '"nodes" must be a list of objects with "id", "role" and "port"'
    for node in nodes:
        if not isinstance(node["id"], str) or node["role"] not in {"proxy", "target"}:
            return 'every node must have a text as its "id" and "proxy" or "target" as its "role"'
        if type(node["port"]) is not int or not 1 <= node["port"] <= 65535:
            return f'"port" of {printable(node["id"])} must be 1 to 65535'
    if {node["role"] for node in nodes} != {"proxy", "target"}:
        return "there must be at least one proxy and one target"
    return ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The shape as asked for on the command line; None where nothing was said."""

    targets: int | None = None
    mountpaths: int | None = None
    proxies: int | None = None
    port: int | None = None
    host: str | None = None
    durability: str | None = None
    allow_origins: tuple[str, ...] | None = None
    meta_store: str | None = None
    s3_port: int | None = None


DEFAULTS = Wanted(targets=3, mountpaths=4, proxies=1, port=8080, host="127.0.0.1", durability="power-loss")


def check(wanted: Wanted) -> None:
    """Raise UsageError for what cannot be."""
    for option, number in (("targets", wanted.targets), ("mountpaths", wanted.mountpaths), ("proxies", wanted.proxies)):
        if number is not None and not 1 <= number <= _MAX_NODES:
            raise UsageError(f"--{option} must be 1 to {_MAX_NODES}")
    if wanted.port is not None and not 1 <= wanted.port <= 65535:
        raise UsageError("--port must be 1 to 65535")
    if wanted.s3_port is not None and not 1 <= wanted.s3_port <= 65535:
        raise UsageError("--s3-port must be 1 to 65535")
    if wanted.durability is not None and wanted.durability not in DURABILITIES:
        raise UsageError(f"--durability must be one of: {', '.join(DURABILITIES)}")
    if wanted.meta_store is not None:
        _check_meta_store(wanted.meta_store)
    for origin in wanted.allow_origins or ():
        try:
            ipaddress.ip_network(origin)
        except ValueError as error:
            raise UsageError(f"--allow-origin: {printable(str(error))} (expected e.g. 10.0.0.0/8)") from None


def _check_meta_store(name: str) -> None:
    try:
        if not is_etcd(name):
            raise ValueError("expecting etcd://HOST:PORT,HOST:PORT,…")
        member_urls(name)
    except ValueError as error:
        raise UsageError(f"--meta-store: {printable(str(error))}") from None


def node_ids(proxies: int, targets: int) -> list[tuple[str, str]]:
    """Ids and roles: p1, p2, … and t1, t2, …"""
    return [(f"p{n}", "proxy") for n in range(1, proxies + 1)] + [(f"t{n}", "target") for n in range(1, targets + 1)]


def differences(shape: ClusterShape, wanted: Wanted) -> list[str]:
    """What was asked for and is recorded otherwise, in words."""
    recorded: Sequence[tuple[str, object, object]] = (
        ("--targets", wanted.targets, len(shape.targets)),
        ("--mountpaths", wanted.mountpaths, shape.mountpaths),
        ("--proxies", wanted.proxies, len(shape.proxies)),
        ("--port", wanted.port, shape.proxies[0].port),
        ("--host", wanted.host, shape.host),
        ("--durability", wanted.durability, shape.durability),
        ("--allow-origin", wanted.allow_origins, shape.allow_origins),
        ("--meta-store", wanted.meta_store, shape.meta_store),
        ("--s3-port", wanted.s3_port, shape.s3_port or ""),
    )

    def spelled(value: object) -> str:
        return (", ".join(value) if isinstance(value, tuple) else str(value)) or "none"

    return [
        f"{option} {spelled(asked)} (it has {spelled(has)})"
        for option, asked, has in recorded
        if asked is not None and asked != has
    ]


def load(directory: Path) -> ClusterShape | None:
    """The shape recorded in a directory; None when there is none. Raises CommandError when it cannot be read."""
    path = directory / FILE_NAME
    try:
        return ClusterShape.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {path}: {error}") from None
    except CommandError as error:
        raise CommandError(
            f"cannot use {path}: {error}\n"
            "       Correct the file, or put a copy back; the data of the nodes is not touched.\n"
            "       For a new cluster choose another --dir."
        ) from None


def save(directory: Path, shape: ClusterShape) -> None:
    """Record the shape, in one step and readable by the owner only."""
    write_atomically(directory / FILE_NAME, shape.to_json())
