"""How long a node waits for clients that do nothing: for the next bytes of a body, and for them to take an answer.

A body that stops coming is refused with 408 and its connection closed, whatever was to become of it; so nothing is held
for a client that has gone without a word. An answer whose bytes nobody takes is broken off only where it holds
something that others wait for: a reader of a plain object may rest. What holds something is left to the `api` packages.
"""

from __future__ import annotations

import asyncio

from common.errors import RequestTimeout
from common.web import Application, ClientGone, Message, Receive, Scope, Send

BODY_SECONDS = 180.0
"""Within which the next bytes of a body must come."""
TAKING_SECONDS = 60.0
"""Within which a client must take the bytes that are waiting for it, where others wait for the end of its answer."""
_CLOSE = (b"connection", b"close")


def bounded(application: Application) -> Application:
    """The same application, to whom a body that stops coming for `BODY_SECONDS` is a RequestTimeout of `receive`.

    Only until the answer begins: whoever answers first may go on to wait for the client's end.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        awaits_body, is_late = True, False

        async def receive_in_time() -> Message:
            nonlocal awaits_body, is_late
            if not awaits_body:
                return await receive()
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    message = await receive()
            except TimeoutError:
                is_late = True
                raise RequestTimeout(f"no more of the request's body has come for {BODY_SECONDS:g} seconds") from None
            awaits_body = awaits_body and message.get("more_body", False)
            return message

        async def send_last(message: Message) -> None:
            nonlocal awaits_body
            if message["type"] == "http.response.start":
                awaits_body = False
                if is_late:
                    message = {**message, "headers": [*message["headers"], _CLOSE]}
            await send(message)

        await application(scope, receive_in_time, send_last)

    return serve


def while_taken(send: Send) -> Send:
    """The same `send`, which raises ClientGone when what was sent is not taken within `TAKING_SECONDS`."""

    async def send_in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(TAKING_SECONDS):
                await send(message)
        except TimeoutError:
            raise ClientGone from None

    return send_in_time
