"""uvicorn's HTTP protocol with a short way for plain GETs of small objects: no ASGI scope, no task, one write.

Everything else, every error too, takes uvicorn's own way to the ASGI application. Which requests and objects have a
short way, and what is answered, is left to `objects`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Read = Callable[[bytes], bytes | None]
"""Gives the whole answer to a GET of this request target, or None where the ASGI application is to answer."""
_LONG_WAY = frozenset(
    {b"content-length", b"transfer-encoding", b"expect", b"upgrade"}
    | {b"range", b"if-range", b"if-match", b"if-none-match", b"ais-caller-id"}
    | {b"if-modified-since", b"if-unmodified-since"}
)
"""Header fields of requests that have a body, want something else than the whole object, or are refused."""
_TURN = 16
"""Short answers to one packet of pipelined requests; the rest takes uvicorn's way, where others get their turn."""


def fast_reads(read: Read) -> type[asyncio.Protocol]:
    """The protocol class for `uvicorn.Config`, which makes one object of it for every connection."""

    class FastReads(HttpToolsProtocol):
        """Runs on the event loop, as a callback of the parser; so it never waits."""

        _answered = False
        _left = 0

        def data_received(self, data: bytes) -> None:
            self._left = _TURN
            super().data_received(data)

        def on_headers_complete(self) -> None:
            answer = read(self.url) if self._is_plain() else None
            if answer is None:
                self._unset_keepalive_if_required()  # an answer before this one in the same packet has set it
                super().on_headers_complete()
                return
            self._answered = True
            self._left -= 1
            self.transport.write(answer)
            self.on_response_complete()

        def on_message_complete(self) -> None:
            if self._answered:
                self._answered = False
            else:
                super().on_message_complete()

        def _is_plain(self) -> bool:
            """Whether this is a GET that may be answered here and now, after the answers to all requests before it."""
            parser, cycle = self.parser, self.cycle
            return (
                parser.get_method() == b"GET"
                and (cycle is None or cycle.response_complete)
                and self._left > 0
                and not self.flow.write_paused
                and parser.should_keep_alive()
                and parser.get_http_version() == "1.1"
                and _LONG_WAY.isdisjoint(dict(self.headers))
            )

    return FastReads
