"""Which bytes are there: the set against a plain set of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from target.storage.ranges import RangeSet

SIZE = 60
RANGES = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: (min(pair), max(pair))))


@given(RANGES)
def test_it_has_exactly_what_was_added(ranges: list[tuple[int, int]]) -> None:
    expected = {byte for start, end in ranges for byte in range(start, end)}
    present = RangeSet(ranges)
    assert {byte for start, end in present.ranges() for byte in range(start, end)} == expected
    assert present.total() == len(expected)
    missing = {byte for start, end in present.gaps(SIZE) for byte in range(start, end)}
    assert missing == set(range(SIZE)) - expected


@given(RANGES, st.integers(0, SIZE))
def test_ranges_are_as_few_as_can_be_and_in_order(ranges: list[tuple[int, int]], position: int) -> None:
    present = RangeSet(ranges)
    edges = [edge for pair in present.ranges() for edge in pair]
    assert edges == sorted(set(edges))
    end = present.end_of(position)
    assert all(RangeSet(ranges).end_of(byte) == end for byte in range(position, end))
    twin = present.copy()
    twin.add(0, SIZE)
    assert present.ranges() == RangeSet(ranges).ranges()
