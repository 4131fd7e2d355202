"""An origin that answers every GET with the same bytes after a fixed delay: a far server without the distance.

Run as `python -m bench.delay_origin PORT BODY_BYTES DELAY_SECONDS`. It does no more per request than it must, so that
the clients are measured and not this.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import cast

import uvloop

_END = b"\r\n\r\n"


class DelayProtocol(asyncio.Protocol):
    """One kept connection; requests may be pipelined and are answered in order, because all wait equally long."""

    def __init__(self, answer: bytes, delay_seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self._answer = answer
        self._head = answer[: answer.index(_END) + len(_END)]
        self._delay_seconds = delay_seconds
        self._loop = loop
        self._pending = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        *requests, self._pending = (self._pending + data).split(_END)
        for request in requests:
            answer = self._head if request.startswith(b"HEAD") else self._answer
            if self._delay_seconds:
                self._loop.call_later(self._delay_seconds, self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)


async def serve(port: int, body_bytes: int, delay_seconds: float) -> None:
    """Listen until the process is ended."""
    loop = asyncio.get_running_loop()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Length: {body_bytes}\r\nContent-Type: application/octet-stream\r\n"
        'ETag: "bench"\r\nAccept-Ranges: none'
    )
    answer = head.encode() + _END + os.urandom(body_bytes)
    server = await loop.create_server(
        lambda: DelayProtocol(answer, delay_seconds, loop), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
