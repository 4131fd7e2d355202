"""What stops one row of the bench without stopping the others."""

from __future__ import annotations


class BenchError(Exception):
    """A row could not be measured; the text says why and, where it helps, what to do."""
