"""Calls to a cluster's public API for commands: JSON there and back, and the library's errors as those of commands.

Which proxy is asked, redirects and second attempts are the library's, `haul.exchange`. What is asked and how the answer
is shown is left to the commands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from cli import suggestions
from cli.endpoints import Endpoints
from cli.errors import CommandError, NoAnswer, ServerError
from haul import calls, errors
from haul.exchange import Call, decoded, is_redirect, json_body, location, reason_of
from haul.transports import Transport

T = TypeVar("T")
_IDEMPOTENCY_KEY = "Idempotency-Key"
_PRECONDITION_FAILED = 412


class Client:
    """A connection to the cluster; use it as a context manager. Safe for several threads."""

    def __init__(self, endpoints: Endpoints, *, timeout_seconds: float = 60.0) -> None:
        self._endpoints = endpoints
        self._transport = Transport(endpoints.urls, timeout_seconds, None, direct=False)
        self._http = self._transport.http
        self._http.headers["User-Agent"] = "haul-cli"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ServerError):
            error.hint = suggestions.for_missing_bucket(error, self._buckets)
        self._http.close()

    def _buckets(self) -> list[str]:
        return [bucket.cname for bucket in self.run(calls.buckets())]

    def run(self, call: Call[T]) -> T:
        """What the cluster answers; raises ServerError, NoAnswer, UsageError."""
        with self._errors_of_commands():
            return self._transport.run(call)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send `body` as JSON; returns the decoded answer, None when it is empty.

        Raises ServerError for an error answer, NoAnswer when no proxy answers.
        """
        response = self.ask(method, path, query=query, body=body, headers=headers)
        with self._errors_of_commands():
            return decoded(response)

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send `body` as JSON; returns the whole answer. Raises as `call` does."""
        return self.run(_call(method, path, query, body, headers))

    def text(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object) -> str:
        """Send `body` as JSON; returns the answer as it is. Raises as `call` does."""
        return self.ask(method, path, query=query, body=body).text

    def headers(self, path: str, *, query: Mapping[str, str] | None = None) -> httpx.Headers:
        """HEAD; raises ServerError, NoAnswer."""
        return self.ask("HEAD", path, query=query).headers

    def delete(self, path: str, *, query: Mapping[str, str] | None = None, etag: str = "") -> None:
        """DELETE an object, with `etag` only that one; raises ServerError, NoAnswer."""
        self.ask("DELETE", path, query=query, headers={"If-Match": etag} if etag else None)

    def put(
        self, path: str, *, query: Mapping[str, str], chunks: Iterator[bytes], headers: Mapping[str, str]
    ) -> httpx.Headers:
        """PUT an object and return the headers of the answer; raises ServerError, NoAnswer.

        The proxy is asked with an empty body where the object belongs, so the bytes travel once.
        """
        answer = self.run(Call("PUT", path, _as_it_is, query, {"Content-Length": "0"}, follows=False))
        with self._errors_of_commands():
            # A server that stores by itself has stored an empty object; the bytes follow.
            url = location(answer) if is_redirect(answer) else answer.url
            try:
                response = self._http.put(url, content=chunks, headers=dict(headers))
            except httpx.HTTPError as error:
                raise NoAnswer(f"target {_origin(url)} does not answer: {reason_of(error)}") from None
            if not response.is_success:
                raise errors.error_of(response)
            return response.headers

    @contextlib.contextmanager
    def stream(
        self, path: str, *, query: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """GET an object; the body is read by the caller. Raises ServerError, NoAnswer."""
        call = Call("GET", path, _as_it_is, query, headers or {}, streams=True)
        with self._errors_of_commands(), self._transport.streamed(call) as (response, _):
            try:
                yield response
            except httpx.HTTPError as error:
                raise NoAnswer(f"the connection to {_origin(response.url)} broke: {reason_of(error)}") from None

    def probe(self, url: str, path: str, *, query: Mapping[str, str] | None = None) -> httpx.Response | None:
        """GET from one node, whatever it answers; None when it does not."""
        try:
            return self._http.get(url + path, params=query, timeout=2.0)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None

    @contextlib.contextmanager
    def _errors_of_commands(self) -> Iterator[None]:
        try:
            yield
        except errors.ServerError as error:
            raise ServerError(str(error), status=error.status, code=error.code) from None
        except errors.Changed as error:
            raise ServerError(str(error), status=_PRECONDITION_FAILED) from None
        except errors.NoProxyAnswers as error:
            raise NoAnswer(f"{error} (endpoint from {self._endpoints.known_from})\n       {self._start()}") from None
        except errors.Unreachable as error:
            raise NoAnswer(str(error)) from None
        except errors.UnexpectedAnswer as error:
            raise CommandError(str(error)) from None

    def _start(self) -> str:
        if self._endpoints.directory:
            return f"Start it again:  haul cluster up --dir {self._endpoints.directory}"
        return "Start one on this machine:  haul cluster up"


def _call(
    method: str, path: str, query: Mapping[str, str] | None, body: object, headers: Mapping[str, str] | None
) -> Call[httpx.Response]:
    call = Call(method, path, _as_it_is, query or {}, **({} if body is None else json_body(body)))
    lines = {**call.headers, **(headers or {})}
    return replace(call, headers=lines, is_repeatable=method in ("GET", "HEAD") or _IDEMPOTENCY_KEY in lines)


def _as_it_is(response: httpx.Response) -> httpx.Response:
    return response


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"
