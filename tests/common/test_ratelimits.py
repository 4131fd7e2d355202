"""What an origin says of the requests that are left, as HuggingFace's Hub and the draft's examples spell it."""

from __future__ import annotations

import pytest
from huggingface_hub.utils import parse_ratelimit_headers
from hypothesis import given
from hypothesis import strategies as st

from common.ratelimits import WAIT_CAP_SECONDS, Limit, exhausted_seconds, parse_limits

POLICY = '"fixed window";"resolvers";q=3000;w=120'


@pytest.mark.parametrize(
    ("header", "limits"),
    [
        ('"api";r=489;t=268', [Limit(489, 268.0)]),
        ('"resolvers";r=0;t=55', [Limit(0, 55.0)]),
        ('"api";r=999;t=120, "resolvers";r=0;t=7', [Limit(999, 120.0), Limit(0, 7.0)]),
        ('"a,b;c\\"";r=1;t=2,"d" ; r=3', [Limit(1, 2.0), Limit(3, None)]),
        ('"\\"api|pages|resolvers\\";r=42;t=123"', [Limit(42, 123.0)]),
        ("default;r=50;t=30;pk=:cHNkZmFkZg==:", [Limit(50, 30.0)]),
        ("limit=100, remaining=0, reset=5", []),
        ('"api";t=5', []),
        ('"api";r=-1;t=5', []),
        ('"api";r=0.5;t=5', []),
        ('"api";r=٣;t=5', []),
        ("", []),
    ],
)
def test_what_is_left(header: str, limits: list[Limit]) -> None:
    assert parse_limits(header) == limits


@pytest.mark.parametrize(
    ("header", "policy", "seconds"),
    [
        ('"api";r=1;t=268', POLICY, None),
        ('"api";r=0;t=268', POLICY, 268.0),
        ('"api";r=0;t=0', POLICY, None),
        ('"api";r=0', POLICY, 120.0),
        ('"api";r=0', "", None),
        ('"api";r=0;t=3, "resolvers";r=0;t=9, "pages";r=1;t=90', "", 9.0),
        ('"api";r=0;t=99999', "", WAIT_CAP_SECONDS),
        ("soon", POLICY, None),
    ],
)
def test_how_long_nothing_may_be_asked(header: str, policy: str, seconds: float | None) -> None:
    assert exhausted_seconds(header, policy) == seconds


@given(st.from_regex(r"\w{1,12}", fullmatch=True), st.integers(0, 10**8), st.integers(0, 10**8))
def test_the_hubs_own_client_reads_the_same(kind: str, remaining: int, reset: int) -> None:
    header = f'"{kind}";r={remaining};t={reset}'
    theirs = parse_ratelimit_headers({"ratelimit": header})
    assert theirs is not None
    assert parse_limits(header) == [Limit(theirs.remaining, float(theirs.reset_in_seconds))]


@given(st.text(alphabet='";,r=t0129\\ w.é', max_size=300), st.text(max_size=300))
def test_nothing_breaks_it(header: str, policy: str) -> None:
    seconds = exhausted_seconds(header, policy)
    assert seconds is None or 0 < seconds <= WAIT_CAP_SECONDS
