"""huggingface_hub as this process uses it: every request has a deadline, and nobody sleeps in the library.

Left alone it waits for an answer for ever, and where it is told to slow down it sleeps, six times for up to five
minutes, on the thread that asked. Here a request that is refused ends what is being listed, with the time to wait;
whether to wait is left to `huggingface`. Only what is asked inside `asking` is treated so.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from common.backends.base import OriginUnavailable
from common.clock import monotonic
from common.ratelimits import WAIT_CAP_SECONDS, exhausted_seconds

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
_HICCUP_SECONDS = 1.0


@dataclass(slots=True)
class _Asking:
    """One listing: when it must have ended, and how long the Hub wants no more requests after the last answer."""

    deadline: float
    hold_seconds: float | None = None


_asking: ContextVar[_Asking | None] = ContextVar("asking", default=None)


@contextmanager
def asking(deadline: float) -> Iterator[_Asking]:
    """What this thread asks the Hub inside must be answered by then.

    What is asked raises OriginUnavailable when it is too late, when the Hub is overloaded, and when by its own word it
    would refuse more.
    """
    state = _Asking(deadline)
    token = _asking.set(state)
    try:
        yield state
    finally:
        _asking.reset(token)


@functools.cache
def library() -> ModuleType:
    """huggingface_hub; raises ImportError where it is not installed."""
    import huggingface_hub  # noqa: PLC0415 - an extra

    client = huggingface_hub.get_session()
    kind, hooks = type(client), client.event_hooks
    ours = {"request": _before_request, "response": _after_answer}
    hooks = {event: [*hooks.get(event, ()), hook] for event, hook in ours.items()}
    # One client for the whole process is how the library is made; it makes another when a connection has failed.
    huggingface_hub.set_client_factory(lambda: kind(event_hooks=hooks, follow_redirects=True, timeout=None))
    return huggingface_hub


def _before_request(request: Any) -> None:
    """Called by the client on the thread that asks."""
    state = _asking.get()
    if state is None:
        return
    left = state.deadline - monotonic()
    if left <= 0:
        raise OriginUnavailable("the Hub is too slow")
    if state.hold_seconds is not None:
        raise OriginUnavailable("the Hub allows no more requests for now", state.hold_seconds)
    answer = min(ANSWER_SECONDS, left)
    connect = min(CONNECT_SECONDS, left)
    request.extensions["timeout"] = {"connect": connect, "pool": connect, "read": answer, "write": answer}


def _after_answer(response: Any) -> None:
    """Called by the client when the head of an answer is there."""
    state = _asking.get()
    if state is None:
        return
    headers, status = response.headers, response.status_code
    state.hold_seconds = exhausted_seconds(headers.get("ratelimit", ""), headers.get("ratelimit-policy", ""))
    if status == 429 or status >= 500:
        told = headers.get("retry-after", "").strip()
        wait = state.hold_seconds if not told.isdecimal() else min(float(told), WAIT_CAP_SECONDS)
        raise OriginUnavailable(f"the Hub answers {status}", _HICCUP_SECONDS if wait is None else wait)
