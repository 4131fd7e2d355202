"""Temporary files of batches: together they leave room on the disk of the journal, and slots come back."""

from pathlib import Path

import pytest

from common.errors import NoSpace, RequestTooLarge, Unavailable
from target.batches import spools
from target.batches.spools import Spool, Spools
from tests.storage.disks import mounted_tmpfs

_PIECE = bytes(1 << 20)


def fill(spool: Spool) -> None:
    for _ in range(100):
        spool.write(_PIECE)


def test_spools_together_leave_a_twentieth_of_the_disk_free(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path / "data", "size=100m"):
        found = Spools(tmp_path / "data")
        with found.spool() as first, found.spool() as second:
            for _ in range(40):
                first.write(_PIECE)
            with pytest.raises(NoSpace, match="no room where this target keeps its journal"):
                fill(second)
            assert second.size_bytes > 30 << 20
            (tmp_path / "data" / "journal").write_bytes(bytes(4 << 20))
        with found.spool() as third:
            for _ in range(60):
                third.write(_PIECE)
            third.rewind()
            assert third.read(10) == bytes(10)


def test_there_are_only_so_many_of_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "MAX_SPOOLS", 1)
    monkeypatch.setattr(spools, "MAX_SPOOL_BYTES", len(_PIECE))
    found = Spools(tmp_path)
    with found.spool() as first:
        with pytest.raises(Unavailable, match="1 batches that are not streamed"), found.spool():
            pass
        first.write(_PIECE)
        with pytest.raises(RequestTooLarge, match="ask with 'strm'"):
            first.write(b"x")
    with found.spool():
        pass
    assert list(tmp_path.iterdir()) == []
