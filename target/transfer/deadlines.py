"""When a fetch has taken too long, and by which rule; pure.

Time for connecting is kept by libcurl; the engine asks this a few times a second for every fetch.
"""

from __future__ import annotations

from target.transfer import outcomes
from target.transfer.request import FetchError, FetchRequest, Progress, TransferSettings


def overdue(
    settings: TransferSettings,
    request: FetchRequest,
    progress: Progress,
    now: float,
    sent_at: float | None,
    announced_bytes: int = 0,
) -> FetchError | None:
    """The deadline that has passed, if any; `sent_at` is when this hop's request went out, None before that.

    Moves the window of the minimum rate on. A window in which our own budget held the fetch back does not count, and
    neither does it for the total, which grows with the size that was announced, or else with what has come.
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
    return _overdue_body(settings, request, progress, now, announced_bytes)


def _overdue_body(
    settings: TransferSettings, request: FetchRequest, progress: Progress, now: float, announced_bytes: int
) -> FetchError | None:
    """At the end of a window."""
    elapsed = now - progress.window_started_at
    if progress.throttled:
        progress.held_back_seconds += elapsed
    elif progress.received_bytes - progress.window_bytes < settings.min_rate_bytes_per_second * elapsed:
        return outcomes.stalled(request.url, settings.min_rate_bytes_per_second, settings.min_rate_window_seconds)
    progress.window_started_at = now
    progress.window_bytes = progress.received_bytes
    progress.throttled = False
    took_seconds = now - progress.started_at - progress.held_back_seconds
    size_bytes = max(announced_bytes, progress.received_bytes)
    allowed_seconds = settings.total_seconds + size_bytes / settings.total_rate_bytes_per_second
    return outcomes.too_slow(request.url, allowed_seconds) if took_seconds >= allowed_seconds else None
