"""The TOML configuration of every node, derived from the cluster's shape; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.cluster.shape import ClusterShape, NodeShape

Value = str | int | Sequence[str]
FILE_NAME = "config.toml"
KEY_FILE = "secret.key"
BACKENDS_FILE = "backends.toml"
"""In the cluster's directory, where it is put by whoever has other services to reach."""


def path_of(directory: Path, node: NodeShape) -> Path:
    """Where a node's configuration lies; it also tells its process from all others."""
    return directory / node.id / FILE_NAME


def fields_of(shape: ClusterShape, directory: Path, node: NodeShape, *, has_backends: bool = False) -> dict[str, Value]:
    """The settings of one node; `has_backends` when there is a file that says how other services are reached."""
    common: dict[str, Value] = {
        "id": node.id,
        "host": shape.host,
        "port": node.port,
        "public_url": shape.public_url(node),
        "cluster_id": shape.cluster_id,
        "data_dir": str(directory / node.id),
        "secret_key_file": str(directory / KEY_FILE),
    }
    if has_backends:
        common["backends_file"] = str(directory / BACKENDS_FILE)
    if node.role == "proxy":
        if s3_port := shape.s3_port_of(node):
            common["s3_port"] = s3_port
        return common | {"meta_store": shape.meta_store or f"sqlite:{directory / 'meta.db'}"}
    return common | {
        "mountpaths": shape.mountpath_dirs(directory, node),
        "proxies": shape.endpoints,
        "allow_origins": shape.allow_origins,
        "durability": shape.durability,
    }


def to_toml(fields: Mapping[str, Value]) -> str:
    """A flat TOML document."""
    head = "# Written by `haul cluster up` at every start; change cluster.json instead.\n"
    return head + "".join(f"{name} = {_toml(value)}\n" for name, value in fields.items())


def _toml(value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        # JSON's string syntax is TOML's, except that TOML has no surrogate pairs and wants DEL escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return "[" + ", ".join(_toml(entry) for entry in value) + "]"
