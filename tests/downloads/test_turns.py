"""Turns: one at a time, in order, and nobody waits for a holder that hangs."""

import threading

from target.downloads.turns import Turns


def test_one_at_a_time_and_nothing_is_lost() -> None:
    turns, holders, most = Turns(patience_seconds=60), 0, 0
    counted = 0

    def work() -> None:
        nonlocal holders, most, counted
        for _ in range(200):
            turn = turns.take()
            holders += 1
            most = max(most, holders)
            counted += 1
            holders -= 1
            turns.give_back(turn)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, counted) == (1, 800)


def test_a_holder_that_hangs_is_passed_over_and_its_late_return_changes_nothing() -> None:
    turns = Turns(patience_seconds=0.01)
    hanging = turns.take()
    second = turns.take()
    turns.give_back(hanging)
    taken = threading.Event()

    def third() -> None:
        turn = turns.take()
        taken.set()
        turns.give_back(turn)

    thread = threading.Thread(target=third)
    thread.start()
    turns.give_back(second)
    assert taken.wait(10)
    thread.join()
    assert repr(turns) == "<Turns free, 0 waiting>"
