"""Whether and when a failed attempt is made again."""

import pytest

from common.errors import DiskFailure, NoSpace, Retry
from target.carriers.messages import failure_of
from target.downloads.retry import RetryPolicy
from target.transfer.request import FetchError

POLICY = RetryPolicy(attempts=4, base_seconds=1.0, cap_seconds=3.0)
PASSING = FetchError("reset", "reset", retry=Retry.LATER)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 1.0), (2, 2.0), (3, 3.0)])
def test_waits_grow_up_to_the_cap_with_full_jitter(attempt: int, longest: float) -> None:
    assert POLICY.delay(attempt, failure_of(1, PASSING), 0.0) == 0.0
    assert POLICY.delay(attempt, failure_of(1, PASSING), 0.5) == longest / 2


def test_last_attempt_is_the_last() -> None:
    assert POLICY.delay(4, failure_of(1, PASSING), 0.5) is None


@pytest.mark.parametrize("error", [FetchError("status", "404", retry=Retry.NEVER), NoSpace("full")])
def test_what_cannot_pass_is_not_tried_again(error: FetchError | NoSpace) -> None:
    assert POLICY.delay(1, failure_of(1, error), 0.5) is None


def test_a_disk_failure_is_tried_again_when_it_is_known_whether_the_disk_works() -> None:
    assert POLICY.delay(1, failure_of(1, DiskFailure("EIO")), 0.5) == POLICY.disk_seconds + 0.5


def test_retry_after_is_waited_for_in_full() -> None:
    error = FetchError("status", "503", retry=Retry.LATER, retry_after_seconds=20.0)
    assert POLICY.delay(1, failure_of(1, error), 0.5) == 20.5
