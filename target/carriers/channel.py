"""Messages between two processes over a connected Unix socket; waiting for it is left to whoever owns it.

Never blocks: what the other side is not ready for is kept and sent later, so a carrier whose disk hangs cannot hold its
lane up. msgpack frames itself, so there is no length in front of a message.
"""

from __future__ import annotations

import socket
from typing import Any

import msgpack

_READ_BYTES = 1 << 18
_MAX_BUFFER_BYTES = 1 << 28


class Channel:
    """One end; used by one thread."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._packer = msgpack.Packer(autoreset=True)
        self._unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=_MAX_BUFFER_BYTES)
        self._unsent = bytearray()
        self.ended = False
        """The other side says no more: it has closed, or died."""

    def fileno(self) -> int:
        return self._connection.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` is to be called when the socket can be written."""
        return bool(self._unsent)

    def send(self, *message: object) -> None:
        """Queue a message; `flush` sends it."""
        self._unsent += self._packer.pack(message)

    def flush(self) -> None:
        """Send what the other side takes now; what goes to one that has died is forgotten."""
        while self._unsent:
            try:
                sent = self._connection.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self._unsent.clear()
                return
            del self._unsent[:sent]

    def receive(self) -> list[tuple[Any, ...]]:
        """All messages that are there; sets `ended` after the last one."""
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return list(self._unpacker)
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return []
        self._unpacker.feed(data)
        return list(self._unpacker)

    def first(self) -> tuple[Any, ...]:
        """Wait for one message; the rest stays for `receive`. Raises EOFError or OSError when the other side ends."""
        self._connection.setblocking(True)
        while data := self._connection.recv(_READ_BYTES):
            self._unpacker.feed(data)
            for message in self._unpacker:
                self._connection.setblocking(False)
                return tuple(message)
        raise EOFError

    def end(self) -> None:
        """Say that nothing more will be sent."""
        self.flush()
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def drain(self, timeout_seconds: float) -> None:
        """Send everything, waiting for the other side; forgets it when that takes too long. For the very end."""
        self._connection.settimeout(timeout_seconds)
        try:
            self._connection.sendall(self._unsent)
        except OSError:
            return
        finally:
            self._unsent.clear()

    def close(self) -> None:
        self._connection.close()
