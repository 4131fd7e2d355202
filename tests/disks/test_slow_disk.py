"""One disk of three is slow, and works: only what belongs to it waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cgroups import THROTTLE, slow_disk
from tests.crash.processes import pattern_origin
from tests.disks.operating import check_once, homes, listed, objects_on
from tests.disks.test_health import target_with
from tests.waiting import wait_for

BODY = bytes(256 * 1024)
NAMES = [f"{number:03}" for number in range(450)]
"""A third of them keeps the slow disk busy for 40 s."""
SETTINGS = {"durability": "power-loss", "disk_check_seconds": 1.0, "disk_patience_seconds": 4.0}
"""A probe waits until what was written before it is durable, which takes the slow disk longer than this patience."""


@pytest.mark.timeout(300)
@pytest.mark.skipif(not THROTTLE.parent.is_dir(), reason="needs control groups of version 1")
def test_a_slow_disk_holds_up_only_its_own_mountpath(tmp_path: Path) -> None:
    """F39: it writes and reads 1 MB/s; the others are filled and read meanwhile, and it stays in use."""
    with (
        pattern_origin(BODY) as origin,
        target_with(tmp_path, "ext4", "ext4", "ext4", **SETTINGS) as (nodes, paths),
    ):
        waiting = [name for name, home in homes(paths, NAMES).items() if home == paths[1]]
        healthy = sorted(set(NAMES) - set(waiting))
        with slow_disk(paths[1], 1_000_000):
            job = nodes.api.download(type="range", template=origin.url("/o/{000..449}"))
            wait_for(lambda: sorted(objects_on(paths[0]) + objects_on(paths[2])) == healthy, what="all of the others")
            assert len(objects_on(paths[1])) < len(waiting) / 2, "most of the slow one's are still to come"
            for name in healthy[:50]:
                assert nodes.api.get("b", name).content == f"/o/{name}".encode() + BODY
            status = nodes.api.finished(job, seconds=150)
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (len(NAMES), 0, len(NAMES))
        check_once(paths, NAMES)
        assert sorted(objects_on(paths[1])) == waiting
        assert listed(nodes)["disabled"] == []
