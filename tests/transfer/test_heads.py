"""Header lines as libcurl delivers them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from target.transfer.heads import parse_head

URL = "http://h/x"


def lines(text: str) -> list[bytes]:
    return [line.encode("latin-1") + b"\r\n" for line in text.split("\n")]


def test_reads_status_and_headers() -> None:
    head = parse_head(
        lines('HTTP/1.1 200 OK\nETag: "x"\nContent-Length:  12 \nX-A:1\nX-a: 2\nLast-Modified: then\n'), URL
    )
    assert head is not None
    assert (head.status, head.content_length, head.etag, head.last_modified) == (200, 12, '"x"', "then")
    assert head.headers["x-a"] == "1, 2"
    assert head.url == URL


def test_takes_the_last_answer_and_no_trailers() -> None:
    text = "HTTP/1.1 103 Early\nLink: x\n\nHTTP/2 404\nA: b\n\nTrailer-Field: t\n"
    head = parse_head(lines(text), URL)
    assert head is not None
    assert (head.status, dict(head.headers)) == (404, {"a": "b"})


def test_an_incomplete_or_informational_answer_is_none() -> None:
    for text in ("", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\nA: b", "HTTP/1.1 100 Continue\n", "nothing\n\n"):
        assert parse_head(lines(text), URL) is None


def test_a_length_that_is_no_number_is_none() -> None:
    for value in ("-1", "1e9", "+5", "0x10", "12, 12", "", "９"):
        head = parse_head([b"HTTP/1.1 200 OK\r\n", f"Content-Length: {value}\r\n".encode(), b"\r\n"], URL)
        assert head is not None
        assert head.content_length is None


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") + b"\r\n"), max_size=20))
def test_no_lines_break_it(some: list[bytes]) -> None:
    parse_head([b"HTTP/1.1 200 OK\r\n", *some, b"\r\n"], URL)
