"""A misbehaving web server for tests: objects over real sockets, with faults on demand, in a thread of its own.

    from tests.faults import Cut, Status

    with Origin() as origin:
        origin.put("/a", b"data", content_type="text/plain")
        origin.misbehave("/a", Cut(2), Status(503, {"Retry-After": "1"}))   # one per request, then it behaves
        gate = origin.gate("/b")                                            # holds answers until gate.release()
        fetch(origin.url("/a"))

It answers GET and HEAD with ETag, Last-Modified, If-None-Match, If-Modified-Since, Range and If-Range, and keeps
connections. What is asked of it is in `requests`. It checks nothing: that is left to the tests.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

import uvloop
import xxhash

from tests.faults import Answer, Fault, Fine, IgnoreRange

LAST_MODIFIED = "Wed, 01 Jan 2025 00:00:00 GMT"
_LINGER_RESET = struct.pack("ii", 1, 0)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    head: bytes
    connection: int
    client: str
    """The address that it came from."""

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


@dataclass
class _Stored:
    body: bytes
    headers: dict[str, str]
    whole: bytes = b""

    def __post_init__(self) -> None:
        self.whole = Answer(200, self.headers | {"Content-Length": str(len(self.body))}, b"").head() + self.body


class Gate:
    """Holds the answers of one path; requests are logged as they arrive."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.opened = asyncio.Event()

    def release(self) -> None:
        """Let the held answers and all later ones go."""
        self._loop.call_soon_threadsafe(self.opened.set)


