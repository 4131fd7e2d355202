"""Which addresses and ports are the cluster's own, so that no download ever reaches them, by the nodes' URLs.

Numbers are told at once, names as soon as they are resolved: nothing else of a target waits for a resolver, and what
was resolved before holds while that fails. What is done with the addresses is left to `target.transfer.egress`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import structlog

from common.clustermap import Node

_TRY_AGAIN_SECONDS = 30.0
Address = tuple[str, int]
_log = structlog.get_logger("target.addresses")


class OwnAddresses:
    """Tells `deny` the addresses of all nodes, each time that they have changed."""

    def __init__(self, deny: Callable[[Iterable[Address]], None]) -> None:
        self._deny = deny
        self._found: dict[Address, frozenset[Address]] = {}
        self._names: list[Address] = []
        self._changed = asyncio.Event()

    def take(self, nodes: Iterable[Node]) -> None:
        """These are the nodes now; does not wait for a resolver."""
        places = {_place(url) for node in nodes for url in (node.url, node.public_url) if url}
        numbers = {place: _numbers(place) for place in places}
        self._names = sorted(place for place, found in numbers.items() if not found)
        self._found = {place: found or self._found.get(place, frozenset()) for place, found in numbers.items()}
        self._tell()
        self._changed.set()

    async def run(self) -> None:
        """For ever: resolve the names of new nodes, and anew those of the others, which may have moved."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not await self._resolve_names():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TRY_AGAIN_SECONDS):
                        await self._changed.wait()
                self._changed.set()

    async def _resolve_names(self) -> bool:
        """Whether all of them could be resolved; for those that could not, what was found before holds."""
        is_all = True
        for place in self._names:
            found = await _resolve(place)
            is_all = is_all and bool(found)
            if found and place in self._found:
                self._found[place] = found
                self._tell()
        return is_all

    def _tell(self) -> None:
        self._deny(frozenset().union(*self._found.values()))


def _place(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _numbers(place: Address) -> frozenset[Address]:
    """The address itself, if it is one."""
    try:
        found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return frozenset()
    return frozenset((str(address[4][0]), place[1]) for address in found)


async def _resolve(place: Address) -> frozenset[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(*place, type=socket.SOCK_STREAM)
    except OSError as error:
        _log.warning("addresses.not_resolved", host=place[0], error=error.strerror)
        return frozenset()
    return frozenset((str(address[4][0]), place[1]) for address in found)
