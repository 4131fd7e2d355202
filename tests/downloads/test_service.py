"""Shares as the rest of the node sees them, when what is asked of them comes together and when the journal fails."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from common.errors import DiskFailure, InvalidRequest, Unavailable
from common.lifecycle import TaskScope
from common.names import Bucket
from common.shares import JobSpec, TaskSpec
from common.vault import Vault
from target.downloads.budgets import Budgets
from target.downloads.hosts import HostSettings
from target.downloads.journal import Journal
from target.downloads.lanes import Lanes
from target.downloads.recorder import Recorder
from target.downloads.scheduler import Scheduler
from target.downloads.service import Downloads
from target.downloads.share import Share, State
from target.downloads.story import Story
from target.storage.mountpaths import Mountpaths

SPEC = JobSpec("dnl-a", "multi", "a job", Bucket("b"), 7, 3, (("t1", 1),))
TASKS = [TaskSpec(n, f"name-{n}", f"http://h/{n}") for n in range(3)]
NO_DISKS = cast(Mountpaths, SimpleNamespace(view=SimpleNamespace(placed=())))


class Target:
    """Everything but disks: what is accepted waits for ever."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path)
        self.ended: list[str] = []
        self.scope = TaskScope()
        scheduler, story = Scheduler(0, HostSettings()), Story(self.journal)
        self.lanes = Lanes(scheduler, NO_DISKS, _no_lane)
        budgets = Budgets("t1", self.scope, _no_target, {}, list)
        self.downloads = Downloads(
            "t1", self.journal, scheduler, Recorder(self.journal), self.lanes, story, budgets, Vault(None)
        )

    async def start(self) -> Downloads:
        await self.downloads.start(lambda _jobs: None, self.ended.append)
        return self.downloads

    async def stop(self) -> None:
        await self.downloads.stop()
        await asyncio.to_thread(self.journal.stop)

    def busy(self) -> Callable[[], None]:
        """What is submitted from now on waits in the journal, until this is called."""
        free = threading.Event()
        self.journal.submit(lambda _: free.wait(60))
        return free.set

    def break_journal(self) -> None:
        """No share can be changed or removed any more."""
        for change in ("UPDATE", "DELETE"):
            refusal = f"CREATE TEMP TRIGGER no_{change} BEFORE {change} ON shares BEGIN SELECT RAISE(ABORT, 'no'); END"
            self._change(refusal)

    def mend_journal(self) -> None:
        """It works again."""
        for change in ("UPDATE", "DELETE"):
            self._change(f"DROP TRIGGER no_{change}")

    def _change(self, statement: str) -> None:
        self.journal.call(lambda connection: connection.execute(statement).fetchall())

    def recorded(self) -> list[Share]:
        """What a target that starts now would find."""
        journal = Journal(self.path)
        try:
            return journal.start()
        finally:
            journal.stop()


def _no_lane(_slot: object) -> Any:
    raise AssertionError("there is no disk")


async def _no_target(target_id: str, path: str, body: object) -> Any:
    raise Unavailable("there is no other target")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = Target(tmp_path / "journal.db")
    yield target
    target.journal.stop()


async def turns() -> None:
    """Until all tasks that can go on have come to a wait for the journal."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_batch_that_comes_while_its_share_is_dropped_is_refused_and_leaves_nothing(target: Target) -> None:
    async def scenario() -> None:
        downloads = await target.start()
        await downloads.accept(SPEC, 0, TASKS, last=False)
        go_on = target.busy()
        drop = target.scope.start("drop", downloads.drop(SPEC.share_id))
        await turns()
        late = target.scope.start("accept", downloads.accept(SPEC, 1, TASKS, last=True))
        await turns()
        go_on()
        await drop
        with pytest.raises(InvalidRequest, match="dropped"):
            await late
        assert downloads.undecided() == []
        await target.stop()

    asyncio.run(scenario())
    assert target.recorded() == []


def test_a_share_that_is_started_while_it_is_dropped_does_not_begin(target: Target) -> None:
    async def scenario() -> None:
        downloads = await target.start()
        await downloads.accept(SPEC, 0, TASKS, last=True)
        go_on = target.busy()
        drop = target.scope.start("drop", downloads.drop(SPEC.share_id))
        await turns()
        await downloads.start_share(SPEC.share_id)
        go_on()
        await drop
        assert downloads.running() == []
        await target.stop()

    asyncio.run(scenario())
    assert target.recorded() == []


def test_a_share_that_cannot_be_removed_from_the_journal_is_still_there(target: Target) -> None:
    async def scenario() -> None:
        downloads = await target.start()
        await downloads.accept(SPEC, 0, TASKS, last=True)
        target.break_journal()
        with pytest.raises(DiskFailure):
            await downloads.drop(SPEC.share_id)
        assert downloads.undecided() == [SPEC.share_id]
        target.mend_journal()
        await downloads.drop(SPEC.share_id)
        assert downloads.undecided() == []
        await target.stop()

    asyncio.run(scenario())


def test_who_aborts_again_waits_until_the_end_is_durable(target: Target) -> None:
    async def scenario() -> None:
        downloads = await target.start()
        await downloads.accept(SPEC, 0, TASKS, last=True)
        await downloads.start_share(SPEC.share_id)
        go_on = target.busy()
        aborts = [target.scope.start("abort", downloads.abort(SPEC.share_id)) for _ in range(2)]
        await turns()
        assert [abort.done() for abort in aborts] == [False, False]
        go_on()
        await asyncio.gather(*aborts)
        assert target.ended == [SPEC.share_id]
        await target.stop()

    asyncio.run(scenario())
    assert [share.state for share in target.recorded()] == [State.ABORTED]


def test_an_abort_that_could_not_be_recorded_is_tried_again(target: Target) -> None:
    async def scenario() -> None:
        downloads = await target.start()
        await downloads.accept(SPEC, 0, TASKS, last=True)
        await downloads.start_share(SPEC.share_id)
        await asyncio.to_thread(target.journal.call, lambda _: None)
        target.break_journal()
        with pytest.raises(DiskFailure):
            await downloads.abort(SPEC.share_id)
        with pytest.raises(DiskFailure):
            await downloads.remove(SPEC.share_id)
        target.mend_journal()
        await downloads.abort(SPEC.share_id)
        (status,) = await downloads.status([SPEC.share_id], tasks=False, limit=0, after=-1)
        assert (status.aborted, status.finished_ns > 0, target.ended) == (True, True, [SPEC.share_id])
        await target.stop()

    asyncio.run(scenario())
    assert [share.state for share in target.recorded()] == [State.ABORTED]


def test_a_share_that_is_removed_while_it_is_aborted_is_removed_after_that(target: Target) -> None:
    async def scenario() -> None:
        downloads = await target.start()
        await downloads.accept(SPEC, 0, TASKS, last=True)
        await downloads.start_share(SPEC.share_id)
        go_on = target.busy()
        abort = target.scope.start("abort", downloads.abort(SPEC.share_id))
        await turns()
        remove = target.scope.start("remove", downloads.remove(SPEC.share_id))
        await turns()
        assert downloads.find(SPEC.share_id) is not None
        go_on()
        await asyncio.gather(abort, remove)
        assert downloads.find(SPEC.share_id) is None
        await target.stop()

    asyncio.run(scenario())
    assert target.recorded() == []
