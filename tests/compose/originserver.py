"""The origin of the tests on containers: objects made up from their paths, held back on request. Standard library only.

It runs in a container of Haul's own image, from this file's text; the tests import `body_of` to know what must arrive.

    /SIZE-LABEL/NAME              an object of SIZE bytes, with ETag, ranges and If-Range
    POST /hold/LABEL?after=N      from now on only N more answers for that label
    POST /release/LABEL           let the held ones and all others go
    GET  /counts/LABEL            {"answered": …, "waiting": …}
"""

import json
import random
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = 8000
_OBJECT = re.compile(r"/(\d+)-([a-z]+)/[\w.-]+\Z")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")


def body_of(path: str) -> bytes:
    """The object at a path; raises ValueError when there is none."""
    match = _OBJECT.match(path)
    if not match:
        raise ValueError(path)
    return random.Random(path).randbytes(int(match[1]))


class Gates:
    """How many answers each label may still have."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._left: dict[str, int] = {}
        self._waiting: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()

    def hold(self, label: str, after: int) -> None:
        with self._changed:
            self._left[label] = after

    def release(self, label: str) -> None:
        with self._changed:
            self._left.pop(label, None)
            self._changed.notify_all()

    def counts(self, label: str) -> dict[str, int]:
        with self._changed:
            return {"answered": self._answered[label], "waiting": self._waiting[label]}

    def pass_through(self, label: str) -> None:
        with self._changed:
            self._waiting[label] += 1
            self._changed.wait_for(lambda: self._left.get(label, 1) > 0)
            self._waiting[label] -= 1
            self._answered[label] += 1
            if label in self._left:
                self._left[label] -= 1


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    gates = Gates()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith("/counts/"):
            self._answer(200, json.dumps(self.gates.counts(parts.path.split("/")[2])).encode())
            return
        try:
            body = body_of(parts.path)
        except ValueError:
            self._answer(404, b"")
            return
        self.gates.pass_through(_OBJECT.match(parts.path)[2])  # type: ignore[index] # body_of has looked
        headers = {"ETag": f'"{random.Random(parts.path).getrandbits(64):x}"', "Accept-Ranges": "bytes"}
        asked = _RANGE.match(self.headers.get("Range", ""))
        if asked and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            begin, end = int(asked[1]), min(int(asked[2] or len(body) - 1), len(body) - 1)
            headers["Content-Range"] = f"bytes {begin}-{end}/{len(body)}"
            self._answer(206, body[begin : end + 1], headers)
        else:
            self._answer(200, body, headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        _, what, label = parts.path.split("/")
        if what == "hold":
            self.gates.hold(label, int(parse_qs(parts.query)["after"][0]))
        else:
            self.gates.release(label)
        self._answer(200, b"")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A thread for each connection; broken ones are nobody's concern."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *arguments: object) -> None:
        """Clients may go whenever they like."""


if __name__ == "__main__":
    Server(("0.0.0.0", PORT), Handler).serve_forever()
