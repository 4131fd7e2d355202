"""Links and headers of a job: what may be fetched, and that secrets are never shown."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest
from common.links import check_header, complete_link, origin_of, redact


@pytest.mark.parametrize(
    ("link", "complete", "origin"),
    [
        ("http://h/x", "http://h/x", "http://h:80"),
        ("https://h/x", "https://h/x", "https://h:443"),
        ("HTTP://H/X", "HTTP://H/X", "http://h:80"),
        ("hTTps://h", "hTTps://h", "https://h:443"),
        ("h", "http://h", "http://h:80"),
        ("h/x", "http://h/x", "http://h:80"),
        ("h:8080/x", "http://h:8080/x", "http://h:8080"),
        ("10.0.0.1:80/x", "http://10.0.0.1:80/x", "http://10.0.0.1:80"),
        ("http://h:65535/", "http://h:65535/", "http://h:65535"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://[2001:DB8::1]/x", "https://[2001:DB8::1]/x", "https://[2001:db8::1]:443"),
        ("http://user:pass@h/x", "http://user:pass@h/x", "http://h:80"),
        ("http://a@b@h:81/x", "http://a@b@h:81/x", "http://h:81"),
        ("http://user:pass@[::1]/", "http://user:pass@[::1]/", "http://[::1]:80"),
        ("http://h/a b?c d", "http://h/a%20b?c%20d", "http://h:80"),
        ("http://h/é?é", "http://h/é?é", "http://h:80"),
        ("http://bücher.example/", "http://bücher.example/", "http://bücher.example:80"),
        ("h/x?u=ftp://y/z", "http://h/x?u=ftp://y/z", "http://h:80"),
        ("http://h?x@y", "http://h?x@y", "http://h:80"),
        ("http://h#@evil/", "http://h#@evil/", "http://h:80"),
        ("http://h?@evil/", "http://h?@evil/", "http://h:80"),
        ("http://h/@scope/pkg@1.2", "http://h/@scope/pkg@1.2", "http://h:80"),
        ("http://h/a%00b", "http://h/a%00b", "http://h:80"),
        ("ftp://h/x y", "ftp://h/x%20y", "ftp://h:21"),
        ("SFTP://u:p@H/d/x", "SFTP://u:p@H/d/x", "sftp://h:22"),
        ("ftp://h:2121/x", "ftp://h:2121/x", "ftp://h:2121"),
    ],
)
def test_links_that_are_fetched(link: str, complete: str, origin: str) -> None:
    assert complete_link(link) == complete
    assert origin_of(complete) == origin
    assert complete_link(complete) == complete


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("", "no host"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http:////h", "no host"),
        ("//h/x", "no host"),
        ("/x", "no host"),
        ("?x", "no host"),
        ("http://?x", "no host"),
        ("http://#x", "no host"),
        ("http://:80/x", "no host"),
        ("http://user@/x", "no host"),
        ("http://user:pass@:80/x", "no host"),
        ("http:/x", "not a valid host and port"),
        ("http:x", "not a valid host and port"),
        ("javascript:alert(1)", "not a valid host and port"),
        ("http://h:/x", "not a valid host and port"),
        ("http://h:port/x", "not a valid host and port"),
        ("http://h:-1/x", "not a valid host and port"),
        ("http://h:65536/x", "not a valid host and port"),
        ("http://h:999999/x", "not a valid host and port"),
        ("http://h:80:80/x", "not a valid host and port"),
        ("http://::1/x", "no host"),
        ("http://2001:db8::1/x", "not a valid host and port"),
        ("http://[::1/x", "not a valid host and port"),
        ("http://::1]/x", "no host"),
        ("http://[::1%25eth0]/x", "not a valid host and port"),
        ("http://[]/x", "not a valid host and port"),
        ("http://[::1]x/", "not a valid host and port"),
        ("http://h%00/", "not a valid host and port"),
        ("http://h%2e/", "not a valid host and port"),
        ("http://two words/", "not a valid host and port"),
        ("http://h\u00a0/", "not a valid host and port"),
        ("http://h\u200b/", "not a valid host and port"),
        ("http://<h>/", "not a valid host and port"),
        ("http://h|x/", "not a valid host and port"),
        ("http://h\\@evil/", "control characters and backslashes"),
        ("http://h/a\\b", "control characters and backslashes"),
        ("http://h/\r\nHost: evil", "control characters and backslashes"),
        ("http://h/\tx", "control characters and backslashes"),
        ("http://h/\0", "control characters and backslashes"),
        ("http://h/\x7f", "control characters and backslashes"),
        ("http://h/\x85", "control characters and backslashes"),
        ("http://h/\ud800", "control characters and backslashes"),
        ("http://h/x\n", "control characters and backslashes"),
        ("\nhttp://h/x", 'scheme "\\nhttp" is not supported'),
        (" http://h/x", 'scheme " http" is not supported'),
        ("ftps://h/x", 'scheme "ftps" is not supported (http, https, ftp, sftp, s3, gs, az, ais)'),
        ("scp://h/x", 'scheme "scp" is not supported'),
        ("ftp://h", "a directory cannot be fetched"),
        ("ftp://h/d/", "a directory cannot be fetched"),
        ("sftp://h/d/", "a directory cannot be fetched"),
        ("ftp://h/x;type=a", '";type=" is not supported'),
        ("ftp://h/x;TYPE=d", '";type=" is not supported'),
        ("sftp:///x", "no host"),
        ("file:///etc/passwd", 'scheme "file" is not supported'),
        ("gopher://h/x", 'scheme "gopher" is not supported'),
        ("s3://b/", "names no object"),
        ("1http://h/x", 'scheme "1http" is not supported'),
        ("://h/x", 'scheme "" is not supported'),
        ("dict://h:11211/", 'scheme "dict" is not supported'),
    ],
    ids=ascii,
)
def test_links_that_are_refused(link: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        complete_link(link)
    assert reason in str(refused.value)
    assert str(refused.value).startswith('link "')
    assert str(refused.value).isprintable()


def _refusal(link: str) -> str:
    """Why a link is refused; empty when it is not."""
    try:
        complete_link(link)
    except InvalidRequest as error:
        return str(error)
    return ""


def test_a_template_is_completed_before_it_is_expanded() -> None:
    assert complete_link("h{1..3}:80{1..2}/x") == "http://h{1..3}:80{1..2}/x"
    assert complete_link("http://h:{80..90}/x") == "http://h:{80..90}/x"


@given(st.text(st.characters(), max_size=60) | st.text(alphabet="htp:/@[]?#.h80\\ %", max_size=30))
def test_any_text_is_completed_or_refused(text: str) -> None:
    refusal = _refusal(text)
    if refusal:
        assert refusal.isprintable()
        return
    complete = complete_link(text)
    assert re.match(r"https?://[^/?#]", complete, re.IGNORECASE)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") or c in " \\" for c in complete)
    assert complete_link(complete) == complete
    assert re.fullmatch(r"https?://[^/?#@]+:[0-9{}.]+", origin_of(complete))


# --- what is shown ---

SECRET = "S3CRET"
ANYTHING = st.text(st.characters(), max_size=15) | st.text(alphabet=":/@?#[]. %\\{}", max_size=6)
HOSTS = st.sampled_from(["h", "example.org", "10.0.0.1:8080", "[::1]", "[::1]:80", "h:443"])
SCHEMES = st.sampled_from(["http://", "https://", "HTTP://", "ftp://", ""])


@st.composite
def links_with_secrets(draw: st.DrawFn) -> str:
    password = f"user:{SECRET}{draw(ANYTHING)}@" if draw(st.booleans()) else ""
    name_only = "" if password or draw(st.booleans()) else f"{SECRET}@"
    query = f"?{draw(ANYTHING)}token={SECRET}{draw(ANYTHING)}" if draw(st.booleans()) else ""
    fragment = f"#{SECRET}{draw(ANYTHING)}" if draw(st.booleans()) else ""
    return draw(SCHEMES) + password + name_only + draw(HOSTS) + "/path/x" + query + fragment


@given(links_with_secrets())
def test_secrets_are_never_shown(link: str) -> None:
    shown = redact(link)
    assert SECRET not in shown
    assert "user" not in shown
    assert shown.isprintable()
    refusal = _refusal(link)
    assert SECRET not in refusal
    if not refusal:
        complete = complete_link(link)
        assert SECRET not in redact(complete)
        assert SECRET not in origin_of(complete)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("http://h/a/b.bin", "http://h/a/b.bin"),
        ("h/a", "h/a"),
        ("http://u:p@h/a?token=x#y", "http://h/a"),
        ("u:p@h/a", "h/a"),
        ("http://u:p@ss@h/a", "http://h/a"),
        ("http://u:p/w@h/a", "http://…"),
        ("http://u:p?w@h/a", "http://…"),
        ("http:/u:p@h/a", "…"),
        ("http:///u:p@h/a", "http://…"),
        ("http://h/@scope/a", "http://h/@scope/a"),
        ("http://h/a\r\nb", r"http://h/a\r\nb"),
        ("http://h/\x1b[31m", r"http://h/\x1b[31m"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("http://h/" + "x" * 3000, "http://h/" + "x" * 2039 + "…"),
        ("", ""),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_links_as_they_are_shown(link: str, shown: str) -> None:
    assert redact(link) == shown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://h/a", "HTTP://H:80/b?c"),
        ("http://h/a", "http://h:080/a"),
        ("https://h/a", "https://u:p@h:443/"),
        ("http://h/", "http://h:/"),
        ("http://[::1]/", "http://[::1]:80/"),
    ],
)
def test_spellings_of_one_origin(one: str, other: str) -> None:
    assert origin_of(one) == origin_of(other)


@pytest.mark.parametrize(
    "other", ["https://h/", "http://h:81/", "http://h2/", "http://h.x/", "http://h@evil/", "http://evil?h"]
)
def test_other_origins(other: str) -> None:
    assert origin_of("http://h/") != origin_of(other)


# --- headers ---

CONTROLLED = [
    "Host",
    "HOST",
    "Range",
    "If-Range",
    "If-None-Match",
    "If-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "Expect",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "Accept-Encoding",
    "TE",
    "Trailer",
    "Upgrade",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Ais-Caller-Id",
    "AIS-x",
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer a.b.c="),
        ("Cookie", "a=b; c=d"),
        ("X-Api-Key", ""),
        ("User-Agent", "me/1.0 (x)"),
        ("Accept", "*/*"),
        ("Referer", "http://h/"),
        ("X-Tab", "a\tb"),
        ("!#$%&'*+-.^_`|~09Az", "x"),
    ],
)
def test_headers_that_may_be_set(name: str, value: str) -> None:
    check_header(name, value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("", "x", "not valid"),
        ("A B", "x", "not valid"),
        ("A:", "x", "not valid"),
        ("A\r\nHost", "x", "not valid"),
        ("A\n", "x", "not valid"),
        ("Ä", "x", "not valid"),
        ("A;", "x", "not valid"),
        ("@file", "x", "not valid"),
        ("X", "a\r\nHost: evil", "characters that are not allowed"),
        ("X", "a\n", "characters that are not allowed"),
        ("X", "\r", "characters that are not allowed"),
        ("X", "a\0", "characters that are not allowed"),
        ("X", "\x7f", "characters that are not allowed"),
        ("X", "é", "characters that are not allowed"),
        ("X", "\u010a", "characters that are not allowed"),
        *((name, "x", "set by the downloader") for name in CONTROLLED),
    ],
)
def test_headers_that_may_not_be_set(name: str, value: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        check_header(name, value)
    assert str(refused.value).isprintable()
    assert "evil" not in str(refused.value)


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=40))
def test_an_accepted_header_is_one_line(name: str, value: str) -> None:
    try:
        check_header(name, value)
    except InvalidRequest:
        return
    line = f"{name}: {value}"
    assert line.isascii()
    assert len(line.splitlines()) == 1
