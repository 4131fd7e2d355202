"""The cluster map as a client has it, to read objects from their targets without asking a proxy first; pure.

A target that owns the object no more passes the read on, or does not have it; then the proxies are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import httpx

from common.placement import choose, digest
from haul.errors import UnexpectedAnswer
from haul.exchange import Call, decoded
from haul.places import Place

_LEAVING = 4 | 8
"""The flags of a target on which nothing new is placed: in maintenance, or to be decommissioned."""


class TargetMap:
    """The targets of a cluster, and which of them owns an object."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        ordered = sorted(urls.items())
        self._urls = [url for _, url in ordered]
        self._digests = [digest(target) for target, _ in ordered]

    def url_of(self, place: Place) -> str:
        """Where the object is read; empty if there are no targets."""
        if not self._urls:
            return ""
        return self._urls[choose(digest(place.bucket.uname + place.name), self._digests)]

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> Self:
        """Read an Smap; raises KeyError, TypeError, ValueError when it is none."""
        nodes = fields["tmap"].values()
        return cls(
            {
                str(node["daemon_id"]): str(node["public_net"]["direct_url"])
                for node in nodes
                if not int(node.get("flags") or 0) & _LEAVING
            }
        )


def target_map() -> Call[TargetMap]:
    """Ask for it."""
    return Call("GET", "/v1/cluster", _read, {"what": "smap"})


def _read(response: httpx.Response) -> TargetMap:
    try:
        return TargetMap.from_wire(decoded(response))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UnexpectedAnswer(f"{response.url} answered with something that is no cluster map") from None
