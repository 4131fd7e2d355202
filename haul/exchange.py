"""One call as a conversation: which proxy is asked, where it redirects to, when another is tried; without a socket.

`exchange` says what to send and is told what came of it, so that it is the same for both kinds of client; sending is
left to `haul.transports`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import httpx

from haul.endpoints import Proxies
from haul.errors import NoProxyAnswers, UnexpectedAnswer, Unreachable, error_of
from haul.places import Place

T = TypeVar("T")
Outcome = httpx.Response | httpx.HTTPError
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOST_PLACE = frozenset({404, 409})
"""What a target answers that has an object no more; the proxies know who has."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """What is asked of the cluster, and how the answer is read.

    `is_repeatable`: asked twice is the same as once. `streams`: `read` looks at the headers only, the body follows.
    `follows`: a redirect is not the answer. `place` is the object that is read, if it may be read from its target
    without asking a proxy. `timeout_seconds` is how long the node may be silent, None: as long as the client says.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_repeatable: bool = True
    streams: bool = False
    follows: bool = True
    place: Place | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to one node."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    body: bytes
    timeout_seconds: float | None = None


def json_body(fields: object) -> dict[str, Any]:
    """The arguments of a Call that sends JSON."""
    return {"body": json.dumps(fields).encode(), "headers": {"Content-Type": "application/json"}}


def decoded(response: httpx.Response) -> Any:
    """The JSON of an answer, None without any; raises UnexpectedAnswer."""
    try:
        return json.loads(response.content) if response.content else None
    except ValueError:
        raise UnexpectedAnswer(f"{response.url} answered with something that is not JSON; is it a cluster?") from None


def nothing(_: httpx.Response) -> None:
    """Reads an answer that says nothing."""


def exchange(call: Call[Any], proxies: Proxies, owner_url: str = "") -> Generator[Attempt, Outcome, httpx.Response]:
    """Yields what to send, is sent what came of it, and returns the answer.

    The target at `owner_url` is asked first, if there is one. A connection that was refused moves on to the next proxy,
    one that broke only where the call is repeatable. Raises ServerError, Changed, Unreachable, UnexpectedAnswer.
    """
    reason = target = ""
    if owner_url:
        outcome = yield _attempt(call, owner_url)
        if isinstance(outcome, httpx.Response) and outcome.status_code not in _LOST_PLACE:
            return _checked(outcome)
    for base in proxies.in_turn():
        outcome, asked = yield from _ask(call, base)
        if isinstance(outcome, httpx.Response):
            proxies.prefer(base)
            return _checked(outcome) if call.follows or not is_redirect(outcome) else outcome
        reason = reason_of(outcome)
        if asked != base:
            target = f"target {asked}, to which {base} redirects, does not answer: {reason}"
        if not (call.is_repeatable or isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)):
            raise Unreachable(f"{asked} did not finish its answer, and may have done it: {reason}")
    if target:
        raise Unreachable(target)
    raise NoProxyAnswers(f"no cluster answers at {' or '.join(proxies.urls)}: {reason}")


def is_redirect(response: httpx.Response) -> bool:
    """Whether the answer is that somebody else should be asked."""
    return response.status_code in _REDIRECTS


def location(response: httpx.Response) -> httpx.URL:
    """Whom a redirect names; raises UnexpectedAnswer."""
    try:
        return response.url.join(response.headers["location"])
    except (KeyError, httpx.InvalidURL):
        raise UnexpectedAnswer(f"{response.url} redirects to nowhere; is it a cluster?") from None


def reason_of(error: httpx.HTTPError) -> str:
    """What happened to a connection, in words."""
    text = str(error) or type(error).__name__
    return "connection refused" if "Connection refused" in text or "Errno 111" in text else text


def broken(error: httpx.HTTPError, place: Place) -> Unreachable:
    """The error for a connection that broke while an object was on its way."""
    return Unreachable(f"{place.uri}: the connection to its target broke: {reason_of(error)}")


def _ask(call: Call[Any], base: str) -> Generator[Attempt, Outcome, tuple[Outcome, str]]:
    """What came of asking a proxy, and whom it came from in the end."""
    asked = base
    attempt = _attempt(call, base)
    for _ in range(_MAX_REDIRECTS + 1):
        outcome = yield attempt
        if isinstance(outcome, httpx.HTTPError) or not is_redirect(outcome) or not call.follows:
            return outcome, asked
        attempt = replace(attempt, url=location(outcome))
        asked = f"{attempt.url.scheme}://{attempt.url.netloc.decode()}"
    raise UnexpectedAnswer(f"{base} redirects without an end; is it a cluster?")


def _attempt(call: Call[Any], base: str) -> Attempt:
    url = httpx.URL(base + call.path, params=dict(call.query) or None)
    return Attempt(call.method, url, call.headers, call.body, call.timeout_seconds)


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    raise error_of(response)
