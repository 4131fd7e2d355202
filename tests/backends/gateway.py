"""A plain TCP relay before a service that can cut an answer short or answer 503 itself; of what is said it reads
only where a request begins.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_METHODS = b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE "


class Gateway:
    """Relays `url` to a service; misbehaves as long as it is told to."""

    def __init__(self, host: str, port: int) -> None:
        self._service = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.answers_status = 0
        """Answer every request with this status instead of relaying it."""
        self.cuts_after_bytes: int | None = None
        """Close the connection when so much of an answer has been relayed."""
        self.relays_until: int | None = None
        """Hold what clients ask after so many requests, until `let_go`."""
        self.is_holding = threading.Event()
        self._flows = threading.Event()
        self._asked = 0
        self.requests = 0
        """Connections that have been made; with a status to answer, each is one request."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Closing alone would leave the thread that waits in accept() to take one more.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def let_go(self) -> None:
        """Relay what was held, and all that follows."""
        self.relays_until = None
        self._flows.set()

    def _hold_back(self, chunk: bytes) -> None:
        # A request's body may come with its head or behind it.
        self._asked += chunk.startswith(_METHODS)
        if self.relays_until is not None and self._asked > self.relays_until:
            self.is_holding.set()
            self._flows.wait()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.requests += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.answers_status:
                client.recv(65536)
                reply = f"HTTP/1.1 {self.answers_status} Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                client.sendall(f"{reply}Connection: close\r\n\r\n".encode())
                return
            with socket.create_connection(self._service) as service:
                upward = threading.Thread(target=self._copy, args=(client, service, None, True), daemon=True)
                upward.start()
                self._copy(service, client, self.cuts_after_bytes)

    def _copy(self, source: socket.socket, sink: socket.socket, limit: int | None, is_upward: bool = False) -> None:
        left = limit
        with contextlib.suppress(OSError):
            while (chunk := source.recv(65536 if left is None else min(65536, left))) and (left is None or left > 0):
                if is_upward:
                    self._hold_back(chunk)
                sink.sendall(chunk)
                left = None if left is None else left - len(chunk)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
