"""The journal: what was acknowledged is there after a kill, again is harmless, and secrets go with the share's end."""

import dataclasses
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.names import Bucket
from common.shares import JobSpec, TaskSpec
from target.carriers.messages import FAILED, FINISHED, SKIPPED
from target.downloads import journal as records
from target.downloads.expansion import Expansion
from target.downloads.journal import Journal
from target.downloads.share import Share, State
from target.downloads.task import Result, Task

SPEC = JobSpec(
    "dnl-a", "multi", "a job", Bucket("b"), 7, 3, (("t1", 1),), headers=(("Authorization", "Bearer planted-secret"),)
)
TASKS = [TaskSpec(n, f"name-{n}", f"http://h/{n}?sig=planted-signature") for n in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    assert journal.start() == []
    yield journal
    journal.stop()


def add(journal: Journal) -> Share:
    number = journal.call(lambda connection: records.add_share(connection, SPEC, 5))
    journal.call(lambda connection: records.add_batch(connection, number, 0, TASKS, last=True))
    return Share(number, SPEC, state=State.RUNNING, started_ns=5)


def result(share: Share, position: int, outcome: int, size_bytes: int = 0, error: str = "") -> Result:
    task = Task(share, position, f"name-{position}", "link", "origin", 0)
    task.start_ns = 10
    return Result(task, outcome, size_bytes, size_bytes, 20, error)


def reopened(path: Path) -> list[Share]:
    journal = Journal(path)
    shares = journal.start()
    journal.stop()
    return shares


def test_a_share_comes_back_with_its_figures(journal: Journal, path: Path) -> None:
    share = add(journal)
    ends = [result(share, 0, FINISHED, 100), result(share, 1, SKIPPED), result(share, 2, FAILED, error="404")]
    journal.call(lambda connection: records.add_results(connection, ends))
    journal.call(lambda connection: records.add_results(connection, ends))
    journal.stop()
    (found,) = reopened(path)
    assert (found.finished, found.skipped, found.errors, found.bytes) == (2, 1, 1, 100)
    assert (found.scheduled, found.sealed, found.next_batch, found.spec) == (3, True, 1, SPEC)


def test_batches_and_results_read_back(journal: Journal) -> None:
    share = add(journal)
    assert journal.call(lambda connection: records.read_batch(connection, share.number, 0)) == TASKS
    assert journal.call(lambda connection: records.read_batch(connection, share.number, 1)) == []
    journal.call(lambda connection: records.add_results(connection, [result(share, 2, FAILED, error="no")]))
    journal.call(lambda connection: records.add_results(connection, [result(share, 0, FINISHED, 4)]))
    assert journal.call(lambda connection: records.ended_positions(connection, share.number, 0, 2)) == {0}
    everything = journal.call(
        lambda connection: records.read_results(connection, share.number, after=-1, limit=9, failed_only=False)
    )
    failures = journal.call(
        lambda connection: records.read_results(connection, share.number, after=-1, limit=9, failed_only=True)
    )
    assert [(task.position, task.name, task.downloaded) for task in everything] == [(0, "name-0", 4), (2, "name-2", 0)]
    assert [(task.name, task.error) for task in failures] == [("name-2", "no")]


def test_adding_again_is_harmless(journal: Journal) -> None:
    assert add(journal).number == add(journal).number
    assert journal.call(lambda connection: connection.execute("SELECT count(*) FROM batches").fetchone()) == (1,)


def test_secrets_are_gone_when_the_share_has_ended(journal: Journal, path: Path) -> None:
    share = add(journal)
    assert path.stat().st_mode & 0o077 == 0
    ended = threading.Event()
    journal.submit(
        lambda connection: records.set_state(connection, share, State.FINISHED, 99),
        lambda *_: ended.set(),
        forgets=True,
    )
    assert ended.wait(10)
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"planted" not in kept
    journal.stop()
    (found,) = reopened(path)
    assert (found.state, found.finished_ns, found.spec.headers) == (State.FINISHED, 99, ())


@pytest.mark.parametrize(
    ("template", "kept", "first_name"),
    [
        ("http://u:planted@h/d/x{1..2}?sig=planted", "http://h/d/x{1..2}", "x1"),
        ("u:planted@h/x{1..2}", "h/x{1..2}", "x1"),
        ("http://h/x?{0..0}planted", "http://h/x#{0..0}", "x"),
    ],
)
def test_a_template_keeps_its_names_and_nothing_else(template: str, kept: str, first_name: str) -> None:
    spec = dataclasses.replace(SPEC, template=template, targets=(("t1", 1),)).without_secrets()
    assert (spec.template, spec.headers) == (kept, ())
    assert Expansion(spec, "t1").names(0, 1) == [first_name]


def test_removed_share_leaves_nothing(journal: Journal, path: Path) -> None:
    share = add(journal)
    journal.call(lambda connection: records.add_results(connection, [result(share, 0, FINISHED)]))
    journal.call(lambda connection: records.remove_share(connection, share.number))
    for table in ("shares", "batches", "results"):
        assert journal.call(lambda c, table=table: c.execute(f"SELECT count(*) FROM {table}").fetchone()) == (0,)


def test_a_batch_of_a_share_that_is_gone_is_not_recorded(journal: Journal) -> None:
    share = add(journal)
    journal.call(lambda connection: records.remove_share(connection, share.number))
    assert not journal.call(lambda connection: records.add_batch(connection, share.number, 1, TASKS, last=True))
    assert journal.call(lambda connection: connection.execute("SELECT count(*) FROM batches").fetchone()) == (0,)


def test_what_belongs_to_no_share_does_not_keep_a_target_from_its_start(journal: Journal, path: Path) -> None:
    share = add(journal)
    journal.call(lambda connection: connection.execute("INSERT INTO batches VALUES (?, 1, 1, x'00')", (77,)))
    stray = result(Share(78, SPEC, state=State.RUNNING, started_ns=5), 0, FINISHED)
    journal.call(lambda connection: records.add_results(connection, [stray]))
    journal.stop()
    assert [found.number for found in reopened(path)] == [share.number]
    connection = sqlite3.connect(path)
    for table in ("batches", "results"):
        assert connection.execute(f"SELECT count(*) FROM {table} WHERE share > 76").fetchone() == (0,)
    connection.close()


def test_a_share_ends_once(journal: Journal, path: Path) -> None:
    share = add(journal)
    ends = [State.ABORTED, State.FINISHED]
    first = [journal.call(lambda c, state=state: records.set_state(c, share, state, 99)) for state in ends]
    assert first == [True, False]
    journal.stop()
    assert [found.state for found in reopened(path)] == [State.ABORTED]


def test_a_failing_piece_of_work_is_told_to_all_of_its_group_and_the_journal_goes_on(journal: Journal) -> None:
    with pytest.raises(records.DiskFailure):
        journal.call(lambda connection: connection.execute("SELECT nothing FROM nowhere"))
    assert add(journal).number == 1


WRITER = """
import sys
from pathlib import Path
from target.downloads.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.start()
journal.call(lambda c: c.execute("CREATE TABLE seen (n INTEGER)"))
n = 0
while True:
    journal.call(lambda c: c.execute("INSERT INTO seen VALUES (?)", (n,)))
    print(n, flush=True)
    n += 1
"""


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = -1
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == 50:
            process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    journal = Journal(path)
    journal.start()
    rows = journal.call(lambda connection: connection.execute("SELECT n FROM seen ORDER BY n").fetchall())
    journal.stop()
    assert [n for (n,) in rows][: acknowledged + 1] == list(range(acknowledged + 1))
