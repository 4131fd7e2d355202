"""How both clients use httpx: requests, time limits and certificates. Connections are left to `haul.connections`."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import httpx

from haul.exchange import Attempt

TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
"""How long a cluster may be silent while a job is followed: a restart of its only proxy takes less."""
_CONNECT_SECONDS = 5.0


def verification(urls: Sequence[str], verify: ssl.SSLContext | bool | None) -> ssl.SSLContext | bool:
    """How certificates are checked, made once for all connections.

    A cluster on plain http gets no certificate authorities, because loading them takes longer than most calls; a
    redirect from it to https fails.
    """
    if verify is None:
        verify = any(url.startswith("https:") for url in urls)
        return httpx.create_ssl_context() if verify else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.create_ssl_context(verify)


def http_settings(timeout_seconds: float) -> dict[str, Any]:
    """The arguments of httpx.Client and httpx.AsyncClient besides the transport."""
    return {
        "timeout": httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
        # Environment proxies are for the internet; a cluster is usually next door, and 127.0.0.1 for most.
        "trust_env": False,
        "follow_redirects": False,
        "headers": {"User-Agent": "haul-python", "Accept-Encoding": "identity"},
    }


def request_of(client: httpx.Client | httpx.AsyncClient, attempt: Attempt) -> httpx.Request:
    """What is sent to one node."""
    seconds = attempt.timeout_seconds
    timeout = client.timeout if seconds is None else httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
    return client.build_request(
        attempt.method, attempt.url, headers=attempt.headers, content=attempt.body, timeout=timeout
    )
