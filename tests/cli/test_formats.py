from __future__ import annotations

import pytest

from cli import formats
from cli.formats import Units


@pytest.mark.parametrize(
    ("size_bytes", "units", "text"),
    [
        (0, Units.IEC, "0 B"),
        (1023, Units.IEC, "1023 B"),
        (1023.6, Units.IEC, "1.00 KiB"),
        (1024, Units.IEC, "1.00 KiB"),
        (4096, Units.IEC, "4.00 KiB"),
        (10239, Units.IEC, "10.0 KiB"),
        (102_400, Units.IEC, "100 KiB"),
        (1024**2 - 1, Units.IEC, "1.00 MiB"),
        (64 * 1024**2, Units.IEC, "64.0 MiB"),
        (5 * 1024**6, Units.IEC, "5.00 EiB"),
        (5000 * 1024**6, Units.IEC, "5000 EiB"),
        (999, Units.SI, "999 B"),
        (1000, Units.SI, "1.00 kB"),
        (1_500_000, Units.SI, "1.50 MB"),
        (999_999, Units.SI, "1.00 MB"),
        (1_500_000, Units.RAW, "1500000"),
    ],
)
def test_sizes(size_bytes: float, units: Units, text: str) -> None:
    assert formats.size(size_bytes, units) == text


def test_rates() -> None:
    assert formats.rate(1536) == "1.50 KiB/s"
    assert formats.rate(1536, Units.RAW) == "1536 B/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0, "0 ms"),
        (0.34, "340 ms"),
        (0.9999, "1.0 s"),
        (4.24, "4.2 s"),
        (59.97, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (11_220, "3 h 07 min"),
        (187_200, "2 d 04 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text


def test_counts() -> None:
    assert formats.count(1234567) == "1,234,567"
    assert formats.count(1, "object") == "1 object"
    assert formats.count(2, "object") == "2 objects"
    assert formats.count(2, "proxy", "proxies") == "2 proxies"


def test_names_are_one_line() -> None:
    assert formats.name("a\tb\nc\x1b[31m") == "a\\tb\\nc\\x1b[31m"
    assert formats.name("été 日本") == "été 日本"


def test_columns_are_aligned_by_what_is_seen() -> None:
    assert formats.table(("NAME", "N"), [("日本", "1"), ("abc", "12")], right=(1,)) == [
        "NAME   N",
        "日本   1",
        "abc   12",
    ]
