"""The last lines of a log that a node keeps, and how they are asked for."""

from __future__ import annotations

import pytest

from common.errors import InvalidRequest
from common.logquery import read_log
from common.logs import RecentLines


def test_old_lines_are_forgotten_and_who_follows_goes_on() -> None:
    recent = RecentLines(kept_bytes=20)
    recent.keep("11111111", "info")
    seen = recent.text()
    assert seen == b"11111111\n"
    recent.keep("22222222", "info")
    assert recent.text(offset_bytes=len(seen)) == b"22222222\n"
    recent.keep("33333333", "info")
    assert recent.text() == b"22222222\n33333333\n", "no more than is to be kept"
    assert recent.text(offset_bytes=18) == b"33333333\n"
    assert recent.text(offset_bytes=27) == b""
    assert recent.text(offset_bytes=10**15) == b""


def test_severities_have_offsets_of_their_own() -> None:
    recent = RecentLines(kept_bytes=30)
    for number, level in enumerate(("info", "error", "info", "warning", "info")):
        recent.keep(f"{number}-{level}", level)
    assert recent.text("info") == b"2-info\n3-warning\n4-info\n"
    assert recent.text("warning") == b"3-warning\n"
    first = len(b"1-error\n")
    assert recent.text("warning", first) == b"3-warning\n"
    assert recent.text("error", first) == b""
    recent.keep("x" * 100, "critical")
    assert recent.text() == b"", "a line that is too long for it is forgotten at once"


def test_what_is_no_text_of_a_log_line_is_escaped() -> None:
    recent = RecentLines()
    recent.keep("\udc80", "warning")
    assert recent.text() == b"\\udc80\n"


@pytest.mark.parametrize("query", [{"severity": "loud"}, {"offset": "-1"}, {"offset": "9" * 19}, {"offset": "٣"}])
def test_questions_that_mean_nothing(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        read_log(RecentLines(), query, "t1")


def test_a_severity_may_be_left_out() -> None:
    recent = RecentLines()
    recent.keep("line", "info")
    assert read_log(recent, {"severity": "", "offset": ""}, "t1") == ("text/plain; charset=utf-8", b"line\n")
