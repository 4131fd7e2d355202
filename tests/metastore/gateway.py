"""A stand-in for a member of etcd on a real socket that lies, stalls and cuts as a test wants it to."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

Message = dict[str, Any]
Step = Message | bytes | Callable[[], Awaitable[None]]
"""What a watch does next: a message, bytes as they are, or whatever has to be waited for."""


def text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def encoded(plain: str) -> str:
    return base64.b64encode(plain.encode()).decode()


@dataclass
class State:
    """What an etcd knows; several members may share it."""

    cluster_id: int = 7
    revision: int = 1
    raft_term: int = 2
    keys: dict[str, Message] = field(default_factory=dict)

    def put(self, key: str, value: str) -> Message:
        """Changes a key; the event."""
        self.revision += 1
        plain = {
            "key": encoded(key),
            "value": encoded(value),
            "create_revision": str(self.revision),
            "mod_revision": str(self.revision),
        }
        self.keys[key] = plain
        return {"kv": plain}

    def header(self) -> Message:
        return {
            "cluster_id": str(self.cluster_id),
            "member_id": "1",
            "revision": str(self.revision),
            "raft_term": str(self.raft_term),
        }


class Member:
    """`async with Member(state) as member`: answers what it is asked, unless `before` or `after` prevent it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.requests: Counter[str] = Counter()
        self.watches: list[Message] = []
        self.scripts: list[Sequence[Step]] = []
        """One for each watch in turn; the last step is held for ever unless it cuts. Without one a watch is silent."""
        self.before: Callable[[str], Awaitable[None]] | None = None
        """Called with the path before anything is done."""
        self.after: Callable[[str], Awaitable[None]] | None = None
        """Called with the path when it is done, before it is answered."""
        self.drip_seconds = 0.0
        """When it is above 0, answers come byte by byte."""
        self.garbage = b""
        """Comes instead of every answer."""
        self.url = ""
        self.is_watched = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Nothing listens any more, and all connections are cut."""
        self._server.close()
        for task in list(self._answering):
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            while await self._turn(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, Cut):
            pass
        finally:
            self._answering.discard(task)
            writer.transport.abort()

    async def _turn(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
        request = json.loads(await reader.readexactly(length))
        self.requests[path] += 1
        if self.before is not None:
            await self.before(path)
        if path == "/v3/watch":
            self.watches.append(request["create_request"])
            self.is_watched.set()
            await self._watch(writer)
            return False
        status, answer = self._answer(path, request)
        if self.after is not None:
            await self.after(path)
        body = self.garbage or json.dumps({"header": self.state.header()} | answer).encode()
        data = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
        for start in range(0, len(data), 1 if self.drip_seconds else len(data)):
            writer.write(data[start : start + 1] if self.drip_seconds else data)
            await writer.drain()
            await asyncio.sleep(self.drip_seconds)
        return True

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        script: Sequence[Step] = self.scripts.pop(0) if self.scripts else ()
        for step in ({"created": True}, *script):
            if callable(step):
                await step()
                continue
            data = step
            if isinstance(step, dict):
                data = json.dumps({"result": {"header": self.state.header(), **step}}).encode() + b"\n"
            assert isinstance(data, bytes)
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
        await asyncio.Event().wait()

    def _answer(self, path: str, request: Message) -> tuple[int, Message]:
        if path == "/v3/kv/range":
            return 200, self._range(request)
        if path == "/v3/kv/txn":
            return 200, self._transaction(request)
        if path == "/v3/lease/grant":
            return 200, {"ID": "5", "TTL": str(request["TTL"])}
        return 200, {}

    def _range(self, request: Message) -> Message:
        first = text(request["key"])
        end = text(request["range_end"]) if "range_end" in request else None
        found = [
            plain
            for key, plain in sorted(self.state.keys.items())
            if (key == first if end is None else first <= key < end)
        ]
        if request.get("sort_target") == "MOD":
            found.sort(key=lambda plain: -int(plain["mod_revision"]))
        limit = int(request.get("limit", 0)) or len(found)
        return {"kvs": found[:limit], "count": str(len(found)), "more": len(found) > limit}

    def _transaction(self, request: Message) -> Message:
        for compare in request["compare"]:
            plain = self.state.keys.get(text(compare["key"]), {})
            if any(int(plain.get(name, 0)) != int(compare[name]) for name in compare if name.endswith("_revision")):
                found = [self._range(operation["request_range"]) for operation in request["failure"]]
                return {"responses": [{"response_range": each} for each in found]}
        for operation in request["success"]:
            put = operation["request_put"]
            self.state.put(text(put["key"]), text(put["value"]))
        return {"succeeded": True}


class Cut(Exception):
    """Ends the connection that it is raised for."""


async def cut() -> None:
    raise Cut


async def never() -> None:
    await asyncio.Event().wait()


def only_for(path: str, act: Callable[[], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
    """An `act` for the calls of one path."""

    async def act_on(called: str) -> None:
        if called == path:
            await act()

    return act_on


@asynccontextmanager
async def members(count: int = 3, state: State | None = None) -> AsyncIterator[list[Member]]:
    """Members that know the same."""
    shared = state or State()
    started = [Member(shared) for _ in range(count)]
    try:
        for member in started:
            await member.__aenter__()
        yield started
    finally:
        for member in started:
            await member.stop()
