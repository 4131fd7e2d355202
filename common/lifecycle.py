"""Background work of a node's event loop: started in one place, watched, and stopped with it.

What a task does, and in which order a node's parts stop, is left to the composition roots.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

_log = structlog.get_logger("common.lifecycle")


class TaskScope:
    """Owns asyncio tasks: keeps them referenced, logs what they die of, cancels what is left on `close`."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], str] = {}

    def __repr__(self) -> str:
        return f"<TaskScope {sorted(self._tasks.values())}>"

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in the background under a name that shows in logs."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = name
        task.add_done_callback(self._ended)
        return task

    async def close(self, timeout_seconds: float = 5.0) -> list[str]:
        """Cancel everything that still runs and wait for it; returns the names that did not end in time."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if not tasks:
            return []
        _, late = await asyncio.wait(tasks, timeout=timeout_seconds)
        return [task.get_name() for task in late]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task.died", task=task.get_name(), error=repr(error), exc_info=error)
