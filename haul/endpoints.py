"""Which proxies a client speaks to: from an argument or the environment, and in which order they are tried; pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import httpx

from common.names import printable
from haul.errors import InvalidInput

VARIABLES = ("HAUL_ENDPOINT", "AIS_ENDPOINT")


class Proxies:
    """The URLs of a cluster's proxies; the one that answered last is tried first."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)
        self._preferred = 0

    def in_turn(self) -> Iterator[str]:
        """Every proxy once."""
        first = self._preferred
        for turn in range(len(self.urls)):
            yield self.urls[(first + turn) % len(self.urls)]

    def prefer(self, url: str) -> None:
        """This one has answered."""
        self._preferred = self.urls.index(url)


def find_proxies(endpoints: str | Sequence[str] | None) -> Proxies:
    """Those given, else those of HAUL_ENDPOINT or AIS_ENDPOINT; several are a list, or separated by commas.

    Raises InvalidInput when there are none, or one is no URL.
    """
    urls = proxy_urls(endpoints or next((text for name in VARIABLES if (text := os.environ.get(name))), ""))
    if not urls:
        raise InvalidInput(f"no cluster is named: give the endpoints, http://HOST:PORT, or set {VARIABLES[0]}")
    return Proxies(urls)


def proxy_urls(given: str | Sequence[str]) -> tuple[str, ...]:
    """The URLs that are meant, each once; a scheme may be left out. Raises InvalidInput when one is none."""
    texts = re.split(r"[,\s]+", given) if isinstance(given, str) else given
    return tuple(dict.fromkeys(_url(text) for text in texts if text))


def _url(text: str) -> str:
    complete = text if "://" in text else f"http://{text}"
    try:
        url = httpx.URL(complete)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidInput(f'"{printable(text)}" is no endpoint: expected http://HOST:PORT')
    return complete.rstrip("/")
