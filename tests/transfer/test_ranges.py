"""Answers to a request for a part: only exactly these bytes of the same object are taken."""

import pytest

from common.errors import Retry
from target.transfer.outcomes import answer_failure, body_refusal
from target.transfer.request import Part, ResponseHead

PART = Part(100, 200, 1000, '"a"')


def head(content_range: str, status: int = 206) -> ResponseHead:
    return ResponseHead(status, 100, {"content-range": content_range} if content_range else {}, "http://h/x")


@pytest.mark.parametrize("told", ["bytes 100-199/1000", "bytes 100-199/*"])
def test_what_was_asked_for_is_taken(told: str) -> None:
    assert answer_failure("http://h/x", head(told), conditional=False, now_unix=0.0, part=PART) is None
    assert body_refusal("http://h/x", head(told), None, PART) is None


@pytest.mark.parametrize(
    "told", ["", "bytes 0-99/1000", "bytes 100-198/1000", "bytes 100-200/1000", "bytes 100-199/1001", "bytes */1000"]
)
def test_other_bytes_are_refused_before_any_is_written(told: str) -> None:
    failure = body_refusal("http://h/x", head(told), None, PART)
    assert failure is not None
    assert (failure.kind, failure.retry) == ("range", Retry.LATER)
    assert answer_failure("http://h/x", head(told), conditional=False, now_unix=0.0, part=PART) is not None


def test_a_part_that_nobody_asked_for_is_refused() -> None:
    failure = answer_failure("http://h/x", head("bytes 0-99/1000"), conditional=False, now_unix=0.0)
    assert failure is not None
    assert failure.http_status == 206
