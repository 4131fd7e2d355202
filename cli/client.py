"""Calls to a cluster's public API: finds a proxy that answers, follows redirects, turns error answers into errors.

What is asked and how the answer is shown is left to the commands.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from cli import state, suggestions, uris
from cli.errors import CommandError, NoAnswer, ServerError, UsageError
from common.names import printable

ENDPOINT_VARIABLE = "HAUL_ENDPOINT"
_IDEMPOTENCY_KEY = "Idempotency-Key"
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Endpoints:
    """The proxies to try in turn, and in words where they are known from."""

    def __init__(self, urls: Sequence[str], known_from: str, directory: str = "") -> None:
        self.urls = tuple(urls)
        self.known_from = known_from
        self.directory = directory


def find_endpoints(given: str | None) -> Endpoints:
    """`--endpoint`, else HAUL_ENDPOINT, else the cluster started last; raises CommandError when none is known."""
    if given:
        return Endpoints([_url(given)], "--endpoint")
    if url := endpoint_from_environment():
        return Endpoints([url], ENDPOINT_VARIABLE)
    if last := state.load():
        return Endpoints(last.endpoints, "the cluster started last", last.directory)
    raise CommandError(
        "no cluster is known. Start one on this machine:  haul cluster up\n"
        f"       or say where one is:  --endpoint URL  or the environment variable {ENDPOINT_VARIABLE}"
    )


def endpoint_from_environment() -> str:
    """The URL in HAUL_ENDPOINT; empty when there is none."""
    text = os.environ.get(ENDPOINT_VARIABLE)
    return _url(text) if text else ""


def _url(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise UsageError(f'"{printable(text)}" is no endpoint: expected http://HOST:PORT')
    return url.rstrip("/")


def verification(urls: Sequence[str]) -> ssl.SSLContext | bool:
    """How certificates are checked: fully where an https URL is among them.

    Loading the authorities takes longer than most commands; a cluster on plain http gets none, and a redirect from it
    to https fails.
    """
    return any(url.startswith("https:") for url in urls) or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Client:
    """A connection to the cluster; use it as a context manager. Safe for several threads."""

    def __init__(self, endpoints: Endpoints, *, timeout_seconds: float = 60.0) -> None:
        self._endpoints = endpoints
        self._preferred = 0
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout_seconds, connect=min(5.0, timeout_seconds)),
            # Environment proxies are for the internet; a cluster is usually next door, and 127.0.0.1 for most.
            trust_env=False,
            verify=verification(endpoints.urls),
            follow_redirects=False,
            headers={"User-Agent": "haul-cli"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ServerError):
            error.hint = suggestions.for_missing_bucket(error, self._buckets)
        self._http.close()

    def _buckets(self) -> list[str]:
        answer = self.call("GET", "/v1/buckets", body={"action": "list"}) or []
        return [uris.from_wire(fields).cname for fields in answer]

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
        response = self._to_a_proxy(method, path, query=query, body=body, headers=headers)
        if not response.content:
            return None
        try:
            return json.loads(response.content)
        except ValueError:
            raise CommandError(f"{response.url} answered with something that is not JSON; is it a cluster?") from None

    def text(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object) -> str:
        """Send `body` as JSON; returns the answer as it is. Raises as `call` does."""
        return self._to_a_proxy(method, path, query=query, body=body).text

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send `body` as JSON; returns the whole answer, redirects followed. Raises as `call` does."""
        return self._to_a_proxy(method, path, query=query, body=body, headers=headers)

    def headers(self, path: str, *, query: Mapping[str, str] | None = None) -> httpx.Headers:
        """HEAD, redirects followed; raises ServerError, NoAnswer."""
        response = self._to_a_proxy("HEAD", path, query=query)
        return response.headers

    def delete(self, path: str, *, query: Mapping[str, str] | None = None, etag: str = "") -> None:
        """DELETE an object, with `etag` only that one, redirects followed; raises ServerError, NoAnswer."""
        self._to_a_proxy("DELETE", path, query=query, headers={"If-Match": etag} if etag else None)

    def put(
        self, path: str, *, query: Mapping[str, str], chunks: Iterator[bytes], headers: Mapping[str, str]
    ) -> httpx.Headers:
        """PUT an object and return the headers of the answer; raises ServerError, NoAnswer.

        The proxy is asked with an empty body where the object belongs, so the bytes travel once.
        """
        request = self._build("PUT", path, query=query, headers={"Content-Length": "0"})
        answer = self._send_to_a_proxy(request)
        if answer.status_code in _REDIRECTS:
            url = self._redirect_url(answer)
        else:
            _check(answer)
            url = answer.url  # a server that stores by itself: what it stored is empty, the bytes follow
        response = self._transfer(self._http.build_request("PUT", url, content=chunks, headers=headers))
        response.read()
        return _check(response).headers

    @contextlib.contextmanager
    def stream(
        self, path: str, *, query: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """GET an object; the body is read by the caller. Raises ServerError, NoAnswer."""
        response = self._send_to_a_proxy(self._build("GET", path, query=query, headers=headers), stream=True)
        for _ in range(_MAX_REDIRECTS):
            if response.status_code not in _REDIRECTS:
                break
            response.close()
            url = self._redirect_url(response)
            response = self._transfer(self._http.build_request("GET", url, headers=dict(headers or {})), stream=True)
        try:
            if response.status_code >= 300:
                response.read()
                _check(response)
            yield response
        except httpx.HTTPError as error:
            raise NoAnswer(f"the connection to {_origin(response.url)} broke: {_reason(error)}") from None
        finally:
            response.close()

    def probe(self, url: str, path: str, *, query: Mapping[str, str] | None = None) -> httpx.Response | None:
        """GET from one node, whatever it answers; None when it does not."""
        try:
            return self._http.get(url + path, params=query, timeout=2.0)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None

    def _to_a_proxy(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        request = self._build(method, path, query=query, body=body, headers=headers)
        content = request.content or None
        response = self._send_to_a_proxy(request)
        for _ in range(_MAX_REDIRECTS):
            if response.status_code not in _REDIRECTS:
                break
            kind = {"Content-Type": "application/json"}
            again = self._http.build_request(
                method, self._redirect_url(response), content=content, headers=kind | dict(headers or {})
            )
            response = self._transfer(again)
        return _check(response)

    def _build(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> httpx.Request:
        content = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        url = self._endpoints.urls[self._preferred] + path
        return self._http.build_request(
            method, url, params=dict(query) if query else None, content=content, headers=kind | dict(headers or {})
        )

    def _send_to_a_proxy(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Try the proxies in turn, the one that answered last first.

        A refused connection moves on, a missing answer only where the request may be sent twice.
        """
        may_repeat = request.method in ("GET", "HEAD") or _IDEMPOTENCY_KEY in request.headers
        urls, target, reason = self._endpoints.urls, request.url, ""
        for turn in range(len(urls)):
            index = (self._preferred + turn) % len(urls)
            proxy = httpx.URL(urls[index])
            request.url = target.copy_with(scheme=proxy.scheme, host=proxy.host, port=proxy.port)
            request.headers["Host"] = request.url.netloc.decode()
            try:
                response = self._http.send(request, stream=stream)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                reason = _reason(error)
            except httpx.HTTPError as error:
                reason = _reason(error)
                if not (may_repeat and turn + 1 < len(urls)):
                    raise NoAnswer(f"{_origin(request.url)} did not finish its answer: {reason}") from None
            else:
                self._preferred = index
                return response
        raise NoAnswer(self._nobody(reason))

    def _transfer(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        try:
            return self._http.send(request, stream=stream)
        except httpx.HTTPError as error:
            raise NoAnswer(f"target {_origin(request.url)} does not answer: {_reason(error)}") from None

    def _redirect_url(self, response: httpx.Response) -> httpx.URL:
        try:
            return response.url.join(response.headers["location"])
        except (KeyError, httpx.InvalidURL):
            raise CommandError(f"{_origin(response.url)} redirects to nowhere; is it a cluster?") from None

    def _nobody(self, reason: str) -> str:
        where = " or ".join(self._endpoints.urls)
        text = f"no cluster answers at {where} (from {self._endpoints.known_from}): {reason}"
        if self._endpoints.directory:
            return f"{text}\n       Start it again:  haul cluster up --dir {self._endpoints.directory}"
        return f"{text}\n       Start one on this machine:  haul cluster up"


def _check(response: httpx.Response) -> httpx.Response:
    """The response, unless it is an error answer."""
    if response.is_success:
        return response
    text = response.headers.get("Hdr-Error") or response.content
    try:
        fields = json.loads(text)
        message, code = str(fields["message"]), str(fields.get("tcode", ""))
    except (ValueError, KeyError, TypeError):
        message, code = f"{_origin(response.url)} answered {response.status_code} {response.reason_phrase}", ""
    raise ServerError(printable(message, 4096), status=response.status_code, code=code)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _reason(error: httpx.HTTPError) -> str:
    text = str(error) or type(error).__name__
    return "connection refused" if "Connection refused" in text or "Errno 111" in text else text
