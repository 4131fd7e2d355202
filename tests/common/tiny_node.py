"""A node of one file, run as a process: `python -m tests.common.tiny_node DATA_DIR PORT`.

It tells on standard output what happens to it. `/slow` is answered when a line arrives on standard input.
"""

import asyncio
import sys
from pathlib import Path

from common import logs, node
from common.errors import HaulError
from common.web import Receive, Scope, Send, answer, guarded


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class TinyNode:
    def __init__(self) -> None:
        self.application = guarded(self._serve, "t[tiny]")

    async def start(self) -> None:
        _say("started")

    async def stop(self) -> None:
        _say("stopped")

    async def _serve(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            _say("serving")
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            _say("answering")
        await answer(send, 200, b"done")


def main() -> int:
    logs.configure_logging()
    try:
        with node.exclusive(Path(sys.argv[1])):
            listener = node.listen("127.0.0.1", int(sys.argv[2]))
            _say(str(listener.getsockname()[1]))
            node.run(TinyNode(), listener)
    except HaulError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
