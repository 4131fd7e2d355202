"""Python imports this by itself at the start of a node of `test_surroundings`: its wall clock is wrong from then on."""

import os
import time

_HOUR_NS = 3600 * 10**9
_right_ns = time.time_ns


def _time_ns() -> int:
    now_ns = _right_ns()
    if os.environ["WRONG_CLOCK"] == "ahead":
        return now_ns + _HOUR_NS
    return now_ns + (_HOUR_NS if int(time.monotonic()) % 2 else -_HOUR_NS)


time.time_ns = _time_ns
time.time = lambda: _time_ns() / 10**9
