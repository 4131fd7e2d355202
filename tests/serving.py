"""One ASGI application on a real socket, on a thread of its own, with the server settings that nodes run with."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import uvloop

from common import node
from common.web import Application


class _Bare:
    """A node that is nothing but its application."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


@contextlib.contextmanager
def serving(application: Application) -> Iterator[str]:
    """The base URL (`http://127.0.0.1:PORT`); the socket listens before the body runs, so nobody has to wait."""
    listener = node.listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    loop, stopping = uvloop.new_event_loop(), asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(node.serve(_Bare(application), listener, stopping))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    thread = threading.Thread(target=run, name=f"serving {url}")
    thread.start()
    try:
        yield url
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed when serving failed, which the thread reports
            loop.call_soon_threadsafe(stopping.set)
        thread.join()
