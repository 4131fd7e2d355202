"""Background tasks: seen when they die, stopped with their scope, and named when they do not stop."""

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from common.lifecycle import TaskScope


def test_results_and_names() -> None:
    async def run() -> None:
        scope = TaskScope()
        gate = asyncio.Event()

        async def work() -> int:
            await gate.wait()
            return 7

        task = scope.start("reader", work())
        assert task.get_name() == "reader"
        assert repr(scope) == "<TaskScope ['reader']>"
        gate.set()
        assert await task == 7
        await asyncio.sleep(0)
        assert repr(scope) == "<TaskScope []>"
        assert await scope.close() == []

    with capture_logs() as logs:
        asyncio.run(run())
    assert logs == []


def test_what_a_task_dies_of_is_logged_once_with_its_name() -> None:
    async def run() -> None:
        scope = TaskScope()

        async def fail() -> None:
            raise ValueError("broken")

        task = scope.start("feeder", fail())
        await asyncio.wait({task})
        await asyncio.sleep(0)
        assert await scope.close() == []

    with capture_logs() as logs:
        asyncio.run(run())
    assert [(log["event"], log["task"], log["error"]) for log in logs] == [
        ("task.died", "feeder", "ValueError('broken')")
    ]


def test_close_cancels_what_runs_and_waits_for_its_end() -> None:
    ended = []

    async def run() -> None:
        scope = TaskScope()
        running = asyncio.Event()

        async def forever(number: int) -> None:
            running.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(number)

        tasks = [scope.start(f"task {number}", forever(number)) for number in range(3)]
        await running.wait()
        assert await scope.close() == []
        assert all(task.cancelled() for task in tasks)
        assert await scope.close() == []

    with capture_logs() as logs:
        asyncio.run(run())
    assert sorted(ended) == [0, 1, 2]
    assert logs == []


def test_an_error_while_being_cancelled_is_logged() -> None:
    async def run() -> None:
        scope = TaskScope()
        running = asyncio.Event()

        async def fails_at_its_end() -> None:
            running.set()
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("at the end")

        scope.start("closer", fails_at_its_end())
        await running.wait()
        assert await scope.close() == []
        await asyncio.sleep(0)

    with capture_logs() as logs:
        asyncio.run(run())
    assert [log["task"] for log in logs] == ["closer"]


def test_tasks_that_do_not_end_in_time_are_named() -> None:
    async def run() -> None:
        scope = TaskScope()
        release = asyncio.Event()

        async def stubborn() -> None:
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()

        task = scope.start("stubborn", stubborn())
        scope.start("obedient", asyncio.Event().wait())
        await asyncio.sleep(0)
        assert await scope.close(timeout_seconds=0.05) == ["stubborn"]
        release.set()
        await task

    asyncio.run(run())


def test_a_scope_needs_a_running_loop() -> None:
    work = asyncio.Event().wait()
    with pytest.raises(RuntimeError):
        TaskScope().start("early", work)
    work.close()
