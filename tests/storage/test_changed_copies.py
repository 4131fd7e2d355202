"""Metadata that was changed while a copy was on its way: of the two, the changed one counts as the newer."""

import threading
from pathlib import Path

from common.errors import HaulError
from target.storage.custom import change_in_place
from target.storage.store import Store
from tests.storage.disks import BUCKET, get, put, running_store


def arrive(there: Store, here: Store, name: str) -> HaulError | None:
    """Take over what lies `there`, as a target does that becomes its owner; the error if it is not taken."""
    found, _ = there.open(BUCKET, name, 1)
    with found:
        writer, committer = here.writer(BUCKET, 1, name, found.size)
        writer.write(found.read(0, found.size))
        staged = writer.finish(found.metadata)
    staged.is_moved = True
    outcomes: list[HaulError | None] = []
    ended = threading.Event()

    def done(group: object) -> None:
        outcomes.extend(error for _, error in group)  # type: ignore[attr-defined]
        ended.set()

    committer.submit(staged, done)
    assert ended.wait(30)
    return outcomes[0]


def test_a_change_behind_a_copy_that_has_arrived_is_taken_over(tmp_path: Path) -> None:
    with running_store(tmp_path / "old") as there, running_store(tmp_path / "new") as here:
        put(there, "o", b"bytes", version=3, stored_ns=10**18)
        assert arrive(there, here, "o") is None
        assert arrive(there, here, "o") is not None
        assert change_in_place(there, BUCKET, 1, "o", lambda stored: stored._replace(custom={"colour": "red"}))
        assert arrive(there, here, "o") is None
        metadata, _ = here.head(BUCKET, "o", 1)
        assert dict(metadata.custom) == {"colour": "red"}
        assert get(here, "o") == b"bytes"
        assert arrive(there, here, "o") is not None
