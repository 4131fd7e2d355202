"""An HTTP relay before a service that notes what is asked of it, and can be told to answer 503 itself."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


class Recorder:
    """`with Recorder(host, port) as recorder`: `url` leads to the service, `seen` has (method, path)."""

    def __init__(self, host: str, port: int) -> None:
        self.seen: list[tuple[str, str]] = []
        self.is_busy = False
        """Answer every request with 503."""
        self.opened = threading.Event()
        """While it is not set, bodies of objects are held back."""
        self.opened.set()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _relay(self) -> None:
                path = self.path.partition("?")[0]
                recorder.seen.append((self.command, path))
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if recorder.is_busy:
                    self._answer(503, [("Retry-After", "0")], b"")
                    return
                if self.command == "GET" and path.count("/") > 1:
                    recorder.opened.wait(30)
                service = http.client.HTTPConnection(host, port, timeout=30)
                try:
                    service.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = service.getresponse()
                    content = answer.read()
                    told = [
                        (name, value) for name, value in answer.getheaders() if name.lower() not in _OF_A_CONNECTION
                    ]
                    length = answer.getheader("content-length") if self.command == "HEAD" else None
                    self._answer(answer.status, told, content, length)
                finally:
                    service.close()

            def _answer(
                self, status: int, headers: list[tuple[str, str]], content: bytes, length: str | None = None
            ) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _relay  # noqa: N815 - as the library wants them

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()
        self._server.shutdown()
        self._server.server_close()

    def fetches(self, bucket: str, name: str) -> int:
        """How often an object's bytes were asked for."""
        return self.seen.count(("GET", f"/{bucket}/{name}"))
