"""When a disk is full, and when it has room again."""

from target.storage.watermarks import Watermarks

MARKS = Watermarks(95.0, 90.0)


def run(*used: float) -> list[bool]:
    found, is_full = [], False
    for percent in used:
        is_full = MARKS.is_full(percent, was_full=is_full)
        found.append(is_full)
    return found


def test_it_is_full_from_the_high_watermark_on() -> None:
    assert run(0.0, 94.9, 95.0, 100.0) == [False, False, True, True]


def test_it_has_room_only_below_the_low_one() -> None:
    assert run(95.0, 94.0, 90.0, 89.9, 94.9) == [True, True, True, False, False]


def test_the_reason_is_told_with_both() -> None:
    assert MARKS.refusal(96.04) == "full: 96.0 % are used, and nothing is stored above 95 %, until less than 90 % are"
