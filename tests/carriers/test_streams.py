"""How many streams, and which bytes each gets: simulated origins in virtual time."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target.carriers.streams import MAX_PIECE_BYTES, MAX_STREAMS, MIN_PIECE_BYTES, StreamCount, next_piece

MIB = 1 << 20


def settle(rate_of: Callable[[int], float], seconds: float = 5.0) -> list[int]:
    """The numbers of streams that are tried one after the other; all wanted ones are granted at once."""
    count, received, now, tried = StreamCount(0.0, 0), 0.0, 0.0, [1]
    while now < seconds:
        now += 0.05
        received += rate_of(count.wanted) * 0.05
        wanted = count.observe(now, int(received), count.wanted)
        if wanted != tried[-1]:
            tried.append(wanted)
    return tried


def test_where_each_connection_is_capped_there_are_more_and_more() -> None:
    assert settle(lambda streams: 16 * MIB * streams) == [1, 8, 16, 32]


def test_where_the_line_is_full_one_is_enough() -> None:
    assert settle(lambda _: 100 * MIB) == [1, 8, 1]
    assert settle(lambda _: 130 * MIB) == [1]


def test_it_stops_at_the_knee() -> None:
    assert settle(lambda streams: min(16 * MIB * streams, 130 * MIB)) == [1, 8, 16, 8]


def test_it_goes_back_when_more_streams_make_it_slower() -> None:
    assert settle(lambda streams: 16 * MIB * streams if streams <= 16 else 10 * MIB)[-1] == 16


def test_a_refusal_is_remembered_for_a_while() -> None:
    count = StreamCount(0.0, 0)
    assert count.observe(0.1, 10 * MIB, 1) == 8
    count.refused(3, 0.2)
    assert [count.observe(0.2 + n / 10, (20 + 100 * n) * MIB, 3) for n in range(1, 20)] == [3] * 19


def test_it_waits_for_the_streams_that_were_asked_for() -> None:
    count = StreamCount(0.0, 0)
    assert count.observe(0.1, 10 * MIB, 1) == 8
    assert count.observe(0.3, 12 * MIB, 1) == 8
    assert count.observe(0.5, 60 * MIB, 8) == 16


GAPS = st.lists(st.integers(1, 400 * MIB), min_size=1, max_size=8).map(
    lambda sizes: [(sum(sizes[:n]) + n, sum(sizes[: n + 1]) + n) for n in range(len(sizes))]
)


@given(GAPS, st.integers(1, MAX_STREAMS))
def test_a_piece_is_the_front_of_the_largest_gap(gaps: list[tuple[int, int]], streams: int) -> None:
    piece = next_piece(gaps, streams)
    assert piece is not None
    start, end = piece
    largest = max(gap[1] - gap[0] for gap in gaps)
    assert (start, start + largest) in gaps
    assert 0 < end - start <= largest
    assert end - start <= MAX_PIECE_BYTES + MIN_PIECE_BYTES
    rest = start + largest - end
    assert rest == 0 or rest >= MIN_PIECE_BYTES


@pytest.mark.parametrize("streams", [1, 8, 32])
@pytest.mark.parametrize("size", [1, MIB, 100 * MIB, 10_000 * MIB])
def test_pieces_one_after_the_other_are_the_whole(size: int, streams: int) -> None:
    gaps, taken = [(0, size)], 0
    while (piece := next_piece(gaps, streams)) is not None:
        assert piece[0] == taken
        taken = piece[1]
        gaps = [(taken, size)] if taken < size else []
    assert taken == size
