"""Which proxy a target asks: the one that answered last, and others beside it for as long as it is silent.

What is asked is such that several proxies may do it at once, and once more. What an answer, or none, means for the
target is left to `membership`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from common.errors import HaulError, Unavailable
from common.lifecycle import TaskScope
from common.nodeclient import NodeClient, NotListening, RemoteError

_CALL_SECONDS = 4.0
"""More than a proxy waits for its store: that the store is away is an answer, too."""


class StoreAway(RemoteError):
    """Every proxy that runs has answered, and none of them reaches the meta store."""


class Proxies:
    """The cluster's proxies, as a target knows them.

    `patience_seconds` is for how long one may be silent before the next is asked, too. So much for each proxy but one,
    and the time between two reports, should be less than a lease lasts: else hung proxies cost a target its own.
    """

    def __init__(self, urls: Sequence[str], client: NodeClient, scope: TaskScope, patience_seconds: float) -> None:
        self._urls = list(urls)
        self._client = client
        self._scope = scope
        self._patience_seconds = patience_seconds

    def __repr__(self) -> str:
        return f"<Proxies {self._urls}>"

    async def ask(self, path: str, body: object) -> Any:
        """The first proxy's answer, or the last error: RemoteError of one that has answered, or else PeerError.

        It is StoreAway only when no proxy was silent; one that refuses the connection is not there. Calls whose answers
        are not waited for any more come to their end by themselves: one that is cancelled while it connects would leave
        its connection to the garbage collector.
        """
        last: HaulError = Unavailable("no proxy is configured")
        is_silence = False
        left = list(self._urls)
        asked: dict[asyncio.Task[Any], str] = {}
        while left or asked:
            if left:
                url = left.pop(0)
                asked[self._scope.start(f"ask {url}", self._outcome(url, path, body))] = url
            seconds = self._patience_seconds if left else None
            ended, _ = await asyncio.wait(asked, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                url, outcome = asked.pop(task), task.result()
                if not isinstance(outcome, HaulError):
                    self._prefer(url)
                    return outcome
                if isinstance(outcome, RemoteError):
                    if outcome.status != Unavailable.status:
                        raise outcome
                    last = outcome
                else:
                    is_silence = is_silence or not isinstance(outcome, NotListening)
                    last = last if isinstance(last, RemoteError) else outcome
        if isinstance(last, RemoteError) and not is_silence:
            raise StoreAway(last.message, status=last.status, code=last.code)
        raise last

    async def _outcome(self, url: str, path: str, body: object) -> Any:
        try:
            return await self._client.call(url, path, body, timeout_seconds=_CALL_SECONDS)
        except HaulError as error:
            return error

    def _prefer(self, url: str) -> None:
        self._urls.remove(url)
        self._urls.insert(0, url)
