"""What `tests.origin` can be told to do wrong, one class for each way; when it does so is left to the origin."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

_REASONS = {200: "OK", 206: "Partial Content", 304: "Not Modified", 404: "Not Found", 416: "Range Not Satisfiable"}


class Line(Protocol):
    """The connection to the client."""

    closed: asyncio.Event

    def write(self, data: bytes) -> None: ...

    async def flush(self, data: bytes) -> None: ...

    def end(self, *, reset: bool = False) -> None: ...


@dataclass
class Answer:
    """What a well-behaved server would send; faults change it before it goes out."""

    status: int
    headers: dict[str, str]
    body: bytes

    def head(self) -> bytes:
        lines = "".join(f"{name}: {each}\r\n" for name, value in self.headers.items() for each in value.split("\n"))
        return f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Status')}\r\n{lines}\r\n".encode("latin-1")


class Fault:
    """One way to misbehave; it sends the answer in its own manner."""

    async def send(self, answer: Answer, connection: Line) -> None:
        connection.write(answer.head() + answer.body)


@dataclass
class Fine(Fault):
    """No fault: in a sequence of faults, a request that is answered well."""


@dataclass
class Cut(Fault):
    """The connection ends after this many bytes of the body: by FIN, or by RST with `reset`."""

    after_bytes: int
    reset: bool = False

    async def send(self, answer: Answer, connection: Line) -> None:
        await connection.flush(answer.head() + answer.body[: self.after_bytes])
        connection.end(reset=self.reset)


@dataclass
class Stall(Fault):
    """Nothing more comes after this many bytes of the body; the connection stays open."""

    after_bytes: int

    async def send(self, answer: Answer, connection: Line) -> None:
        connection.write(answer.head() + answer.body[: self.after_bytes])
        await connection.closed.wait()


@dataclass
class Silent(Fault):
    """The request is read and never answered."""

    async def send(self, answer: Answer, connection: Line) -> None:
        await connection.closed.wait()


@dataclass
class HangUp(Fault):
    """The connection ends without an answer: by FIN, or by RST with `reset`."""

    reset: bool = False

    async def send(self, answer: Answer, connection: Line) -> None:
        connection.end(reset=self.reset)


@dataclass
class Status(Fault):
    """Another status, with more headers and a body of its own."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"no\n"

    async def send(self, answer: Answer, connection: Line) -> None:
        empty = self.status in {204, 304} or self.status < 200
        headers = {} if empty else {"Content-Length": str(len(self.body))}
        connection.write(Answer(self.status, {**headers, **self.headers}, b"" if empty else self.body).head())
        if not empty:
            connection.write(self.body)


@dataclass
class Redirect(Fault):
    """To another place, as it is written here: absolute or relative."""

    to: str
    status: int = 302
    body: bytes = b"elsewhere\n"

    async def send(self, answer: Answer, connection: Line) -> None:
        await Status(self.status, {"Location": self.to}, self.body).send(answer, connection)


@dataclass
class ContentLength(Fault):
    """Another Content-Length than the truth: any text, several lines with a newline between them, or None for none.

    The connection ends after the body.
    """

    value: str | None

    async def send(self, answer: Answer, connection: Line) -> None:
        answer.headers.pop("Content-Length", None)
        if self.value is not None:
            answer.headers["Content-Length"] = self.value
        await connection.flush(answer.head() + answer.body)
        connection.end()


@dataclass
class Chunked(Fault):
    """Transfer-Encoding: chunked, if need be beside a length; with `cut` the connection ends before the last chunk."""

    chunk_bytes: int = 1000
    cut: bool = False
    content_length: str | None = None

    async def send(self, answer: Answer, connection: Line) -> None:
        answer.headers.pop("Content-Length", None)
        if self.content_length is not None:
            answer.headers["Content-Length"] = self.content_length
        answer.headers["Transfer-Encoding"] = "chunked"
        connection.write(answer.head())
        for start in range(0, len(answer.body), self.chunk_bytes):
            chunk = answer.body[start : start + self.chunk_bytes]
            connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if self.cut:
            await connection.flush(b"")
            connection.end()
        else:
            connection.write(b"0\r\n\r\n")


@dataclass
class IgnoreRange(Fault):
    """The whole object with 200, whatever range was asked for."""


@dataclass
class LyingRange(Fault):
    """206, with other bytes than were asked for, and a Content-Range that says so; a plain request is answered well."""

    shift_bytes: int

    async def send(self, answer: Answer, connection: Line) -> None:
        if answer.status == 206:
            first, last, size = map(int, re.findall(r"\d+", answer.headers["Content-Range"]))
            answer.headers["Content-Range"] = f"bytes {first + self.shift_bytes}-{last + self.shift_bytes}/{size}"
        await super().send(answer, connection)


@dataclass
class Drip(Fault):
    """The body comes in small pieces with pauses between them."""

    piece_bytes: int
    interval_seconds: float

    async def send(self, answer: Answer, connection: Line) -> None:
        connection.write(answer.head())
        for start in range(0, len(answer.body), self.piece_bytes):
            if connection.closed.is_set():
                return
            connection.write(answer.body[start : start + self.piece_bytes])
            await asyncio.sleep(self.interval_seconds)


@dataclass
class DripHead(Fault):
    """Header lines without end, with pauses between them."""

    interval_seconds: float

    async def send(self, answer: Answer, connection: Line) -> None:
        connection.write(b"HTTP/1.1 200 OK\r\n")
        while not connection.closed.is_set():
            connection.write(b"X-More: 1\r\n")
            await asyncio.sleep(self.interval_seconds)


@dataclass
class Endless(Fault):
    """A body that never ends and has no length."""

    async def send(self, answer: Answer, connection: Line) -> None:
        answer.headers.pop("Content-Length", None)
        connection.write(answer.head())
        while not connection.closed.is_set():
            await connection.flush(bytes(65536))
            await asyncio.sleep(0)  # a flush need not wait, and then nobody would hear that the client has gone


@dataclass
class Delay(Fault):
    """A pause before an answer without fault."""

    seconds: float

    async def send(self, answer: Answer, connection: Line) -> None:
        await asyncio.sleep(self.seconds)
        connection.write(answer.head() + answer.body)


@dataclass
class HugeHeaders(Fault):
    """Headers of this many bytes: in one line, or with `lines` in many."""

    size_bytes: int
    lines: int = 1

    async def send(self, answer: Answer, connection: Line) -> None:
        each = self.size_bytes // self.lines
        answer.headers |= {f"X-Huge-{number}": "x" * each for number in range(self.lines)}
        connection.write(answer.head() + answer.body)


@dataclass
class Garbage(Fault):
    """These bytes instead of an answer, then the end of the connection."""

    data: bytes = b"\x00\xff no HTTP at all \r\n\r\n"

    async def send(self, answer: Answer, connection: Line) -> None:
        await connection.flush(self.data)
        connection.end()


@dataclass
class Informational(Fault):
    """A 103 before the answer."""

    async def send(self, answer: Answer, connection: Line) -> None:
        connection.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer.head() + answer.body)


@dataclass
class CloseAfter(Fault):
    """An answer without fault and `Connection: close`."""

    async def send(self, answer: Answer, connection: Line) -> None:
        answer.headers["Connection"] = "close"
        await connection.flush(answer.head() + answer.body)
        connection.end()
