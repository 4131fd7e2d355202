"""Ends a connection whose client waits for the permission to send a body, and is answered without it.

What follows on such a connection may be that body or another request (RFC 9110 §10.1.1); boto3 sends the request, and
uvicorn would take it for the body. What is answered is left to the application.
"""

from __future__ import annotations

from collections.abc import Awaitable

from common.web import Application, Message, Receive, Scope, Send

_EXPECT = (b"expect", b"100-continue")
_CLOSE = (b"connection", b"close")


def closing_refused(application: Application) -> Application:
    """The same application, whose refusals of bodies that were announced with `Expect: 100-continue` say `close`."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if not any(name == _EXPECT[0] and value.lower() == _EXPECT[1] for name, value in scope["headers"]):
            return application(scope, receive, send)
        return _serve_waiting(application, scope, receive, send)

    return serve


async def _serve_waiting(application: Application, scope: Scope, receive: Receive, send: Send) -> None:
    is_permitted = False

    async def permit() -> Message:
        nonlocal is_permitted
        is_permitted = True  # uvicorn sends the permission with the first call
        return await receive()

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start" and not is_permitted:
            message = {**message, "headers": [*message["headers"], _CLOSE]}
        await send(message)

    await application(scope, permit, answer)
