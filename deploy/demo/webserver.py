"""A small web server for the demo: files below one directory, kept connections, byte ranges, validators.

Large files are sent no faster than `--rate`, as a server far away would, so that there is progress to see.
"""

from __future__ import annotations

import argparse
import re
import time
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

_CHUNK_BYTES = 256 * 1024
_SLOWED_FROM_BYTES = 4 * 1024 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")


class Files(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and small bodies leave in one packet
    timeout = 120

    def __init__(self, *arguments: object, root: Path, bytes_per_second: int) -> None:
        self._root = root
        self._bytes_per_second = bytes_per_second
        super().__init__(*arguments)  # type: ignore[arg-type] # what socketserver passes on

    def do_GET(self) -> None:
        """Send a file, or a part of it."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Send only the headers."""
        self._answer(with_body=False)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name for it
        """Say nothing: thousands of lines would help nobody."""

    def _answer(self, *, with_body: bool) -> None:
        path = (self._root / unquote(self.path.partition("?")[0]).lstrip("/")).resolve()
        if not path.is_relative_to(self._root) or not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with path.open("rb") as file:
            facts = path.stat()
            begin, end = self._part(facts.st_size)
            self.send_response(200 if (begin, end) == (0, facts.st_size) else 206)
            if (begin, end) != (0, facts.st_size):
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{facts.st_size}")
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(end - begin))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"')
            self.send_header("Last-Modified", formatdate(facts.st_mtime, usegmt=True))
            self.end_headers()
            if with_body:
                file.seek(begin)
                self._send(file, end - begin)

    def _part(self, size_bytes: int) -> tuple[int, int]:
        """Begin and end (exclusive) of what is asked for; the whole file when that makes no sense."""
        match = _RANGE.match(self.headers.get("Range", ""))
        if not match or int(match[1]) >= size_bytes:
            return 0, size_bytes
        return int(match[1]), min(int(match[2]) + 1 if match[2] else size_bytes, size_bytes)

    def _send(self, file: BinaryIO, size_bytes: int) -> None:
        slowed = self._bytes_per_second and size_bytes >= _SLOWED_FROM_BYTES
        began, sent = time.monotonic(), 0
        while sent < size_bytes:
            chunk = file.read(min(_CHUNK_BYTES, size_bytes - sent))
            if not chunk:
                break
            self.wfile.write(chunk)
            sent += len(chunk)
            if slowed:
                time.sleep(max(0.0, sent / self._bytes_per_second - (time.monotonic() - began)))


class Server(ThreadingHTTPServer):
    """One thread per connection; broken connections are nobody's concern."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may go whenever they like."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="Serve the demo's files.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=int, default=0, help="bytes per second for large files; 0 is as fast as can be")
    arguments = parser.parse_args()
    handler = partial(Files, root=arguments.root.resolve(), bytes_per_second=arguments.rate)
    Server(("127.0.0.1", arguments.port), handler).serve_forever()


if __name__ == "__main__":
    main()
