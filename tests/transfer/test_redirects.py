"""Where redirects may lead, and what is sent along."""

from __future__ import annotations

import ssl

import pytest

from common.errors import Retry
from target.transfer.engine import Engine
from target.transfer.redirects import next_hop, wire_url
from target.transfer.request import FetchError, FetchRequest
from tests.faults import Redirect, Status
from tests.origin import Origin
from tests.transfer.driving import failure, receipt

RESOLVED = [
    ("http://h/a/b?q=1", "c", "http://h/a/c"),
    ("http://h/a/b?q=1", "/c?x=2#f", "http://h/c?x=2"),
    ("http://h/a/b", "../../../c", "http://h/c"),
    ("http://h/a/b", "?x=1", "http://h/a/b?x=1"),
    ("http://h/a/b", "//other/c", "http://other/c"),
    ("http://h/a", "https://h/b", "https://h/b"),
    ("https://h/a", "https://h:444/b", "https://h:444/b"),
    ("http://h/a", " /with space ", "http://h/with%20space"),
    ("http://h/a", "http://u:p@h/b", "http://h/b"),
    ("http://u:p@h/a", "/b", "http://u:p@h/b"),
    ("http://u:p@h/a", "http://H:80/b", "http://u:p@H:80/b"),
    ("http://u:p@h/a", "http://x:y@h/b", "http://u:p@h/b"),
    ("http://u:p@h/a", "http://h:8080/b", "http://h:8080/b"),
    ("http://u:p@h/a", "https://h/b", "https://h/b"),
    ("http://u:p@h/a", "http://other/b", "http://other/b"),
    ("http://u:p@x@h/a", "http://other/b", "http://other/b"),
]


@pytest.mark.parametrize(("current", "location", "url"), RESOLVED)
def test_resolves(current: str, location: str, url: str) -> None:
    assert next_hop(current, location, trusted=True).url == url


def test_trust_is_lost_for_good() -> None:
    away = next_hop("http://u:p@h/a", "http://other/b", trusted=True)
    assert not away.trusted
    back = next_hop(away.url, "http://h/c", trusted=away.trusted)
    assert (back.url, back.trusted) == ("http://h/c", False)
    assert next_hop("http://other/b", "/c", trusted=False).trusted is False


REFUSED = [
    "ftp://h/x",
    "file:///etc/passwd",
    "gopher://h/",
    "javascript:1",
    "data:,x",
    "https://",
    "https:///x",
    "mailto:x",
]
REFUSED += ["http://h/\x00", "http://h\\@evil/", "http://h/\r\nX: y", "http://[::1", "http://[zz]/"]


@pytest.mark.parametrize("location", REFUSED)
def test_refuses(location: str) -> None:
    with pytest.raises(FetchError) as caught:
        next_hop("http://u:secret@h/a?secret", location, trusted=True)
    assert (caught.value.kind, caught.value.retry) == ("redirect", Retry.NEVER)
    assert "secret" not in str(caught.value)


def test_refuses_to_go_from_https_to_http() -> None:
    with pytest.raises(FetchError, match="https to http"):
        next_hop("HTTPS://h/a", "http://h/a", trusted=True)


