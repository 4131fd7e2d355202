"""Durations, sizes and times as the wire writes them; the table of durations was checked against Go's own parser."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest
from common.units import EPOCH, format_time, parse_duration, parse_size

UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "µs": 1000, "μs": 1000, "ns": 1}


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("+0", 0),
        ("-0", 0),
        ("0s", 0),
        ("10s", 10 * 10**9),
        ("+5s", 5 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("-1.5h", -5400 * 10**9),
        ("1.s", 10**9),
        (".5s", 5 * 10**8),
        ("00001s", 10**9),
        ("1m1m", 120 * 10**9),
        ("3ns2us", 2003),
        ("1µs", 1000),
        ("1μs", 1000),
        ("0.000000001s", 1),
        ("9223372036854775807ns", 2**63 - 1),
        ("2562047h47m16.854775807s", 2**63 - 1),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds / 1e9


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("+", 'time: invalid duration "+"'),
        ("--1s", 'time: invalid duration "--1s"'),
        ("zz", 'time: invalid duration "zz"'),
        (".s", 'time: invalid duration ".s"'),
        ("h", 'time: invalid duration "h"'),
        ("s1", 'time: invalid duration "s1"'),
        ("٣s", 'time: invalid duration "٣s"'),
        ("5", 'time: missing unit in duration "5"'),
        ("1..5s", 'time: missing unit in duration "1..5s"'),
        ("1.0.0s", 'time: missing unit in duration "1.0.0s"'),
        ("5 parsecs", 'time: unknown unit " parsecs" in duration "5 parsecs"'),
        ("1s ", 'time: unknown unit "s " in duration "1s "'),
        ("1S", 'time: unknown unit "S" in duration "1S"'),
        ("1e3s", 'time: unknown unit "e" in duration "1e3s"'),
        ("1h-30m", 'time: unknown unit "h-" in duration "1h-30m"'),
        ("1\n", 'time: unknown unit "\\n" in duration "1\\n"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
        ("2562047h47m16.854775808s", 'time: invalid duration "2562047h47m16.854775808s"'),
        ("99999999999h", 'time: invalid duration "99999999999h"'),
        ("9" * 2_000_000 + "h", f'time: invalid duration "{"9" * 256}…"'),
        ("1s" * 1_000_000, f'time: invalid duration "{"1s" * 128}…"'),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_duration_errors_are_those_of_go(text: str, error: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_duration(text)
    assert str(refused.value) == error


@given(
    st.lists(st.tuples(st.integers(0, 10**5), st.sampled_from(sorted(UNITS))), min_size=1, max_size=5), st.booleans()
)
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]], negative: bool) -> None:
    text = "-" * negative + "".join(f"{amount}{unit}" for amount, unit in parts)
    total = sum(amount * UNITS[unit] for amount, unit in parts) * (-1 if negative else 1)
    assert parse_duration(text) == total / 10**9


@given(st.integers(0, 10**6), st.integers(0, 9), st.integers(0, 10**9 - 1), st.sampled_from(sorted(UNITS)))
def test_fractions_of_a_unit(whole: int, zeros: int, fraction: int, unit: str) -> None:
    digits = "0" * zeros + str(fraction)
    exact = (whole * 10 ** len(digits) + fraction) * UNITS[unit] / (10 ** len(digits) * 10**9)
    assert parse_duration(f"{whole}.{digits}{unit}") == pytest.approx(exact, rel=1e-12)


@given(st.text(alphabet="0123456789.+-hmsnuµ x", max_size=20) | st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert abs(parse_duration(text)) <= 2**63 / 1e9


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("64MiB", 64 * 2**20),
        ("64 MiB", 64 * 2**20),
        ("64mib", 64 * 2**20),
        ("64Mi", 64 * 2**20),
        ("1.5GB", 1_500_000_000),
        ("1.5GiB", 3 * 2**29),
        ("1k", 1000),
        (" 2TB ", 2 * 10**12),
        ("3PiB", 3 * 2**50),
        ("1EiB", 2**60),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.5.5", "1XB", "MiB", "1 2", "10iB", "٣KB", "5\u212a", "1e3", "9" * 300]
)
def test_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid size"):
        parse_size(text)


@given(st.integers(0, 2**40), st.sampled_from(["", "K", "M", "G", "T"]), st.booleans())
def test_sizes_with_units(amount: int, prefix: str, binary: bool) -> None:
    base = 1024 if binary else 1000
    text = f"{amount}{prefix}{'i' if binary and prefix else ''}B"
    assert parse_size(text) == amount * base ** ["", "K", "M", "G", "T"].index(prefix)


@pytest.mark.parametrize(
    ("unix_ns", "text"),
    [
        (0, EPOCH),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (10**9, "1970-01-01T00:00:01Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
        (1_700_000_010_000_000_000, "2023-11-14T22:13:30Z"),
    ],
)
def test_times(unix_ns: int, text: str) -> None:
    assert format_time(unix_ns) == text


@given(st.integers(1, 4 * 10**18))
def test_times_are_read_back(unix_ns: int) -> None:
    text = format_time(unix_ns)
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())
    assert seconds * 10**9 + int(fraction.ljust(9, "0")) == unix_ns
    assert not fraction.endswith("0")
