"""Messages between two processes over a socket: whole, in order, never blocking, and what an end looks like."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target.carriers.channel import Channel

Ends = tuple[Channel, Channel]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=50) | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture
def ends() -> Iterator[Ends]:
    left, right = socket.socketpair()
    channels = Channel(left), Channel(right)
    yield channels
    for channel in channels:
        channel.close()


@given(messages=st.lists(st.lists(VALUES, min_size=1, max_size=4).map(tuple), max_size=20))
def test_what_is_sent_arrives_in_order(messages: list[tuple[object, ...]]) -> None:
    left, right = socket.socketpair()
    ours, theirs = Channel(left), Channel(right)
    for message in messages:
        ours.send(*message)
    ours.flush()
    received: list[tuple[object, ...]] = []
    while len(received) < len(messages):
        received += theirs.receive()
    assert received == messages
    ours.close()
    theirs.close()


def test_more_than_the_socket_takes_is_kept_and_sent_later(ends: Ends) -> None:
    ours, theirs = ends
    blob = bytes(100_000)
    for number in range(100):
        ours.send(number, blob)
    ours.flush()
    assert ours.has_unsent
    received = []
    while len(received) < 100:
        received += theirs.receive()
        ours.flush()
    assert [number for number, _ in received] == list(range(100))
    assert not ours.has_unsent


def test_nothing_to_read_is_no_end(ends: Ends) -> None:
    ours, theirs = ends
    assert (list(theirs.receive()), theirs.ended) == ([], False)
    ours.send(1)
    ours.end()
    assert list(theirs.receive()) == [(1,)]
    assert not theirs.ended
    assert (list(theirs.receive()), theirs.ended) == ([], True)


def test_one_that_has_died_is_an_end_and_takes_nothing(ends: Ends) -> None:
    ours, theirs = ends
    theirs.send(b"half of this arrives" * 1000)
    theirs.close()
    ours.send(2)
    ours.flush()
    assert not ours.has_unsent
    while not ours.ended:
        assert ours.receive() == []


def test_the_first_message_is_waited_for_and_the_rest_stays(ends: Ends) -> None:
    ours, theirs = ends
    ours.send("greeting", 1)
    ours.send("next")
    ours.flush()
    assert theirs.first() == ("greeting", 1)
    assert list(theirs.receive()) == [("next",)]
    ours.close()
    with pytest.raises(EOFError):
        theirs.first()


def test_draining_sends_everything(ends: Ends) -> None:
    ours, theirs = ends
    ours.send("farewell")
    ours.drain(5.0)
    assert list(theirs.receive()) == [("farewell",)]
