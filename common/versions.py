"""Records that a newer version of Haul has written: what this one does not know of them is ignored, but not lost; pure.

Nodes of two versions run side by side while a cluster is updated. Whoever reads a record, changes it and writes it
again keeps the fields that it does not know, in a field of its own, `unknown`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import field
from typing import Any


def unknown_fields() -> Any:
    """The dataclass field for them: neither compared, which nobody could who does not know them, nor shown."""
    return field(default_factory=dict, repr=False, compare=False)


def known_of(fields: Container[str], plain: Mapping[str, Any]) -> dict[str, Any]:
    """What a message or record has that there is a field for."""
    return {name: value for name, value in plain.items() if name in fields}


def unknown_of(fields: Container[str], plain: Mapping[str, Any]) -> dict[str, Any]:
    """What a message or record has that there is no field for."""
    return {name: value for name, value in plain.items() if name not in fields}


def with_unknown(plain: dict[str, Any]) -> dict[str, Any]:
    """What `asdict` gives of a record as it is sent and written: what is not known is among its fields again."""
    unknown: dict[str, Any] = plain.pop("unknown")
    return unknown | plain
