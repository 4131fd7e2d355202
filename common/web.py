"""What every HTTP surface of a node shares: bounded bodies, plain answers, and errors in the dialect's shape.

Plain ASGI on purpose (measured: a FastAPI FileResponse managed 640 requests/s where a plain ASGI app on the same
uvicorn managed 6,669). Routes, and what is answered on success, are left to the `api` packages.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import msgpack
import structlog

from common.errors import (
    AccessDenied,
    HaulError,
    InvalidRequest,
    MethodNotAllowed,
    RangeNotSatisfiable,
    RequestTooLarge,
    Retry,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json; charset=utf-8")
MSGPACK: Header = (b"content-type", b"application/msgpack")
RETRY_AFTER_SECONDS = 2
_TRUE = frozenset({"true", "1", "t", "y", "yes", "on"})
_CALLER_ID = b"ais-caller-id"
"""AIStore's nodes name themselves by it; from anyone else it is an attempt to pass for one (wire.md §0.1)."""
_log = structlog.get_logger("common.web")


class ClientGone(Exception):
    """The client closed the connection before its request was read."""


async def read_body(receive: Receive, limit_bytes: int) -> bytes:
    """The whole request body; raises RequestTooLarge beyond `limit_bytes`, ClientGone when it never ends."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        _check_size(len(body), limit_bytes)
        if message["type"] == "http.disconnect":
            raise ClientGone
        return body
    chunks, size_bytes = [body], len(body)
    _check_size(size_bytes, limit_bytes)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size_bytes += len(chunks[-1])
        _check_size(size_bytes, limit_bytes)
    return b"".join(chunks)


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise RequestTooLarge(f"the request body is larger than {limit_bytes} bytes")


async def unless_gone(receive: Receive, sending: Awaitable[None]) -> None:
    """Send something long; it ends early when the client closes the connection, or the bytes would just be dropped.

    Raises what `sending` raises.
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientGone

    async def send() -> None:
        await sending

    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            await send()
            watching.cancel()
    except BaseExceptionGroup as errors:
        for error in errors.exceptions:
            if not isinstance(error, ClientGone):
                raise error from None


def decode_msgpack(body: bytes) -> Any:
    """A peer's body; raises InvalidRequest when it is not msgpack."""
    try:
        return msgpack.unpackb(body, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise InvalidRequest(f"body is not msgpack: {type(error).__name__}") from None


def is_true(text: str) -> bool:
    """A boolean query parameter: everything that is not one of the spellings of true is false (wire.md §0.2)."""
    return text.lower() in _TRUE


async def answer(send: Send, status: int, body: bytes = b"", headers: Iterable[Header] = ()) -> None:
    """Send a complete answer; Content-Length is added."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, value: object, status: int = 200, headers: Iterable[Header] = ()) -> None:
    """Send a JSON answer, UTF-8, without spaces."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    await answer(send, status, body, (JSON, *headers))


async def answer_msgpack(send: Send, value: object) -> None:
    """Send a msgpack answer to a peer."""
    await answer(send, 200, msgpack.packb(value), (MSGPACK,))


async def answer_call(
    scope: Scope, receive: Receive, send: Send, limit_bytes: int, value_of: Callable[[Any], Awaitable[object]]
) -> None:
    """Answer a peer's call: its message, None without any, is given to `value_of`; raises InvalidRequest, as that does.

    A message of another form than `value_of` expects is the caller's fault.
    """
    body = await read_body(receive, limit_bytes)
    try:
        value = await value_of(decode_msgpack(body) if body else None)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"{scope['path']}: malformed message ({type(error).__name__}: {error})") from None
    await answer_msgpack(send, value)


def error_json(error: HaulError, scope: Scope, node: str) -> bytes:
    """The JSON of wire.md §0.5; `node` is the answering node as `t[id]` or `p[id]`."""
    client = scope.get("client") or ("", 0)
    fields = {
        "tcode": error.code,
        "message": error.message,
        "method": scope["method"],
        "url_path": scope["path"],
        "remote_addr": f"{client[0]}:{client[1]}",
        "caller": "",
        "node": node,
        "status": error.status,
    }
    if not error.code:
        del fields["tcode"]
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def error_headers(error: HaulError) -> list[Header]:
    """The headers that go with an error besides the body."""
    headers: list[Header] = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]
    if isinstance(error, RangeNotSatisfiable):
        headers.append((b"content-range", f"bytes */{error.size_bytes}".encode()))
    if error.status == 503 and error.retry is Retry.LATER:
        seconds = getattr(error, "retry_after_seconds", None) or RETRY_AFTER_SECONDS
        headers.append((b"retry-after", str(math.ceil(seconds)).encode()))
    return headers


async def answer_error(scope: Scope, send: Send, error: HaulError, node: str) -> None:
    """Send an error: JSON in the body, or in the header `Hdr-Error` where a HEAD has no body."""
    if isinstance(error, MethodNotAllowed):
        headers = [
            (b"allow", error.allow.encode()),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await answer(send, 405, b"" if scope["method"] == "HEAD" else b"Method Not Allowed\n", headers)
        return
    body, headers = error_json(error, scope, node), error_headers(error)
    if scope["method"] == "HEAD":
        headers.append((b"hdr-error", body.rstrip()))
        body = b""
    await answer(send, error.status, body, headers)


def guarded(application: Application, node: str) -> Application:
    """Wrap an ASGI application so that every error becomes an answer; what nobody foresaw is logged and hidden."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        started = False

        async def observe(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            if any(name == _CALLER_ID for name, _ in scope["headers"]):
                raise AccessDenied("Ais-Caller-Id is not for requests from outside the cluster")
            await application(scope, receive, observe)
        except ClientGone:
            pass
        except HaulError as error:
            if started:
                raise
            await answer_error(scope, send, error, node)
        except Exception as error:  # the last line of defence: nothing may leak into an answer
            _log.exception("request.failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            await answer_error(scope, send, HaulError(f"internal error ({type(error).__name__})"), node)

    return guard


def query_of(scope: Scope) -> dict[str, str]:
    """The query string as a dict, the last value of a name wins."""
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
