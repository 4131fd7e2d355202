"""The two ways to carry out a call: waiting for it, and on asyncio; what is said, and to whom, is left to `exchange`.

Both classes are the same but for `async`; what differs between calls is not in here.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx

from haul.calls import Page
from haul.connections import AsyncConnections, Connections
from haul.direct import TargetMap, target_map
from haul.endpoints import find_proxies
from haul.exchange import Attempt, Call, Outcome, exchange
from haul.settings import http_settings, request_of, verification

T = TypeVar("T")


class Transport:
    """Carries out calls, one after the other in each thread."""

    def __init__(
        self,
        endpoints: str | Sequence[str] | None,
        timeout_seconds: float,
        verify: ssl.SSLContext | bool | None,
        *,
        direct: bool,
    ) -> None:
        proxies = find_proxies(endpoints)
        connections = Connections(verification(proxies.urls, verify))
        self.http = httpx.Client(transport=connections, **http_settings(timeout_seconds))
        self._proxies = proxies
        self._is_direct = direct
        self._targets: TargetMap | None = None

    def items(self, call: Call[Page[T]]) -> Iterator[T]:
        """What is on a page and on all that follow."""
        following: Call[Page[T]] | None = call
        while following is not None:
            page = self.run(following)
            yield from page.items
            following = page.following

    def run(self, call: Call[T]) -> T:
        """What the cluster answers."""
        return call.read(self._send(call))

    @contextmanager
    def streamed(self, call: Call[T]) -> Iterator[tuple[httpx.Response, T]]:
        """The answer before its body has come, which the caller reads, and what its headers say."""
        response = self._send(call)
        try:
            yield response, call.read(response)
        finally:
            response.close()

    def _send(self, call: Call[Any]) -> httpx.Response:
        owner_url = self._owner_url(call)
        steps = exchange(call, self._proxies, owner_url)
        attempt = first = next(steps)
        while True:
            outcome = self._try(attempt, streams=call.streams)
            try:
                attempt = steps.send(outcome)
            except StopIteration as answered:
                if owner_url and attempt is not first:
                    self._targets = None  # it was somewhere else: the map is old
                response: httpx.Response = answered.value
                return response

    def _try(self, attempt: Attempt, *, streams: bool) -> Outcome:
        request = request_of(self.http, attempt)
        try:
            response = self.http.send(request, stream=True)
            if not (streams and response.is_success):
                response.read()
        except httpx.HTTPError as error:
            return error
        return response

    def _owner_url(self, call: Call[Any]) -> str:
        if not self._is_direct or call.place is None:
            return ""
        if self._targets is None:
            self._targets = self.run(target_map())
        return self._targets.url_of(call.place)


class AsyncTransport:
    """Carries out calls, on one event loop."""

    def __init__(
        self,
        endpoints: str | Sequence[str] | None,
        timeout_seconds: float,
        verify: ssl.SSLContext | bool | None,
        *,
        direct: bool,
    ) -> None:
        proxies = find_proxies(endpoints)
        connections = AsyncConnections(verification(proxies.urls, verify))
        self.http = httpx.AsyncClient(transport=connections, **http_settings(timeout_seconds))
        self._proxies = proxies
        self._is_direct = direct
        self._targets: TargetMap | None = None

    async def items(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        following: Call[Page[T]] | None = call
        while following is not None:
            page = await self.run(following)
            for item in page.items:
                yield item
            following = page.following

    async def run(self, call: Call[T]) -> T:
        return call.read(await self._send(call))

    @asynccontextmanager
    async def streamed(self, call: Call[T]) -> AsyncIterator[tuple[httpx.Response, T]]:
        response = await self._send(call)
        try:
            yield response, call.read(response)
        finally:
            await response.aclose()

    async def _send(self, call: Call[Any]) -> httpx.Response:
        owner_url = await self._owner_url(call)
        steps = exchange(call, self._proxies, owner_url)
        attempt = first = next(steps)
        while True:
            outcome = await self._try(attempt, streams=call.streams)
            try:
                attempt = steps.send(outcome)
            except StopIteration as answered:
                if owner_url and attempt is not first:
                    self._targets = None  # it was somewhere else: the map is old
                response: httpx.Response = answered.value
                return response

    async def _try(self, attempt: Attempt, *, streams: bool) -> Outcome:
        request = request_of(self.http, attempt)
        try:
            response = await self.http.send(request, stream=True)
            if not (streams and response.is_success):
                await response.aread()
        except httpx.HTTPError as error:
            return error
        return response

    async def _owner_url(self, call: Call[Any]) -> str:
        if not self._is_direct or call.place is None:
            return ""
        if self._targets is None:
            self._targets = await self.run(target_map())
        return self._targets.url_of(call.place)
