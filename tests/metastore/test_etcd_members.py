"""The order in which members of an etcd are used, and how callers share a search for one."""

from __future__ import annotations

import asyncio

from common.metastore.etcd.members import Members
from common.metastore.etcd.timing import Timing

URL = "http://m1"


def test_a_caller_that_searches_again_does_not_disturb_those_that_waited_with_it() -> None:
    async def answer(url: str) -> None:
        await asyncio.sleep(0)

    async def run() -> list[str]:
        members = Members([URL], answer, Timing())

        async def twice() -> str:
            members.suspect(await members.trusted(1.0))
            return await members.trusted(1.0)

        try:
            return await asyncio.gather(twice(), *(members.trusted(1.0) for _ in range(3)))
        finally:
            await members.close()

    assert asyncio.run(run()) == [URL] * 4
