"""Sizes, rates, durations, counts and names as people read them; pure.

Where they are written to is left to `cli.output`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from rich.cells import cell_len

from common.names import printable

_MAX_SHOWN_NAME = 4096


class Units(StrEnum):
    """How sizes are written."""

    IEC = "iec"
    SI = "si"
    RAW = "raw"


_STEPS = {
    Units.IEC: (1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")),
    Units.SI: (1000, ("B", "kB", "MB", "GB", "TB", "PB", "EB")),
}


def size(size_bytes: float, units: Units = Units.IEC) -> str:
    """`"1.50 MiB"`: three significant digits, whole bytes below the first step; `raw` is the plain number."""
    if units is Units.RAW:
        return str(round(size_bytes))
    base, names = _STEPS[units]
    value, index = float(size_bytes), 0
    # 999.5 and more would round up to a fourth digit, which IEC sizes may have (1023 KiB) and SI sizes may not.
    while round(value) >= base and index < len(names) - 1:
        value /= base
        index += 1
    if index == 0:
        return f"{round(value)} {names[0]}"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {names[index]}"


def rate(bytes_per_second: float, units: Units = Units.IEC) -> str:
    """`"1.50 MiB/s"`."""
    shown = size(bytes_per_second, units)
    return f"{shown} B/s" if units is Units.RAW else f"{shown}/s"


def duration(seconds: float) -> str:
    """`"340 ms"`, `"4.2 s"`, `"2 min 05 s"`, `"3 h 07 min"`, `"2 d 04 h"`."""
    if seconds < 0.9995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for limit, unit, name, sub_unit, sub_name in (
        (3600, 60, "min", 1, "s"),
        (86400, 3600, "h", 60, "min"),
        (0, 86400, "d", 3600, "h"),
    ):
        if whole < limit or not limit:
            return f"{whole // unit} {name} {whole % unit // sub_unit:02d} {sub_name}"
    raise AssertionError("the last row has no limit")


def count(number: int, noun: str = "", plural: str = "") -> str:
    """`"1,234 objects"`, `"1 object"`; only the number without a noun."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def name(text: str) -> str:
    """An object name, description or path in one line: control characters are shown as escapes."""
    return printable(text, _MAX_SHOWN_NAME)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Aligned lines, the header first; the columns in `right` are flush right, the last column is not padded."""
    lines = [header, *rows]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(header))]

    def padded(line: Sequence[str], column: int) -> str:
        text = line[column]
        gap = " " * (widths[column] - cell_len(text))
        if column in right:
            return gap + text
        return text if column == len(header) - 1 else text + gap

    return ["  ".join(padded(line, column) for column in range(len(header))).rstrip() for line in lines]