def test_urls_go_out_in_ascii() -> None:
    assert wire_url("http://h/a b") == "http://h/a b"
    assert wire_url("http://bücher.example/ä?ö=%20") == "http://xn--bcher-kva.example/%C3%A4?%C3%B6=%20"
    assert wire_url("http://ü:p@①②⑦.0.0.1/") == "http://%C3%BC:p@127.0.0.1/"
    with pytest.raises(FetchError):
        wire_url("http://" + "ü" * 100 + "/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_follows_every_redirecting_status(engine: Engine, origin: Origin, status: int) -> None:
    origin.misbehave("/a", Redirect("/b", status))
    url = origin.put("/b", b"there")
    got, body = receipt(engine, origin.url("/a"))
    assert (body, got.head.url, got.status) == (b"there", url, 200)


@pytest.mark.parametrize("status", [300, 305, 306])
def test_follows_no_other_status(engine: Engine, origin: Origin, status: int) -> None:
    origin.misbehave("/a", Status(status, {"Location": "/b"}))
    assert failure(engine, origin.url("/a")).http_status == status
    assert origin.count("/b") == 0


def test_a_redirect_without_a_location_is_a_failure(engine: Engine, origin: Origin) -> None:
    origin.misbehave("/a", Status(302))
    error = failure(engine, origin.url("/a"))
    assert (error.kind, error.http_status, error.retry) == ("status", 302, Retry.NEVER)


def test_ten_hops_are_followed_and_no_more(engine: Engine, origin: Origin) -> None:
    for number in range(11):
        origin.misbehave(f"/{number}", Redirect(f"/{number + 1}"), lasting=True)
    origin.put("/11", b"end")
    assert receipt(engine, origin.url("/1"))[1] == b"end"
    error = failure(engine, origin.url("/0?secret"))
    assert (error.kind, error.retry) == ("redirect", Retry.NEVER)
    assert "more than 10 redirects" in str(error)
    assert "secret" not in str(error)
    assert origin.count("/11") == 1


def test_the_body_of_a_redirect_is_not_the_object_and_bounded(engine: Engine, origin: Origin) -> None:
    origin.misbehave("/a", Redirect("/b", body=bytes(10_000_000)))
    origin.put("/b", b"object")
    assert receipt(engine, origin.url("/a"))[1] == b"object"


HEADERS = ("X-Api-Key: canary", "Authorization: Bearer canary", "Cookie: canary=1", "X-Empty:")
CONDITION = ('If-None-Match: "v0"',)


def test_headers_stay_with_the_origin(engine: Engine, origin: Origin) -> None:
    with Origin() as other:
        back = origin.put("/back", b"x")
        other.misbehave("/away", Redirect(back))
        origin.misbehave("/a", Redirect("/b"))
        origin.misbehave("/b", Redirect(other.url("/away")))
        url = origin.url("/a").replace("http://", "http://user:canary@")
        assert receipt(engine, FetchRequest(url, headers=HEADERS[:1] + HEADERS[2:], conditional=CONDITION))[1] == b"x"
        at_home = [request.headers for request in origin.requests[:2]]
        assert [headers["x-api-key"] for headers in at_home] == ["canary"] * 2
        assert [headers["authorization"] for headers in at_home] == ["Basic dXNlcjpjYW5hcnk="] * 2
        assert [headers["x-empty"] for headers in at_home] == [""] * 2
        for request in (*other.requests, origin.requests[2]):
            assert b"canary" not in request.head
            assert "authorization" not in request.headers
            assert request.headers["if-none-match"] == '"v0"'


def test_a_handle_forgets_the_headers_of_the_fetch_before(engine: Engine, origin: Origin) -> None:
    url = origin.put("/a", b"x")
    receipt(engine, FetchRequest(url, headers=HEADERS))
    receipt(engine, FetchRequest(url.replace("http://", "http://user:canary@")))
    receipt(engine, url)
    assert "canary" in origin.requests[0].headers["cookie"]
    assert b"canary" not in origin.requests[2].head
    assert "authorization" not in origin.requests[2].headers


def test_what_is_sent(engine: Engine, origin: Origin) -> None:
    receipt(engine, origin.put("/a", b"x") + "?q=1#fragment")
    request = origin.requests[0]
    assert (request.method, request.path, request.query) == ("GET", "/a", "q=1")
    assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}
    assert request.headers["accept-encoding"] == "identity"


def test_headers_that_would_split_the_request_are_refused(engine: Engine, origin: Origin) -> None:
    url = origin.put("/a", b"x")
    for line in ("X: a\r\nY: b", "X: a\nY: b", "X: \0", "no colon", "X: ü"):
        error = failure(engine, FetchRequest(url, headers=(line,)))
        assert (error.kind, error.retry) == ("protocol", Retry.NEVER)
    assert origin.requests == []


def test_https_is_verified_after_a_redirect_too(engine: Engine, origin: Origin, server_context: ssl.SSLContext) -> None:
    with Origin(ssl_context=server_context) as secure:
        origin.misbehave("/a", Redirect(secure.url("/b")))
        assert failure(engine, origin.url("/a")).kind == "tls"
        assert secure.requests == []
