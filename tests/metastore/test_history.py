"""The checker finds what it is there for."""

from __future__ import annotations

import pytest

from tests.metastore.history import Seen, violations

GOOD = [
    Seen(0, 1, 5, b"a", is_write=True),
    Seen(0.5, 3, 5, b"a", is_write=False),
    Seen(2, 4, 7, b"b", is_write=True, replaced=5),
    Seen(3.5, 5, 7, b"b", is_write=False),
    Seen(3.5, 3.9, 5, b"a", is_write=False),
    Seen(6, 7, 9, b"maybe", is_write=False),
]
MAYBE = frozenset([b"maybe"])


def test_what_can_be() -> None:
    assert violations(GOOD, MAYBE) == []


@pytest.mark.parametrize(
    "wrong",
    [
        Seen(5.5, 5.6, 5, b"a", is_write=False),
        Seen(6, 6.1, 6, b"late", is_write=True),
        Seen(8, 9, 9, b"x", is_write=False),
        Seen(8, 9, 9, b"a", is_write=False),
        Seen(3, 4, 7, b"c", is_write=True),
        Seen(3, 4, 7, b"a", is_write=False),
        Seen(8, 9, 11, b"c", is_write=True, replaced=5),
    ],
)
def test_what_cannot_be(wrong: Seen) -> None:
    assert violations([*GOOD, wrong], MAYBE)
