"""Nodes that stop and start while jobs run: nothing reported is lost, nothing is fetched twice without need."""

from pathlib import Path

from tests.cluster import Cluster
from tests.origin import Origin
from tests.waiting import wait_for


def test_a_target_that_restarts_goes_on_by_itself(tmp_path: Path) -> None:
    with Origin() as origin, Cluster(tmp_path, targets=3, mountpaths=2) as cluster:
        origin.serve_pattern("/o/", lambda path: path.encode() * 5)
        job = cluster.api.download(type="range", template=origin.url("/o/{00000..09999}"))
        wait_for(lambda: cluster.api.status(job, only_active_tasks=True)["finished_cnt"] > 500)
        cluster.stop("t2")
        status = cluster.api.status(job, only_active_tasks=True)
        assert status["finished_time"].startswith("1970")
        assert status["stale_targets"] == ["t2"]
        cluster.start("t2")
        status = cluster.api.finished(job)
        assert (status["finished_cnt"], status["error_cnt"], status["total"]) == (10_000, 0, 10_000)
        entries = cluster.api.list("b", props="name,size")
        assert [entry["name"] for entry in entries] == [f"{n:05}" for n in range(10_000)]
        assert max(origin.counts().values()) <= 2


def test_a_finished_job_is_shown_without_any_target_and_after_a_restart_of_all(tmp_path: Path) -> None:
    with Origin() as origin, Cluster(tmp_path, targets=2, mountpaths=1, proxies=2) as cluster:
        job = cluster.api.download(type="single", link=origin.put("/x", b"x"))
        finished = cluster.api.finished(job)
        for node_id in ("t1", "t2", "p1"):
            cluster.stop(node_id)
        cluster.start("p1")
        wait_for(lambda: cluster.api.call("GET", "/v1/health").status_code == 200)
        status = cluster.api.status(job, only_active_tasks=True)
        for name in ("id", "description", "started_time", "finished_time", "finished_cnt", "total", "aborted"):
            assert status[name] == finished[name]


def test_work_files_of_a_stopped_target_are_gone_after_its_start(tmp_path: Path) -> None:
    with Origin() as origin, Cluster(tmp_path, targets=1, mountpaths=2) as cluster:
        link = origin.put("/big", bytes(8 << 20))
        gate = origin.gate("/late")
        origin.put("/late", b"late")
        job = cluster.api.download(type="multi", objects=[link, origin.url("/late")])
        wait_for(lambda: cluster.api.status(job)["finished_cnt"] == 1)
        cluster.stop("t1")
        left = cluster.mountpaths("t1")[0] / "@ais" / "b" / "%wk"
        (left if left.is_dir() else cluster.mountpaths("t1")[1] / "@ais/b/%wk").joinpath("stale").write_bytes(b"half")
        gate.release()
        cluster.start("t1")
        assert cluster.api.finished(job)["finished_cnt"] == 2
        assert origin.count("/big") == 1
        assert [file for path in cluster.mountpaths("t1") for file in path.glob("@ais/*/%wk/*")] == []