class Connection(asyncio.Protocol):
    """One connection of a client; requests are answered one after the other."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._buffer = b""
        self._busy: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = asyncio.Event()
        self.number = 0
        self._client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._origin.connections += 1
        self.number = self._origin.connections
        self._client = str(transport.get_extra_info("peername", ("",))[0])
        self._origin.open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self._writable.set()
        self._origin.open_connections.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next_request()

    def write(self, data: bytes) -> None:
        if not self.closed.is_set():
            self.transport.write(data)
            self._origin.bytes_sent += len(data)

    async def flush(self, data: bytes) -> None:
        """Write, and wait until the kernel has taken everything."""
        self.write(data)
        self.transport.set_write_buffer_limits(0)
        while self.transport.get_write_buffer_size() and not self.closed.is_set():
            await self._writable.wait()
            await asyncio.sleep(0)

    def end(self, *, reset: bool = False) -> None:
        if reset:
            plain = self.transport.get_extra_info("socket")
            if plain is None:  # the client was faster
                return
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self.transport.abort()
        else:
            self.transport.close()

    @property
    def is_busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._busy is not None

    def _next_request(self) -> None:
        while not self._busy:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head, self._buffer = self._buffer[: end + 2], self._buffer[end + 4 :]
            method, target, _ = head[: head.index(b"\r\n")].decode("latin-1").split(" ", 2)
            path, _, query = target.partition("?")
            request = Request(method, path, query, head, self.number, self._client)
            reply = self._origin.reply_at_once(request)
            if reply is not None:
                self.write(reply)
            else:
                self._busy = self._origin.loop.create_task(self._reply_slowly(request))

    async def _reply_slowly(self, request: Request) -> None:
        gate = self._origin.gates.get(request.path)
        if gate:
            await gate.opened.wait()
        faults = self._origin.faults.get(request.path)
        fault: Fault = self._origin.everywhere or Fine()
        if faults:
            repeats = len(faults) == 1 and request.path in self._origin.lasting
            fault = faults[0] if repeats else faults.popleft()
        answer = self._origin.answer(request, ignore_range=isinstance(fault, IgnoreRange))
        if request.method == "HEAD":
            answer.body = b""
        await fault.send(answer, self)
        self._busy = None
        if not self.transport.is_closing():
            self._next_request()


class Origin:
    """The server; a context manager. `connections` counts what was ever accepted, `bytes_sent` what went out."""

    def __init__(self, host: str = "127.0.0.1", ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl = ssl_context
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, 0))
        self._socket.listen(4096)
        self._objects: dict[str, _Stored] = {}
        self._patterns: list[tuple[str, Callable[[str], bytes | None]]] = []
        self._started = threading.Event()
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="origin", daemon=True)
        self.loop = uvloop.new_event_loop()
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self.requests: list[Request] = []
        self.connections = 0
        self.bytes_sent = 0
        self.open_connections: set[Connection] = set()
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self.lasting: set[str] = set()
        self.gates: dict[str, Gate] = {}
        self.everywhere: Fault | None = None
        """What every answer suffers that has no fault of its own."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    @property
    def base(self) -> str:
        """`http://host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._ssl else 'http'}://{host}:{self.port}"

    def url(self, path: str) -> str:
        return self.base + path

    def put(self, path: str, data: bytes, **headers: str) -> str:
        """Serve `data` at `path` and return its URL; header names are written with underscores, "" leaves one out."""
        given = {name.replace("_", "-").title(): value for name, value in headers.items()}
        defaults = {
            "Etag": f'"{xxhash.xxh64_hexdigest(data)}"',
            "Last-Modified": LAST_MODIFIED,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        merged = {name: value for name, value in (defaults | given).items() if value}
        self._objects[path] = _Stored(data, merged)
        return self.url(path)

    def remove(self, path: str) -> None:
        del self._objects[path]

    def serve_pattern(self, prefix: str, function: Callable[[str], bytes | None]) -> None:
        """Serve what `function(path)` returns for every path under `prefix`; None is a 404."""
        self._patterns.append((prefix, function))

    def misbehave(self, path: str, *faults: Fault, lasting: bool = False) -> None:
        """Use up one fault per request to `path`, then behave; with `lasting` the last one stays."""
        self.faults[path].extend(faults)
        if lasting:
            self.lasting.add(path)

    def behave(self, path: str) -> None:
        """Forget the faults of `path`."""
        self.lasting.discard(path)
        self.faults.pop(path, None)

    def forget(self) -> None:
        """Drop all objects, faults and the log of requests; counters stay."""
        self._objects.clear()
        self.faults.clear()
        self.lasting.clear()
        self.requests.clear()

    def gate(self, path: str) -> Gate:
        """Hold the answers to `path` until the gate is released."""
        gate = self.gates[path] = Gate(self.loop)
        return gate

    def count(self, path: str) -> int:
        """How many requests came for `path`."""
        return sum(request.path == path for request in list(self.requests))

    def counts(self) -> Counter[str]:
        """How many requests came for each path."""
        return Counter(request.path for request in list(self.requests))

    def wait_for_requests(self, number: int, timeout: float = 10.0, path: str | None = None) -> None:
        """Block until `number` requests have come since the start (for `path`); TimeoutError if they do not."""
        deadline = time.monotonic() + timeout
        with self._arrived:
            while (self.count(path) if path is not None else len(self.requests)) < number:
                if not self._arrived.wait(min(0.05, max(0.0, deadline - time.monotonic()))) and (
                    time.monotonic() >= deadline
                ):
                    raise TimeoutError(f"{len(self.requests)} of {number} requests came within {timeout} s")

    @property
    def busy(self) -> int:
        """How many connections have an answer on its way."""
        return sum(connection.is_busy for connection in list(self.open_connections))

    def reply_at_once(self, request: Request) -> bytes | None:
        """Log the request; the whole reply where nothing special is asked for, None where it takes more."""
        self.requests.append(request)
        stored = self._objects.get(request.path)
        if self.everywhere is not None:
            return None
        plain = b"\r\nRange:" not in request.head and b"\r\nIf-" not in request.head and request.method == "GET"
        if plain and not self.faults.get(request.path) and request.path not in self.gates:
            if stored:
                return stored.whole
            answer = self.answer(request)
            return answer.head() + answer.body
        return None

    def answer(self, request: Request, *, ignore_range: bool = False) -> Answer:
        """What a well-behaved server would say."""
        stored = self._objects.get(request.path) or self._synthetic(request.path)
        if stored is None:
            return Answer(404, {"Content-Length": "10"}, b"not found\n")
        headers = request.headers
        if _unchanged(headers, stored):
            return Answer(304, {"Etag": stored.headers.get("Etag", "")}, b"")
        asked = _RANGE.match(headers.get("range", ""))
        same = headers.get("if-range") in {None, stored.headers.get("Etag"), stored.headers.get("Last-Modified")}
        if asked and same and not ignore_range:
            return _partial(stored, asked[1], asked[2])
        return Answer(200, stored.headers | {"Content-Length": str(len(stored.body))}, stored.body)

    def _synthetic(self, path: str) -> _Stored | None:
        for prefix, function in self._patterns:
            if path.startswith(prefix):
                body = function(path)
                if body is None:
                    return None
                return _Stored(body, {"Etag": f'"{xxhash.xxh64_hexdigest(body)}"', "Last-Modified": LAST_MODIFIED})
        return None

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: Connection(self), sock=self._socket, ssl=self._ssl)
        )
        self._started.set()
        self.loop.run_forever()
        server.close()
        for connection in list(self.open_connections):
            connection.transport.abort()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def _unchanged(headers: Mapping[str, str], stored: _Stored) -> bool:
    etags = headers.get("if-none-match")
    if etags is not None:
        return etags.strip() == "*" or stored.headers.get("Etag") in [each.strip() for each in etags.split(",")]
    since = headers.get("if-modified-since")
    return since is not None and since == stored.headers.get("Last-Modified")


def _partial(stored: _Stored, first: str, last: str) -> Answer:
    size = len(stored.body)
    start = int(first) if first else max(0, size - int(last or 0))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or start > end:
        return Answer(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"}, b"")
    body = stored.body[start : end + 1]
    headers = stored.headers | {"Content-Range": f"bytes {start}-{end}/{size}", "Content-Length": str(len(body))}
    return Answer(206, headers, body)
