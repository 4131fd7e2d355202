"""The token that proves to etcd who Haul is; one for all members, fetched when it is needed and when it has expired."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from common.metastore.etcd.failures import NotSent, Unanswered
from common.metastore.etcd.gateway import Gateway
from common.metastore.etcd.wire import authenticate_request


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of etcd; the gateway knows no other proof, client certificates only guard the connection."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"<Credentials of {self.user}>"


class Login:
    """The token in use; without credentials there is none."""

    def __init__(self, gateway: Gateway, credentials: Credentials | None) -> None:
        self._gateway = gateway
        self._credentials = credentials
        self._token = ""
        self._fetching = asyncio.Lock()

    async def token(self, url: str, timeout_seconds: float) -> str:
        """The token, fetched from a member if need be, by one caller for all; raises NotSent, Refused."""
        if self._credentials is None or self._token:
            return self._token
        async with self._fetching:
            if not self._token:
                request = authenticate_request(self._credentials.user, self._credentials.password)
                path = "/v3/auth/authenticate"
                try:
                    answer = await self._gateway.call(url, path, request, token="", timeout_seconds=timeout_seconds)
                except Unanswered as error:
                    raise NotSent(f"no token: {error}") from None
                self._token = str(answer.get("token", ""))
                if not self._token:
                    raise NotSent(f"{url} has given no token")
        return self._token

    def forget(self, token: str) -> None:
        """The token is not accepted any more."""
        if self._token == token:
            self._token = ""
