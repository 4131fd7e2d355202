"""When a fetch has taken too long, and by which rule; pure.

Time for connecting is kept by libcurl; the engine asks this a few times a second for every fetch.
"""

from __future__ import annotations

from target.transfer import outcomes
from target.transfer.request import FetchError, FetchRequest, Progress, TransferSettings


def overdue(
    settings: TransferSettings, request: FetchRequest, progress: Progress, now: float, sent_at: float | None
) -> FetchError | None:
    """The deadline that has passed, if any; `sent_at` is when this hop's request went out, None before that.

    Moves the window of the minimum rate on. A window in which our own budget held the fetch back does not count.
    """
    if request.timeout_seconds and now - progress.started_at >= request.timeout_seconds:
        return outcomes.deadline_exceeded(request.url, request.timeout_seconds)
    if not progress.head_complete:
        if sent_at is not None and now - sent_at >= settings.first_byte_timeout_seconds:
            return outcomes.first_byte_timeout(request.url, settings.first_byte_timeout_seconds)
        progress.window_started_at = now
        return None
    elapsed = now - progress.window_started_at
    if elapsed < settings.min_rate_window_seconds:
        return None
    gained = progress.received_bytes - progress.window_bytes
    if not progress.throttled and gained < settings.min_rate_bytes_per_second * elapsed:
        return outcomes.stalled(request.url, settings.min_rate_bytes_per_second, settings.min_rate_window_seconds)
    progress.window_started_at = now
    progress.window_bytes = progress.received_bytes
    progress.throttled = False
    return None
