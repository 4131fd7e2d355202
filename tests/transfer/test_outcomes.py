"""Every row of the table: what a failure is called, whether it is tried again, and what the user reads."""

from __future__ import annotations

import errno
from email.utils import formatdate

import pycurl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import HaulError, Retry
from target.transfer import outcomes
from target.transfer.request import FetchError, ResponseHead

URL = "https://user:secret@host/path/a.bin?token=secret#secret"
NOW = 1_700_000_000.0

CURL = [
    (1, "protocol", Retry.NEVER, "not valid HTTP"),
    (3, "protocol", Retry.NEVER, "URL is not valid"),
    (6, "dns", Retry.LATER, "cannot be resolved"),
    (7, "refused", Retry.LATER, "cannot connect"),
    (8, "protocol", Retry.NEVER, "not valid HTTP"),
    (16, "protocol", Retry.LATER, "HTTP/2"),
    (18, "short", Retry.LATER, "ended early"),
    (23, "internal", Retry.LATER, "could not be stored"),
    (28, "connect_timeout", Retry.LATER, "timeout"),
    (35, "tls", Retry.LATER, "handshake"),
    (52, "reset", Retry.LATER, "without an answer"),
    (55, "reset", Retry.LATER, "broke off"),
    (56, "reset", Retry.LATER, "broke off"),
    (58, "tls", Retry.NEVER, "certificate"),
    (59, "tls", Retry.NEVER, "cipher"),
    (60, "tls", Retry.NEVER, "certificate refused"),
    (61, "protocol", Retry.NEVER, "not valid HTTP"),
    (77, "tls", Retry.NEVER, "trusted certificates"),
    (83, "tls", Retry.NEVER, "certificate refused"),
    (91, "tls", Retry.NEVER, "certificate refused"),
    (92, "protocol", Retry.LATER, "HTTP/2"),
    (100, "protocol", Retry.NEVER, "headers of the answer are too large"),
]


@pytest.mark.parametrize(("code", "kind", "retry", "text"), CURL)
def test_errors_of_libcurl(code: int, kind: str, retry: Retry, text: str) -> None:
    error = outcomes.curl_failure(URL, code)
    assert (error.kind, error.retry) == (kind, retry)
    assert text in str(error)


def test_the_table_has_no_other_rows() -> None:
    assert sorted(outcomes.CURL_ROWS) == [code for code, *_ in CURL]


@pytest.mark.parametrize("code", [2, 27, 43, 99, 4711])
def test_unknown_errors_of_libcurl_are_tried_again(code: int) -> None:
    error = outcomes.curl_failure(URL, code)
    assert (error.kind, error.retry) == ("transport", Retry.LATER)
    assert f"libcurl error {code}" in str(error)


def test_a_refused_connection_is_told_from_an_unreachable_host() -> None:
    refused = outcomes.curl_failure(URL, pycurl.E_COULDNT_CONNECT, os_errno=errno.ECONNREFUSED)
    assert "connection refused" in str(refused)


def test_the_reason_of_a_refused_certificate_is_shown() -> None:
    error = outcomes.curl_failure(URL, pycurl.E_PEER_FAILED_VERIFICATION, "SSL certificate problem: expired\x1b")
    assert str(error).endswith("TLS certificate refused: SSL certificate problem: expired\\x1b")


STATUSES = [
    *[(status, Retry.NEVER) for status in (201, 202, 204, 205, 206, 300, 301, 304, 305, 306, 399)],
    *[(status, Retry.NEVER) for status in (400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414)],
    *[(status, Retry.NEVER) for status in (415, 416, 417, 418, 422, 423, 424, 426, 428, 431, 451, 499, 501, 505)],
    *[(status, Retry.LATER) for status in (408, 421, 425, 429)],
    *[(status, Retry.LATER) for status in (500, 502, 503, 504, 506, 507, 508, 511, 520, 529, 599, 999)],
]


def answer(status: int, **headers: str) -> ResponseHead:
    return ResponseHead(status, None, {name.replace("_", "-"): value for name, value in headers.items()}, "https://h/x")


@pytest.mark.parametrize(("status", "retry"), STATUSES)
def test_statuses(status: int, retry: Retry) -> None:
    error = outcomes.answer_failure(URL, answer(status), conditional=False, now_unix=NOW)
    assert error is not None
    assert (error.http_status, error.retry, error.slows_host) == (status, retry, status in (429, 503))
    assert error.kind == ("protocol" if status in (206, 304) else "status")
    if status == 404:
        assert str(error) == "https://host/path/a.bin does not exist"
    elif error.kind == "status":
        assert str(error) == f'failed to download "https://host/path/a.bin": status {status}'


@pytest.mark.parametrize(("status", "conditional"), [(200, False), (200, True), (203, False), (304, True)])
def test_statuses_that_are_no_failure(status: int, conditional: bool) -> None:
    assert outcomes.answer_failure(URL, answer(status), conditional=conditional, now_unix=NOW) is None


RETRY_AFTER = [
    ("0", 0.0),
    ("7", 7.0),
    (" 120 ", 120.0),
    ("301", 300.0),
    ("1000000000", 300.0),
    ("9" * 5000, 300.0),
    (formatdate(NOW + 60, usegmt=True), 60.0),
    (formatdate(NOW + 86400, usegmt=True), 300.0),
    (formatdate(NOW - 60, usegmt=True), None),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
    ("-5", None),
    ("1.5", None),
    ("1e9", None),
    ("soon", None),
    ("", None),
    ("٣", None),
    ("Fri, 99 Foo 2024 00:00:00 GMT", None),
]


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTER)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert outcomes.retry_after_seconds(value, NOW) == seconds
    error = outcomes.answer_failure(URL, answer(503, retry_after=value), conditional=False, now_unix=NOW)
    assert error is not None
    assert error.retry_after_seconds == seconds


@given(st.text())
def test_no_retry_after_breaks_anything(value: str) -> None:
    seconds = outcomes.retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds <= outcomes.RETRY_AFTER_CAP_SECONDS


OTHERS = [
    (outcomes.egress_blocked(URL, "127.0.0.1", "loopback"), "egress", Retry.NEVER, "egress blocked: 127.0.0.1 (loop"),
    (outcomes.too_large(URL, 10), "too_large", Retry.NEVER, "limit of 10 bytes"),
    (outcomes.invalid_request(URL, "bad"), "protocol", Retry.NEVER, "bad"),
    (outcomes.deadline_exceeded(URL, 1.5), "timeout", Retry.NEVER, "timeout: deadline exceeded after 1.5s"),
    (outcomes.first_byte_timeout(URL, 30), "first_byte", Retry.LATER, "timeout: no answer within 30s"),
    (outcomes.stalled(URL, 1024, 30), "stall", Retry.LATER, "timeout: slower than 1024 bytes/s over 30s"),
]


@pytest.mark.parametrize(("error", "kind", "retry", "text"), OTHERS)
def test_failures_of_our_own_rules(error: FetchError, kind: str, retry: Retry, text: str) -> None:
    assert (error.kind, error.retry) == (kind, retry)
    assert text in str(error)
    assert isinstance(error, HaulError)


def test_no_text_has_a_secret() -> None:
    errors = [outcomes.curl_failure(URL, code) for code in range(120)]
    errors += [error for error, *_ in OTHERS]
    for status in range(200, 600):
        failed = outcomes.answer_failure(URL, answer(status), conditional=False, now_unix=NOW)
        errors += [failed] if failed else []
    assert not [error for error in errors if "secret" in str(error) or "token" in str(error)]
