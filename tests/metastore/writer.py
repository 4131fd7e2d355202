"""A process beside the test that uses the same file: `writer.py pairs|increments FILE NAME COUNT`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from common.metastore.base import Put
from common.metastore.embedded import EmbeddedStore
from tests.metastore.scenario import increment


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def write_pairs(store: EmbeddedStore, name: str, count: int) -> None:
    """Prints what is acknowledged, as soon as it is."""

    async def write(worker: int) -> None:
        for step in range(count):
            value = f"{name}.{worker}.{step}"
            done = await store.transaction((), [Put(f"a/{value}", value.encode()), Put(f"b/{value}", value.encode())])
            say(f"{done.revision} {value}")

    await asyncio.gather(*(write(worker) for worker in range(3)))


async def main(mode: str, path: str, name: str, count: str) -> None:
    store = EmbeddedStore(Path(path))
    await store.start()
    say("ready")
    if mode == "pairs":
        await write_pairs(store, name, int(count))
    else:
        for _ in range(int(count)):
            await increment(store, name)
    await store.close()


asyncio.run(main(*sys.argv[1:]))
